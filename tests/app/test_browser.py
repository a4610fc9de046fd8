"""The page in Chromium: load, tick, fill in, draw answers, paint a hole, give files, right and wrong, at the width of a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqkit.data.exporting import export
from vqkit.data.opening import open_dataset, resolve_data

MINUTE = 60_000
FILLED = "#vq-filled .vq-card"


class Visit:
    """A page that is open in a browser, with all addresses that it asked for and all errors that it logged."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def titles(self) -> list[str]:
        """Names of the components that are filled in."""
        return self.page.locator("#vq-filled .vq-filled figcaption strong").all_text_contents()

    def expect(self, selector: str) -> Any:
        """The first of these elements, once it is visible."""
        found = self.page.locator(selector).first
        found.wait_for(state="visible", timeout=2 * MINUTE)
        return found


@pytest.fixture(scope="module")
def browser(served: str, chromium: str | None) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def visit(browser: Any, address: str, **settings: Any) -> Visit:
    """The page, opened anew; what it holds after loading is a test image that is filled in."""
    page = browser.new_context(accept_downloads=True, **settings).new_page()
    opened = Visit(page)
    page.goto(address, timeout=2 * MINUTE)
    opened.expect(FILLED)
    return opened


@pytest.fixture
def desktop(browser: Any, served: str) -> Iterator[Visit]:
    opened = visit(browser, served, viewport={"width": 1280, "height": 900})
    yield opened
    assert opened.errors == []
    foreign = [url for url in opened.asked if not url.startswith((served, "data:", "blob:"))]
    assert foreign == []
    opened.page.context.close()


def tick(opened: Visit, name: str) -> None:
    opened.page.locator("#vq-known").get_by_label(name, exact=True).click()


def test_ticks_decide_what_is_filled_in(desktop: Visit) -> None:
    assert desktop.titles() == ["All components", "group_km", "bt", "fpu", "tpc"]
    assert "builtin:tyre" in desktop.page.locator(".vq-head").inner_text()
    assert "IoU" in desktop.page.locator(FILLED).nth(1).inner_text()
    tick(desktop, "bt")
    desktop.page.wait_for_function("document.querySelectorAll('#vq-filled .vq-filled').length == 4", timeout=MINUTE)
    assert desktop.titles() == ["All components", "group_km", "fpu", "tpc"]
    tick(desktop, "bt")
    tick(desktop, "group_nc")
    assert "No component is known." in desktop.expect("#vq-notice .vq-error").inner_text()
    tick(desktop, "tpc")
    desktop.expect(FILLED)
    assert not desktop.page.locator("#vq-notice .vq-error").is_visible()


def test_the_last_of_several_quick_ticks_counts(desktop: Visit) -> None:
    for name in ("bt", "fpu", "tpc", "group_km"):
        tick(desktop, name)
    tick(desktop, "fpu")
    titles = "[...document.querySelectorAll('#vq-filled .vq-filled figcaption strong')].map(title => title.textContent)"
    desktop.page.wait_for_function(f"{titles}.join() == 'All components,fpu'", timeout=MINUTE)
    assert desktop.page.locator("#vq-known input:checked").count() == 4


def test_another_test_image(desktop: Visit) -> None:
    number = desktop.page.locator("#vq-number input[type=number]")
    number.fill("7")
    number.press("Enter")
    desktop.page.wait_for_function("document.querySelector('#vq-filled').innerText.includes('test_00006')", timeout=MINUTE)


def test_answers_codes_and_advice(desktop: Visit) -> None:
    desktop.page.get_by_role("tab", name="Several answers").click()
    desktop.page.click("#vq-draw")
    assert desktop.expect("#vq-answers .vq-card").locator("img").count() == 5
    desktop.page.get_by_role("tab", name="Codes").click()
    assert re.search(r"\d+ different codes of 256; perplexity", desktop.expect("#vq-codes .vq-card").inner_text())
    assert desktop.page.locator("#vq-codes rect").count() == 16 * 8
    desktop.page.get_by_role("tab", name="Measure next").click()
    desktop.page.click("#vq-ask")
    desktop.expect("#vq-advice table")
    assert "next: the error falls from" in desktop.page.locator("#vq-advice").inner_text()


def test_a_painted_hole(desktop: Visit) -> None:
    page = desktop.page
    page.locator("#vq-hole label", has_text="painted").click()
    canvas = desktop.expect("#vq-canvas canvas")
    assert "Paint the hole" in desktop.expect("#vq-notice .vq-notice").inner_text()
    page.wait_for_timeout(2000)  # until the canvas has its picture
    box = canvas.bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 30, down)
    page.mouse.down()
    page.mouse.move(across + 30, down + 20, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.click("#vq-fill")
    desktop.expect(FILLED)
    given = page.locator(FILLED).nth(1)
    assert given.locator("strong").inner_text() == "group_nc" and "partly given" in given.inner_text()


def test_files_are_given_and_the_result_is_downloaded(desktop: Visit, tmp_path: Path) -> None:
    part = open_dataset(resolve_data("tyre")).split("test")
    export(part, "test", 1, tmp_path)
    files = [tmp_path / name / f"test_00000_{name}.png" for name in ("group_nc", "bt")]
    desktop.page.get_by_role("tab", name="Your image").click()
    desktop.page.locator("#vq-files input[type=file]").set_input_files(files)
    desktop.page.wait_for_function("document.querySelector('#vq-filled').innerText.includes('not known')", timeout=MINUTE)
    assert desktop.titles()[1:] == ["group_km", "fpu", "tpc"]
    with desktop.page.expect_download(timeout=MINUTE) as waiting:
        desktop.page.click("#vq-download")
    assert waiting.value.suggested_filename == "test_00000.zip"


def test_a_wrong_file_gives_a_sentence_and_a_hint(desktop: Visit, tmp_path: Path) -> None:
    np.save(tmp_path / "odd.npy", np.zeros((3, 7, 2), np.uint8))
    desktop.page.get_by_role("tab", name="Your image").click()
    desktop.page.locator("#vq-files input[type=file]").set_input_files(tmp_path / "odd.npy")
    said = desktop.expect("#vq-notice .vq-error").inner_text()
    assert "odd.npy" in said and "does not show the model's components" in said
    assert "Traceback" not in desktop.page.content() and "vqkit-app-" not in said


def test_at_the_width_of_a_phone_nothing_sticks_out(browser: Any, served: str) -> None:
    phone = visit(browser, served, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, color_scheme="dark")
    page = phone.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    card, side = phone.expect(FILLED).bounding_box(), page.locator("#vq-known").bounding_box()
    assert card["x"] >= 0 and card["x"] + card["width"] <= 390
    assert card["y"] > side["y"] + side["height"]  # below each other, not side by side
    for picture in page.locator(f"{FILLED} img").all():
        box = picture.bounding_box()
        assert box["width"] >= 60 and box["x"] + box["width"] <= 390
    background = page.evaluate("getComputedStyle(document.querySelector('#vq-filled .vq-card')).backgroundColor")
    assert max(int(each) for each in re.findall(r"\d+", background)[:3]) < 100  # dark, as the system asks
    page.context.close()
