"""The page as Gradio lays it out, and what its events give back; without a browser."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pages import BANDS, Few, Given, session
from PIL import Image

from command_runner import command_runner
from painting import SHAPES, sampler, sections
from vqkit.app import page as page_module
from vqkit.app.actions import Actions
from vqkit.app.guard import LOOPBACK, Guard
from vqkit.app.page import _Page, head, run_name
from vqkit.app.serving import load_gradio, serve
from vqkit.app.session import Session
from vqkit.cli.app import app


class Part:
    """A part of a page in place of Gradio's: a block, which may hold others, with events that are remembered."""

    def __init__(self, kind: str, *values: Any, **settings: Any) -> None:
        self.kind, self.values, self.settings = kind, values, settings
        self.launched: dict[str, Any] = {}
        self.closed = False

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def _event(self, answer: Any, inputs: Any, outputs: Any, **settings: Any) -> Part:
        assert (
            settings["api_visibility"] == "private" and settings.keys() <= {"api_visibility", "trigger_mode"} and callable(answer)
        )
        return Part("event")

    load = change = upload = input = click = success = _event

    def launch(self, **settings: Any) -> tuple[None, str, None]:
        self.launched = settings
        return None, "http://127.0.0.1:7860/", None

    def close(self, verbose: bool) -> None:
        self.closed = not verbose


class StandIn:
    """In place of Gradio, which leaves event loops behind in a process; test_browser.py and test_app_serving.py use it."""

    class themes:  # noqa: N801 - a module of Gradio
        Soft = partial(Part, "Soft")

    def __init__(self) -> None:
        self.made: list[Part] = []

    def __getattr__(self, kind: str) -> Any:
        def make(*values: Any, **settings: Any) -> Part:
            self.made.append(Part(kind, *values, **settings))
            return self.made[-1]

        return make

    def update(self, **settings: Any) -> dict[str, Any]:
        return settings

    def skip(self) -> str:
        return "skipped"


@pytest.fixture
def gradio() -> StandIn:
    return StandIn()


@pytest.fixture
def page(gradio: StandIn, tmp_path: Path) -> _Page:
    return _Page(gradio, Actions(session(), tmp_path))


def test_a_test_image_is_opened_and_filled_in(page: _Page) -> None:
    image, notice, ticks, canvas = page._open_test(2.0, [])
    assert image.name == "c1" and not notice
    assert ticks == {"choices": ["dna", "actin", "golgi"], "value": ["dna"]}
    assert canvas["value"]["layers"] == []
    shown, notice, results, codes, download, answers, advice = page._fill_at_once(image, ["dna"], "none", None, None)
    assert shown.filling is not None and not notice and "c1 (8 x 8 pixels, height x width)" in results and "<rect" in codes
    assert download["visible"] and download["label"] == "Download the filled-in files" and Path(download["value"]).is_file()
    assert answers == advice == ""


def test_files_are_opened_and_wrong_ones_are_a_notice(page: _Page, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", Given().numbers())
    image, *_ = page._open_files([str(tmp_path / "a.npy")], [])
    shown = page._fill(image, ["dna"], "none", None, None)
    assert shown[4]["label"] == "Download the filled-in image"
    (tmp_path / "b.npy").write_bytes(b"no array")
    image, notice, _, canvas = page._open_files([str(tmp_path / "b.npy")], ["dna"])
    assert image is None and "b.npy" in notice and canvas["value"] is None
    kept = page._fill_at_once(image, ["dna"], "none", None, None)
    assert kept[1] == "skipped" and kept[2] == ""  # the notice stays, results go


def test_what_takes_long_waits_for_the_button(page: _Page, monkeypatch: pytest.MonkeyPatch) -> None:
    image, *_ = page._open_test(1, [])
    assert "Paint the hole, then press Fill in" in page._fill_at_once(image, ["dna"], "painted", None, None)[1]
    monkeypatch.setattr(page_module, "AT_ONCE", 10)
    assert "This image is large: press Fill in" in page._fill_at_once(image, ["dna"], "none", None, None)[1]


def test_the_canvas_is_there_where_a_hole_is_painted(page: _Page) -> None:
    image, *_ = page._open_test(1, [])
    assert page._choose_hole(image, "painted")["visible"] is True
    assert page._choose_hole(image, "middle")["visible"] is False
    assert page._choose_hole(None, "painted")["visible"] is False
    layer = Image.new("RGBA", (448, 448), (255, 0, 0, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 224, 448))
    shown = page._fill(image, ["dna"], "painted", {"background": None, "layers": [layer], "composite": None}, None)[0]
    assert shown.filling.image.observed[0].sum() == 32


def test_answers_and_advice(gradio: StandIn, tmp_path: Path) -> None:
    page = _Page(gradio, Actions(session(SHAPES, sampler("observed"), Few(SHAPES, sections(1))), tmp_path))
    image, *_ = page._open_test(1, [])
    shown = page._fill(image, ["belt"], "none", None, None)[0]
    assert "2 answers for c0" in page._draw(shown, 2.0, 0.0)
    assert "Measure " in page._advise(image, ["belt"])


def test_without_test_images_a_file_is_asked_for(gradio: StandIn, tmp_path: Path) -> None:
    page = _Page(gradio, Actions(session(BANDS), tmp_path))
    image, notice, *_ = page._open_test(1, [])
    assert image is None and "Give an image of yours to begin with." in notice


def test_the_head_names_the_run_and_the_prior(tiny_run: Path) -> None:
    work = session(SHAPES, sampler("observed"))
    said = head(Session(work.pipeline, work.sampler, None, None, ("A note.",)))
    assert "runs/blocks" in said and "Prior for several answers: runs/prior" in said and "A note." in said
    assert run_name(tiny_run / "checkpoints" / "step-00000020" / "model.safetensors") == str(tiny_run)


def test_it_is_served_until_it_is_interrupted(gradio: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.app.serving.load_gradio", lambda: gradio)
    monkeypatch.setattr(
        "vqkit.app.serving.optional_package", lambda *names: SimpleNamespace(Middleware=partial(Part, "Middleware"))
    )
    places = []

    def ready(address: str) -> None:
        assert address == "http://127.0.0.1:7860/"
        places.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert places[0].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    for host, hosts in (("localhost", LOOPBACK), ("0.0.0.0", None)):
        serve(session(), host, 7860, ready)
        (blocks,) = [part for part in gradio.made if part.kind == "Blocks" and not part.settings.get("seen")]
        blocks.settings["seen"] = True
        assert blocks.closed and blocks.settings["analytics_enabled"] is False
        launched = blocks.launched
        assert launched["server_name"] == host and launched["share"] is False and launched["allowed_paths"] == []
        (guard,) = launched["app_kwargs"]["middleware"]
        assert guard.values == (Guard,) and guard.settings == {"hosts": hosts}
        assert not places.pop().exists()


def test_gradio_is_told_to_report_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("gradio")
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    assert load_gradio() is stand_in
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_command_serves_the_built_in_model_before_anything_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[Any, ...]] = []

    def serving(work: Session, host: str, port: int, ready: Any) -> None:
        served.append((work, host, port))
        ready(f"http://{host}:{port}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vqkit.app.serving.load_gradio", lambda: None)
    monkeypatch.setattr("vqkit.app.serving.check_address", lambda host, port: None)
    monkeypatch.setattr("vqkit.app.serving.serve", serving)
    result = command_runner().invoke(app, ["app"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "There is no trained model in runs/ yet: using builtin:tyre" in result.stderr
    assert "open http://127.0.0.1:7860 in a browser; Ctrl-C ends the page" in result.stdout
    work, host, port = served[0]
    assert (host, port) == ("127.0.0.1", 7860) and work.sampler is not None
