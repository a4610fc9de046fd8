"""A whole comparison of two models with two seeds: what is written, what is trained again, and what a failure does."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import statistics
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from small_comparison import MODELS, Compared, CountingTrainer

from vqkit.errors import ConfigError, Interrupted, TrainingError
from vqkit.report.results import Result
from vqkit.reproduce.comparing import reproduce
from vqkit.reproduce.planning import Job
from vqkit.training.trainer import Trainer

TIMES = ("training_seconds", "inference_images_per_second")
"""Columns that differ from one time to the next."""
_PICTURE = r"data:image/(png|jpeg);base64,[^\"]*"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects tags with their attributes and the cells of all tables by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.tables.setdefault(self.caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self.caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.tables[self.caption][-1][-1] += data


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(out: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows(out)]


def page_of(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def again(compared: Compared, out: Path, trainer: Any, models: tuple[str, ...] = MODELS) -> Any:
    return reproduce(compared.preset, "tyre", models, out, "cpu", "vqkit reproduce", 1, trainer)


def test_csv_has_a_row_for_each_run_and_scenario(compared: Compared) -> None:
    every = rows(compared.out)
    assert list(every[0]) == list(Result._fields)
    found = [row for row in every if row["kind"] == "model"]
    assert len(every) == len(found) + 5 * 10 + 7, "floors of ten sets of kept components and of boxes, once"
    assert len(found) == 2 * 2 * 11
    assert {(row["model"], row["seed"], row["run"]) for row in found} == {
        (model, seed, f"runs/{model}-seed{seed}") for model in MODELS for seed in "01"
    }
    assert {row["mask_kind"] for row in found} == {"components", "boxes"}
    fields = ("likelihood", "bound_bits_per_dimension", "code_usage_share")
    defined = {row["model"]: [field for field in fields if row[field]] for row in found}
    assert defined == {"vqvae": ["code_usage_share"], "vae": ["likelihood", "bound_bits_per_dimension"]}


@pytest.mark.parametrize(
    ("caption", "heading", "field", "kind", "decimals"),
    [
        ("Components missing", "PSNR, dB", "hole_psnr_db", "components", 2),
        ("Components missing", "pooled PSNR, dB", "hole_pooled_psnr_db", "components", 2),
        ("Components missing", "IoU", "hole_iou", "components", 4),
        ("Boxes missing", "SSIM", "hole_ssim", "boxes", 4),
        ("Whole images", "MSE", "whole_mse", None, 5),
        ("Likelihood and codes", "ELBO, bits/dim", "elbo_bits_per_dimension", None, 4),
    ],
)
def test_the_table_is_mean_and_deviation_of_the_csv(
    compared: Compared, caption: str, heading: str, field: str, kind: str | None, decimals: int
) -> None:
    head, *body = page_of(compared.out).tables[caption]
    for line in body:
        name = line[0].partition(" (below ")[0]
        chosen = [row for row in rows(compared.out) if row["model"] == name and kind in (None, row["mask_kind"]) and row[field]]
        numbers = [""] if name.startswith("floor: ") else ["0", "1"]
        seeds = [statistics.fmean(float(row[field]) for row in chosen if row["seed"] == seed) for seed in numbers] if chosen else []
        cell = line[head.index(heading)].replace(" (best)", "")
        if not seeds:
            assert (name, cell) == ("vqvae", "–")  # noqa: RUF001
        elif len(seeds) == 1:
            assert cell == f"{seeds[0]:.{decimals}f}"
        else:
            assert cell == f"{statistics.fmean(seeds):.{decimals}f} ± {statistics.stdev(seeds):.{decimals}f}"


def test_the_page_needs_nothing_else_and_says_what_is_where(compared: Compared) -> None:
    page = page_of(compared.out)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object"}
    assert "http" not in re.sub(_PICTURE, "", (compared.out / "index.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2 * (3 + len(MODELS)) + 1 + 4  # two galleries with a floor, one model that draws, four figures
    assert all(re.match(_PICTURE, str(picture["src"])) and picture["alt"] for picture in pictures)
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert "vqkit reproduce --preset tiny" in page.text
    assert "64 images (4 steps of 16) with 2 seeds" in page.text
    completed = [line[0] for line in page.tables["Completed: keep group_nc"]]
    assert completed == ["original", "input", completed[2], *MODELS]
    assert completed[2].startswith("floor: ")
    assert [line[0] for line in page.tables["Samples"]] == ["vae"]
    assert "vqvae is best" in page.text or "vae is best" in page.text
    assert "fills in best: IoU" in page.text or "No model fills in as well as the simple predictor" in page.text


def test_figures_are_there_for_papers(compared: Compared) -> None:
    names = {"pooled_psnr_db", "ssim", "validation", "losses", "filled_components", "filled_boxes", "samples"}
    files = {f"{name}.{suffix}": start for name in names for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"))}
    found = {path.name: path.read_bytes()[:4] for path in (compared.out / "figures").iterdir()}
    assert found == files


def test_nothing_is_trained_or_measured_twice(compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(compared.trained) == sorted(f"{model}-seed{seed}" for model in MODELS for seed in (0, 1))
    out, trainer = shutil.copytree(compared.out, tmp_path / "out"), CountingTrainer()
    (out / "results.csv").unlink()

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr("vqkit.report.measuring.evaluate", refuse)
    again(compared, out, trainer)
    assert trainer.trained == []
    assert rows(out) == rows(compared.out)


def test_stopped_half_way_it_goes_on_and_gives_the_same_table(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, step = [], Trainer._train_step

    def counted(*arguments: Any) -> None:
        step(*arguments)
        steps.append(arguments[0].run.name)
        if len(steps) == 6:  # the second of four runs, in its midst
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_train_step", counted)
    trainer = CountingTrainer()
    with pytest.raises(Interrupted):
        again(compared, tmp_path, trainer)
    assert not (tmp_path / "results.csv").exists()
    again(compared, tmp_path, trainer)
    assert trainer.trained == ["vqvae-seed0", "vae-seed0", "vae-seed0", "vqvae-seed1", "vae-seed1"]
    assert {name: steps.count(name) for name in steps} == dict.fromkeys(steps, 4)  # no step of any run was taken twice
    assert untimed(tmp_path) == untimed(compared.out)


def test_a_model_that_fails_is_shown_as_failed_beside_the_others(compared: Compared, tmp_path: Path) -> None:
    out = shutil.copytree(compared.out, tmp_path / "out")

    def refuse(job: Job) -> Iterator[str]:
        yield "looking"
        raise TrainingError(f"No <sky> for {job.name}.", "Look up.")

    with pytest.raises(TrainingError, match=r"2 of 6 runs failed: autoencoder \(seed 0\), autoencoder \(seed 1\)"):
        again(compared, out, refuse, (*MODELS, "autoencoder"))
    page = page_of(out)
    assert page.tables["Runs that failed"][1:] == [["autoencoder", seed, "No <sky> for autoencoder. Look up."] for seed in "01"]
    floors = ("surrounding", "harmonic", "biharmonic", "kriging", "mean-image", "nearest", "nearest10")
    names = [line[0].partition(" (below ")[0] for line in page.tables["Boxes missing"]]
    assert names == ["model", *MODELS, *(f"floor: {name}" for name in floors)]
    assert [row["failure"] for row in rows(out) if row["model"] == "autoencoder"] == ["No <sky> for autoencoder. Look up."] * 2


def test_a_model_that_cannot_be_measured_leaves_the_others(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqkit.models.vae import VAE

    def broken(*arguments: object) -> None:
        raise ValueError("latents are lost")

    monkeypatch.setattr(VAE, "reconstruct", broken)
    out = shutil.copytree(compared.out, tmp_path / "out")
    with pytest.warns(UserWarning, match="cannot be measured"), pytest.raises(TrainingError, match="2 of 4 runs failed"):
        again(compared, out, CountingTrainer())
    assert page_of(out).tables["Runs that failed"][1] == ["vae", "0", "ValueError: latents are lost"]


def test_where_all_fail_the_page_says_so(compared: Compared, tmp_path: Path) -> None:
    def refuse(job: Job) -> Iterator[str]:
        yield "looking"
        raise TrainingError("Never.")

    with pytest.raises(TrainingError, match="4 of 4 runs failed"):
        again(compared, tmp_path, refuse)
    page = page_of(tmp_path)
    assert "No run could be measured." in page.text
    assert list(page.tables) == ["Runs that failed"]


def test_runs_of_other_settings_are_not_overwritten(compared: Compared, tmp_path: Path) -> None:
    out = shutil.copytree(compared.out, tmp_path / "out")
    other = tmp_path / "tiny.yaml"
    other.write_text(Path(compared.preset).read_text().replace("batch_size: 16", "batch_size: 8"))
    trainer = CountingTrainer()
    with pytest.raises(ConfigError, match=r"vqvae-seed0 was trained with other settings: training differ"):
        reproduce(str(other), "tyre", MODELS, out, "cpu", "vqkit", 1, trainer)
    assert trainer.trained == []
