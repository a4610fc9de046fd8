from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from small_comparison import tiny_preset

from vqkit.config import PretrainingRunConfig, RunConfig
from vqkit.errors import ConfigError, DataError, RegistryError
from vqkit.registry import METHODS, MODELS
from vqkit.reproduce.planning import plan
from vqkit.reproduce.presets import Adaptation, Pretraining, load_preset, preset_names


def pictures(folder: Path, train: int, test: int) -> str:
    for part, count in (("train", train), ("test", test)):
        (folder / part).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (12, 12), (number, 0, 0)).save(folder / part / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize("name", ["smoke", "laptop", "full"])
def test_every_preset_plans_every_model_under_one_budget(name: str, tmp_path: Path) -> None:
    small = Adaptation(run={"data": {"num_train": 64, "num_val": 8, "num_test": 8}})
    preset = load_preset(name).model_copy(update={"data": {"tyre": small}})
    jobs = plan(preset, "tyre", [], tmp_path)
    variants = [name for method in METHODS.entries() for name in (f"vae+{method} encoder", f"vae+{method}")]
    assert [job.name for job in jobs] == [*MODELS.entries(), *variants] * len(preset.seeds)
    assert len({job.run for job in jobs}) == len(jobs)
    assert {job.config.training.seed for job in jobs} == set(preset.seeds)
    encoders = [job for job in jobs if isinstance(job.config, PretrainingRunConfig)]
    assert {job.name: job.after and job.after.name for job in jobs if "+" in job.name} == dict(
        pair for name, after in zip(variants[1::2], variants[::2], strict=True) for pair in ((name, after), (after, None))
    )
    assert {(job.steps, job.config.model.options["hidden"]) for job in encoders} == {
        (preset.pretraining.run["training"]["steps"], preset.network["hidden"])
    }
    jobs = [job for job in jobs if isinstance(job.config, RunConfig)]
    assert {(job.steps, job.config.training.batch_size, job.config.masking, job.config.data.name) for job in jobs} == {
        (preset.run["training"]["steps"], preset.run["training"]["batch_size"], jobs[0].config.masking, "tyre")
    }
    assert jobs[0].config.masking.kind == "components-or-boxes"
    assert {job.config.model.options["hidden"] for job in jobs} == {preset.network["hidden"]}


@pytest.mark.parametrize("name", ["smoke", "laptop", "full"])
def test_every_preset_plans_pictures(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    one, other = pictures(tmp_path / "cats", 80, 8), pictures(tmp_path / "dogs", 80, 8)
    for data in (one, f"{one},{other}"):
        jobs = plan(preset, data, [], tmp_path)
        assert {job.config.model.options["hidden"] for job in jobs} == {preset.network["hidden"]}


def test_pictures_are_brought_to_size_and_lose_boxes(tmp_path: Path) -> None:
    adaptation = {
        "run": {"data": {"height": 8, "width": 16}, "training": {"steps": 3}},
        "models": {"vqvae": {"quantizer": {"num_codes": 7}}},
    }
    preset = load_preset(tiny_preset(tmp_path, data={"images": adaptation}))
    folder = pictures(tmp_path / "cats", 80, 8)
    (job,) = plan(preset.model_copy(update={"seeds": (5,)}), folder, ["vae"], tmp_path)
    assert (job.config.data.options["path"], job.config.data.options["height"], job.config.data.options["width"]) == (folder, 8, 16)
    assert job.config.masking.kind == "boxes"
    (other,) = plan(preset.model_copy(update={"seeds": (5,)}), folder, ["vqvae"], tmp_path)
    assert other.config.model.options["quantizer"] == {**other.config.model.options["quantizer"], "num_codes": 7, "dim": 8}
    assert (job.steps, job.seed, job.config.training.seed, job.run) == (3, 5, 5, tmp_path / "runs" / "vae-seed5")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    preset = load_preset(tiny_preset(tmp_path))
    with pytest.raises(RegistryError, match=r"no model named 'vqae'.*Did you mean 'vqvae'"):
        plan(preset, "tyre", ["vae", "vqae"], tmp_path)
    with pytest.raises(RegistryError, match=r"'simcrl'.*Did you mean 'simclr'"):
        plan(preset, "tyre", ["vae+simcrl"], tmp_path)
    with pytest.raises(ConfigError, match=r"no pretraining\.run\.training\.steps"):
        plan(preset.model_copy(update={"pretraining": Pretraining()}), "tyre", ["vae+simclr"], tmp_path)
    with pytest.raises(DataError, match=r"has 2 training images and 8 test images; a comparison needs at least 64 and 8"):
        plan(preset, pictures(tmp_path / "few", 3, 8), ["vae"], tmp_path)
    with pytest.raises(DataError, match="neither a data set nor a path"):
        plan(preset, "nowhere", ["vae"], tmp_path)
    with pytest.raises(ConfigError, match=r"no run\.training\.steps"):
        plan(load_preset(tiny_preset(tmp_path, run={})), "tyre", ["vae"], tmp_path)


def test_a_folder_of_two_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for number in range(2):
        Image.new("RGB", (12, 12)).save(tmp_path / "two" / f"{number}.png")
    with (
        pytest.warns(UserWarning, match="no test images"),
        pytest.raises(DataError, match=r"two has 1 training images and 1 test images"),
    ):
        plan(load_preset("smoke"), str(tmp_path / "two"), ["vae"], tmp_path)


def test_wrong_presets_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The preset .*mine\.yaml does not exist") as caught:
        load_preset(str(tmp_path / "mine.yaml"))
    assert "smoke.yaml" in caught.value.hint
    assert preset_names() == ["full", "laptop", "smoke"]
    with pytest.raises(ConfigError, match=r"no preset 'smok'\. Did you mean 'smoke'"):
        load_preset("smok")
    with pytest.raises(ConfigError, match=r"no setting 'sedes'.*Did you mean 'seeds'"):
        load_preset(tiny_preset(tmp_path, sedes=[1]))


def test_a_seed_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seeds must differ from each other"):
        load_preset(tiny_preset(tmp_path, seeds=[1, 0, 1]))
