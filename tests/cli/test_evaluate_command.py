"""`vqkit evaluate` and `vqkit codebook-stats` on a tiny run and on untrained priors of its codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import typer

from command_runner import command_runner
from vqkit.cli.codebook_stats import codebook_stats
from vqkit.cli.evaluate import evaluate
from vqkit.cli.prior_tables import _parts
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.evaluation import autoencoder as evaluation
from vqkit.evaluation.bounds import measure_bounds
from vqkit.evaluation.held_out import open_split
from vqkit.inference.conditioning import code_spec
from vqkit.registry import MODELS, PRIORS
from vqkit.storage.checkpoints import load_model, read_header, tokenizer_of, write_model, write_prior

app = typer.Typer()
app.command("evaluate")(evaluate)
app.command("codebook-stats")(codebook_stats)


def run(*arguments: object) -> str:
    result = command_runner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def priors(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained priors for the codes of the tiny run, by what they are told."""
    tokenizer, found = load_model(tiny_run), {}
    for kind in ("metadata", "observed"):
        prior = PRIORS.build("pixelcnn", {"channels": 8, "layers": 1}, code_spec(tokenizer.model, (kind,)))
        found[kind] = tmp_path_factory.mktemp("priors") / kind
        write_prior(found[kind] / "model.safetensors", prior, tokenizer.data, tokenizer)
    return found


def test_evaluate_prints_a_row_for_each_keep_set(tiny_run: Path) -> None:
    output = run("evaluate", "--run", tiny_run, "--limit", 4)
    rows = [line.split("  ")[0].strip() for line in output.splitlines()]
    assert {"full input", "keep group_nc", "all but tpc"} <= set(rows)
    assert "4 images of tyre, test split" in output
    assert "MSE / data variance" in output
    assert "perplexity" in output


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        run("evaluate", "--run", tiny_run, "--limit", 4, "--out", tmp_path)


def test_the_best_floor_or_all_or_none_have_rows(tiny_run: Path) -> None:
    def floors(*options: object) -> list[str]:
        output = run("evaluate", "--run", tiny_run, "--keep", "bt", "--keep", "bt,fpu", "--limit", 4, *options)
        return [line.split("  ")[1] for line in output.splitlines() if line.startswith("  floor: ")]

    every = floors("--floors", "all")
    assert every[:5] == ["floor: mean", "floor: mean-image", every[2], "floor: nearest", "floor: nearest10"]
    assert every[2] == "floor: copy of bt"
    assert len(every) == 10
    for best, all_of_one in zip(floors(), (every[:5], every[5:]), strict=True):
        assert best in all_of_one
    assert floors("--floors", "none") == []
    content = json.loads(run("evaluate", "--run", tiny_run, "--keep", "bt", "--limit", 4, "--json"))
    part = content["evaluations"][0]["parts"][0]
    assert [each["name"] for each in part["floors"]] == ["mean", "mean-image", "copy", "nearest", "nearest10"]
    best = max(each["mean_iou"] for each in part["floors"])
    said = [note for note in content["evaluations"][0]["notes"] if "fills in better" in note]
    assert len(said) == (best > part["mean_iou"])
    with pytest.raises(ConfigError, match="--floors is 'most'"):
        run("evaluate", "--run", tiny_run, "--floors", "most")


def test_evaluate_prints_what_the_codes_of_an_image_take(tiny_run: Path) -> None:
    output = run("evaluate", "--run", tiny_run, "--keep", "bt", "--limit", 4)
    table = {line.split("  ")[0]: line.split() for line in output.splitlines()[-4:]}
    assert table["codes"][1:3] == ["16", "x"]
    assert table["codes"][-2] == table["per image"][-2] == "640.0"
    assert table["per pixel"][-2] == "0.3125"
    assert 0 < float(table["per pixel"][-1]) < 0.3125


def test_bounds_are_printed_with_the_name_of_their_likelihood(tiny_run: Path, tmp_path: Path) -> None:
    tokenizer = load_model(tiny_run)
    options = {"hidden": 8, "inner": 4, "latent_dim": 4}
    for name in ("vae", "autoencoder"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = MODELS.build(name, options, tokenizer.model.spec)
        write_model(tmp_path / name / "model.safetensors", model, tokenizer.data)
    asked = ("evaluate", "--keep", "bt", "--limit", 3, "--bound-samples", 5, "--run")
    expected = measure_bounds(load_model(tmp_path / "vae").model, open_split(tokenizer, None, "test", 3), 5)
    lines = [line.split() for line in run(*asked, tmp_path / "vae").splitlines()]
    place = lines.index(["bound", "(bernoulli", "likelihood)", "nats/image", "bits/dim"])
    assert lines[place + 1] == ["ELBO", f"{expected.elbo:.2f}", f"{expected.elbo_bits:.4f}"]
    tight = [f"{expected.importance_weighted:.2f}", "+-", f"{expected.standard_error:.2f}", f"{expected.bits:.4f}"]
    assert lines[place + 2] == ["importance-weighted", "(5", "samples)", *tight]
    (content,) = json.loads(run(*asked, tmp_path / "vae", "--json"))["evaluations"]
    assert content["bounds"] == expected.to_json()
    assert content["bounds"]["likelihood"] == "bernoulli" and content["bounds"]["images"] == 3
    with pytest.raises(ConfigError, match="PlainAutoencoder has no prior of its own, so images have no likelihood"):
        run(*asked, tmp_path / "autoencoder")


def test_bounds_are_of_models_with_a_likelihood_alone(tiny_run: Path, priors: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="VQVAE has no prior of its own, so images have no likelihood"):
        run("evaluate", "--run", tiny_run, "--bound-samples", 2)
    with pytest.raises(ConfigError, match=r"--bound-samples is an option for models, and .* is a prior"):
        run("evaluate", "--run", priors["metadata"], "--bound-samples", 2)


def test_distances_are_printed_and_are_for_models_alone(
    tiny_run: Path, priors: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="'tyre' has 5 components"):
        run("evaluate", "--run", tiny_run, "--fid")
    with pytest.raises(ConfigError, match=r"--lpips is an option for models, and .* is a prior"):
        run("evaluate", "--run", priors["metadata"], "--lpips")
    asked: list[tuple[bool, bool]] = []

    class Distances:
        def __init__(self, spec: object, count: int, fid: bool, lpips: bool, device: object) -> None:
            asked.append((fid, lpips))

        def add(self, images: object, reconstructions: object) -> None: ...

        def result(self) -> dict[str, float]:
            return {"fid": 12.3456, "lpips": 0.04321}

    monkeypatch.setattr(evaluation, "FeatureDistances", Distances)
    output = run("evaluate", "--run", tiny_run, "--limit", 4, "--fid")
    assert "full input: rFID 12.35, LPIPS 0.04321, MSE / data variance" in output
    assert asked == [(True, False)]


def test_evaluate_as_json_prints_one_object_and_writes_the_same(tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ("evaluate", "--run", tiny_run, "--keep", "group_nc, bt", "--limit", 4, "--json", "--out", file)
    (evaluation,) = json.loads(run(*arguments))["evaluations"]
    assert json.loads(file.read_text()) == {"evaluations": [evaluation], "priors": []}
    assert [part["name"] for part in evaluation["parts"]] == ["keep group_nc,bt"]
    assert list(evaluation["parts"][0]["iou"]) == ["group_km", "fpu", "tpc"]
    assert evaluation["data"]["num_test"] == 16
    assert evaluation["levels"][0]["num_codes"] == 32


def test_several_runs_are_compared(tiny_run: Path) -> None:
    output = run("evaluate", "--run", tiny_run, "--run", tiny_run / "checkpoints" / "step-00000020", "--keep", "bt", "--limit", 4)
    assert "comparison" in output
    assert sum(line.startswith("keep bt") for line in output.splitlines()) == 3
    table = output[output.index("comparison") :].splitlines()
    assert table[1].rstrip().endswith("best floor")
    floor = next(line for line in output.splitlines() if line.startswith("  floor: "))
    name = floor.removeprefix("  floor: ").split()[0]
    assert next(line for line in table if line.startswith("keep bt")).rstrip().endswith(f" {name}")
    assert next(line for line in table if line.startswith("full input")).rstrip().endswith(" -")
    bare = run("evaluate", "--run", tiny_run, "--run", tiny_run, "--keep", "bt", "--limit", 4, "--floors", "none")
    assert "best floor" not in bare


def test_an_unknown_component_is_explained(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"no component 'group_n'.*Did you mean 'group_nc'"):
        run("evaluate", "--run", tiny_run, "--keep", "group_n")


def rows(output: str) -> list[str]:
    """The first cells of all tables."""
    return [line.split("  ")[0] for line in output.splitlines()]


def test_evaluate_of_a_prior_prints_rates_and_samples(priors: dict[str, Path]) -> None:
    output = run("evaluate", "--run", priors["metadata"], "--limit", 4, "--num-samples", 3, "--guidance-scale", 2, "--seed", 5)
    assert "PixelCNN conditioned on metadata, 4 images of tyre, test split" in output
    assert {"uniform", "unigram", "unconditional", "conditional", "samples", "tpc", "width_px", "height_px"} <= set(rows(output))
    uniform = next(line.split() for line in output.splitlines() if line.startswith("uniform"))
    assert uniform == ["uniform", "3.466", "640.0", "0.3125"]
    assert "3 samples (guidance scale 2, seed 5)" in output
    assert "bits per image at PSNR" in output


def test_evaluate_of_a_prior_prints_completions(priors: dict[str, Path]) -> None:
    arguments = ("--keep", "group_nc,bt", "--limit", 2, "-n", 0, "--completions", 2)
    output = run("evaluate", "--run", priors["observed"], *arguments)
    assert "2 completions of each of 2 images (seed 0), measured on what was missing" in output
    assert [row for row in rows(output) if row.startswith("keep group_nc,bt")] == ["keep group_nc,bt"] * 3
    quality, uncertain = output.split("the truth among these completions")
    head = next(line for line in quality.splitlines() if line.startswith("IoU"))
    assert head.split()[-3:] == ["best", "floor", "diversity"]
    row = [line for line in quality.splitlines() if line.startswith("keep group_nc,bt")][-1]
    assert row.split()[-3] in ("mean-image", "copy", "nearest", "nearest10")
    assert "best floor" not in run("evaluate", "--run", priors["observed"], *arguments, "--floors", "none")
    assert "lowest rank (33.3%)" in uncertain
    for table in (quality, uncertain):
        assert sum(line.startswith(("  group_km", "  fpu", "  tpc")) for line in table.splitlines()) == 3
    assert "samples (" not in output


def test_evaluate_calibrates_a_prior_and_the_next_evaluation_uses_it(priors: dict[str, Path], tmp_path: Path) -> None:
    prior = Path(shutil.copytree(priors["observed"].parent, tmp_path / "copy")) / "observed"
    header = read_header(priors["observed"] / "model.safetensors")
    tokenizer = ("--tokenizer", tokenizer_of(priors["observed"] / "model.safetensors", header))
    arguments = ("--run", prior, *tokenizer, "--keep", "group_nc,bt", "--limit", 2, "-n", 0, "--completions", 2)
    fitted = run("evaluate", *arguments, "--calibrate")
    content = json.loads((prior / "calibration.json").read_text())
    assert content["images"] == 2 and set(content["components"]) == {"group_km", "fpu", "tpc"}
    temperature = content["temperature"]
    assert f"the uncertainty was calibrated on 2 validation images (temperature {temperature:g})\n" in fitted
    assert "calibrated covered" in fitted
    assert run("evaluate", *arguments) == fitted
    other = run("evaluate", *arguments, "--temperature", "0.3")
    assert "for other sampling options than these" in other and "calibrated covered" not in other


def test_only_the_most_common_numbers_of_parts_are_listed() -> None:
    assert _parts([0.0, 0.984, 0.016]) == "1: 98.4%, 2: 1.6%"
    assert _parts([0.1, 0.2, 0.05, 0.4, 0.25]) == "3: 40.0%, 4: 25.0%, 1: 20.0%, others: 15.0%"


def test_models_and_priors_are_measured_together(tiny_run: Path, priors: dict[str, Path], tmp_path: Path) -> None:
    runs = ("--run", priors["metadata"], "--run", tiny_run, "--run", priors["observed"])
    settings = ("--limit", 2, "--num-samples", 0, "--completions", 0)
    content = json.loads(run("evaluate", *runs, *settings, "--json", "--out", tmp_path / "figures.json"))
    assert [Path(each["run"]).parent for each in content["priors"]] == list(priors.values())
    (model,) = content["evaluations"]
    assert model["full"]["mean_iou"] == pytest.approx(content["priors"][0]["distortion"]["mean_iou"], abs=1e-6)
    assert json.loads((tmp_path / "figures.json").read_text()) == content
    output = run("evaluate", *runs, *settings)
    (header,) = (line for line in output.splitlines() if line.startswith("comparison"))
    assert header.split()[1:] == ["nats/code", "bits/image", "bits/pixel", "PSNR", "dB", "pooled", "dB", "SSIM", "IoU"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--num-samples", 4), ("--completions", 4), ("--tokenizer", "x"), ("--top-p", 0.9), ("--seed", 1), ("--draw-steps", 8)],
)
def test_settings_of_priors_are_refused_for_models(option: str, value: object, tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{option} is an option for priors, and .* is a model"):
        run("evaluate", "--run", tiny_run, option, value)


def test_senseless_settings_of_priors_are_explained(tiny_run: Path, priors: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temperature is 0; it must be above 0"):
        run("evaluate", "--run", priors["metadata"], "--temperature", 0)
    with pytest.raises(ConfigError, match="not trained to complete images"):
        run("evaluate", "--run", priors["metadata"], "--keep", "bt")
    other = load_model(tiny_run)
    other.model.load_state_dict({name: tensor + 1 for name, tensor in other.model.state_dict().items()})
    write_model(tmp_path / "model.safetensors", other.model, other.data)
    with pytest.raises(CheckpointError, match="models the codes of the tokenizer"):
        run("evaluate", "--run", priors["metadata"], "--tokenizer", tmp_path)


def test_codebook_stats_writes_pictures_and_says_where(tiny_run: Path, tmp_path: Path) -> None:
    output = run("codebook-stats", "--run", tiny_run, "--limit", 8, "--out", tmp_path / "book")
    assert "16 x 8" in output
    assert f"written to {tmp_path / 'book'}" in output
    pictures = {path.name for path in (tmp_path / "book").iterdir()}
    assert pictures == {"codes_usage.png", "codes_entropy.png", "codes_most_used.png", "codes_least_used.png", "statistics.json"}


def test_codebook_stats_of_several_levels_shows_each_alone(tiny_run: Path, tmp_path: Path) -> None:
    whole = load_model(tiny_run)
    quantizer = {"name": "residual", "num_quantizers": 2, "inner": {"name": "ema", "num_codes": 8, "dim": 4}}
    options = {"hidden": 8, "inner": 4, "blocks": 0, "attention": False, "quantizer": quantizer}
    write_model(tmp_path / "model.safetensors", MODELS.build("vqvae", options, whole.model.spec).eval(), whole.data)
    command = ("codebook-stats", "--run", tmp_path, "--limit", 8, "--out", tmp_path / "book")
    content = json.loads(run(*command, "--json"))
    assert [share["name"] for share in content["level_ablation"]] == ["all levels", "codes_1 only", "codes_2 only", "none"]
    assert str(tmp_path / "book" / "single_levels.png") in content["pictures"]
    assert (tmp_path / "book" / "single_levels.png").is_file()
    output = run(*command)
    assert "decoded from (8 images)" in output
    assert f"{content['level_ablation'][1]['psnr']:.2f}" in next(
        line for line in output.splitlines() if line.startswith("codes_1 only")
    )


def test_codebook_stats_as_json(tiny_run: Path, tmp_path: Path) -> None:
    content = json.loads(run("codebook-stats", "--run", tiny_run, "--limit", 8, "--out", tmp_path, "--json"))
    assert json.loads((tmp_path / "statistics.json").read_text()) == content
    (level,) = content["levels"]
    assert sum(level["counts"]) == 8 * 16 * 8
    assert level["used"] + len(level["unused"]) == 32
    assert content["reset"] is None
    assert content["level_ablation"] == []


def test_reset_unused_saves_a_usable_checkpoint(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    content = json.loads(run("codebook-stats", "--run", copy, "--limit", 1, "--reset-unused", "--json"))
    unused = len(content["levels"][0]["unused"])
    assert content["reset"]["codes"] == unused > 0
    after = json.loads(run("codebook-stats", "--run", content["reset"]["checkpoint"], "--limit", 1, "--json"))
    assert after["digest"] != content["digest"]
    assert (copy / "codebook" / "codes_usage.png").is_file()
