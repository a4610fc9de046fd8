"""`vqkit choose` on a tiny run, and for one image with a tiny prior that completes images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image

from command_runner import command_runner
from vqkit.cli.choose import choose
from vqkit.data.opening import open_dataset
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.evaluation import EvaluationRequest, evaluate
from vqkit.image_io.pictures import save_picture, to_pil
from vqkit.inference import sampler
from vqkit.inference.calibration import Calibration
from vqkit.storage.checkpoints import load_model

app = typer.Typer()
app.command()(choose)


def run(*arguments: object) -> str:
    result = command_runner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def content_of(*arguments: object) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return content


@pytest.fixture(scope="module")
def image(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one section of which two components are known."""
    split = open_dataset(load_model(tiny_run).data).split("test")
    directory = tmp_path_factory.mktemp("section")
    for name, values in zip(split.spec.components[:2], split.batch(torch.tensor([0])).images[0], strict=False):
        save_picture(to_pil(values), directory / f"s_{name}.png")
    return directory


def test_the_order_is_printed_with_what_it_leaves(tiny_run: Path) -> None:
    output = run("--run", tiny_run, "--known", "bt,tpc", "--limit", 4, "--budget", 2)
    assert "4 images of tyre, val split, bt, tpc known" in output
    assert "error: mean of 1 - IoU over group_nc, group_km, fpu; 0 once measured" in output
    content = content_of("--run", tiny_run, "--known", "bt,tpc", "--limit", 4, "--budget", 2)
    rows = {line.split()[0]: line.split() for line in output.splitlines()[2:6] if line}
    for step in content["steps"]:
        assert rows[step["component"]][1:3] == [f"{step['before']:.4f}", f"{step['after']:.4f}"]
    table = [line.split() for line in output.splitlines()]
    for name in ("group_nc", "group_km", "fpu"):
        after = [step["candidates"].get(name) for step in content["steps"]]
        assert [name, *(f"{error:.4f}" for error in after if error is not None)] in [
            [word for word in row if word != "*"] for row in table
        ]
    heading = next(row for row in table if row[:2] == ["IoU", "at"])
    assert heading[4:] == ["+", content["steps"][0]["component"], "+", content["steps"][1]["component"]]


def test_errors_are_those_of_evaluate(tiny_run: Path) -> None:
    content = content_of("--run", tiny_run, "--known", "bt", "--limit", 6, "--budget", 1, "--split", "test", "--batch-size", 4)
    sets = [["bt"], *([name, "bt"] for name in ("group_nc", "group_km", "fpu", "tpc"))]
    request = EvaluationRequest(split="test", limit=6, keep_sets=sets)
    for part in evaluate(tiny_run, request).parts:
        found = next(each for each in content["keep_sets"] if set(each["keep"]) == set(part.keep))
        assert {name: each["iou"] for name, each in found["components"].items()} == pytest.approx(part.iou)
        assert found["error"] == pytest.approx(sum(1 - iou for iou in part.iou.values()) / 4)


def test_all_keep_sets_are_tried_and_drawn(tiny_run: Path, tmp_path: Path) -> None:
    output = run("--run", tiny_run, "--limit", 2, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert len(content["keep_sets"]) == 31 and len(content["best"]) == len(content["steps"]) == 5
    assert content["start"] is None and content["steps"][0]["before"] is None
    assert all(best["error"] <= step["after"] for best, step in zip(content["best"], content["steps"], strict=True))
    assert f"choice.png and choice.json written to {tmp_path / 'out'}/" in output
    with Image.open(tmp_path / "out" / "choice.png") as figure:
        assert figure.width > 400 and len(figure.convert("RGB").getcolors(figure.width * figure.height) or ()) > 50
    assert "best of all keep-sets" in output
    assert "best of all keep-sets" not in run("--run", tiny_run, "--limit", 2, "--budget", 1, "--greedy")


def test_one_image_is_judged_by_its_completions(
    tiny_run: Path, tiny_completing_run: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--prior", tiny_completing_run, "--run", tiny_run, image, "-n", 3)
    content = content_of(*command)
    assert content["known"] == ["group_nc", "group_km"] and content["missing"] == ["bt", "fpu", "tpc"]
    assert content["images"] == 3 and content["source"] == f"completions of {image}"
    assert len(content["keep_sets"]) == 8 and content["steps"][-1]["after"] == 0
    assert content_of(*command, "--known", "group_km,group_nc") == content
    assert content_of(*command, "--condition", "width_px=50", "--seed", 1) != content
    fitted = Calibration("p", "t", 1, 2, 0.9, (), 0.5, {})
    monkeypatch.setattr(sampler, "read_calibration", lambda *arguments: fitted)
    assert content_of(*command)["origin"]["sampling"]["temperature"] == 0.5
    assert content_of(*command, "--temperature", 1)["steps"] == content["steps"]
    assert "note: Completions are drawn at the temperature 0.5, fitted on validation images." in run(*command)
    assert f"3 completions of {image}, group_nc, group_km known" in run(*command)


def test_one_image_holds_what_is_known_and_nothing_else(tiny_run: Path, tiny_completing_run: Path, image: Path) -> None:
    command = ("--prior", tiny_completing_run, "--run", tiny_run, image, "--known")
    with pytest.raises(
        DataError, match=r"holds group_nc, group_km, but only group_nc is said to be known\. Add group_km to --known"
    ):
        run(*command, "group_nc")
    with pytest.raises(DataError, match="holds group_nc, group_km, and not bt, said to be known"):
        run(*command, "group_nc,group_km,bt")
    with pytest.raises(ConfigError, match="There is no component 'nc'"):
        run(*command, "nc")


def test_several_images_are_refused(tiny_run: Path, tiny_completing_run: Path, image: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}_bt.png").write_bytes((image / "s_group_nc.png").read_bytes())
    with pytest.raises(DataError, match=r"holds 2 images, and one is expected\. Name one of them, such as .*one_bt\.png"):
        run("--prior", tiny_completing_run, "--run", tiny_run, tmp_path)
    command = ("--prior", tiny_completing_run, "--run", tiny_run, "-n", 1)
    assert content_of(*command, tmp_path / "one_bt.png")["known"] == ["bt"]
    with pytest.raises(DataError, match="holds bt, and not fpu, said to be known"):
        run(*command, tmp_path / "one_bt.png", "--known", "fpu")
    (tmp_path / "anything.png").write_bytes((image / "s_group_nc.png").read_bytes())
    assert content_of(*command, tmp_path / "anything.png", "--keep", "tpc")["known"] == ["tpc"]


def test_options_that_do_not_go_together(tiny_run: Path, tiny_prior_run: Path, tiny_completing_run: Path, image: Path) -> None:
    with pytest.raises(ConfigError, match="Choosing for one image needs --prior"):
        run("--run", tiny_run, image)
    with pytest.raises(ConfigError, match="--prior is an option for one image, and none was named"):
        run("--run", tiny_run, "--prior", tiny_completing_run)
    with pytest.raises(ConfigError, match=r"--top-k is an option for one image"):
        run("--run", tiny_run, "--top-k", 3)
    with pytest.raises(ConfigError, match="--limit is an option for data sets"):
        run("--run", tiny_run, "--prior", tiny_completing_run, image, "--limit", 3)
    with pytest.raises(ConfigError, match="was not trained to complete images"):
        run("--prior", tiny_prior_run, "--run", tiny_run, image)
    with pytest.raises(CheckpointError, match="holds a prior, not a model"):
        run("--run", tiny_prior_run)
    with pytest.raises(ConfigError, match=r"--known names no component\. Write for example --known group_nc,bt"):
        run("--run", tiny_run, "--known", ",")
    with pytest.raises(ConfigError, match="budget is 0; it must be at least 1"):
        run("--run", tiny_run, "--budget", 0)
