"""The loop: reproducible, exactly resumable, robust; and what it leaves on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.multiprocessing import ProcessExitedException

from processes import start
from small_runs import tiny
from vqkit.config import RunConfig
from vqkit.data.loading import all_batches
from vqkit.data.opening import open_dataset
from vqkit.errors import ConfigError, Interrupted, TrainingError
from vqkit.interfaces import StepOutput, fully_observed
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_model
from vqkit.training.run import train
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.trainer import Trainer


def final_model(run: Path) -> bytes:
    return (runs.checkpoint_directory(run, 20) / "model.safetensors").read_bytes()


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_rates(run: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows(run)]


def test_a_run_leaves_what_it_should(tiny_run: Path) -> None:
    config = yaml.safe_load((tiny_run / "run.yaml").read_text())
    assert config["model"]["quantizer"]["decay"] == 0.99  # defaults are filled in
    assert config["data"]["num_train"] == 96
    assert runs.read_pointer(tiny_run.parent / "latest") == "tiny"
    assert (tiny_run / str(runs.read_pointer(tiny_run / "best")) / "model.safetensors").is_file()
    assert [path.name for path in runs.checkpoints(tiny_run)][-1] == "step-00000020"
    assert len(runs.checkpoints(tiny_run)) <= 3
    images = {path.name for path in (tiny_run / "images").iterdir()}
    assert {"epoch_0001_orig.png", "epoch_0001_recon.png", "epoch_0001_inpaint.png", "epoch_0004_recon.png"} <= images
    assert any((tiny_run / "tensorboard").iterdir())
    epoch_row = next(row for row in rows(tiny_run) if "val/loss" in row)
    assert {"train/loss", "train/recon", "train/vq", "train/commit", "train/mask_p", "train/perplexity", "train/usage"} <= set(
        epoch_row
    )
    step_row = rows(tiny_run)[0]
    assert step_row["step"] == 5
    assert step_row["images_per_second"] > 0


def test_the_loss_falls_and_masking_grows(tiny_run: Path) -> None:
    steps = [row for row in rows(tiny_run) if "images_per_second" in row]
    assert steps[-1]["train/recon"] < steps[0]["train/recon"]
    assert steps[0]["train/mask_p"] < 0.5 < steps[-1]["train/mask_p"]


def test_the_same_seed_gives_the_same_file(tiny_run: Path, tmp_path: Path) -> None:
    train(None, tiny(), [], tmp_path / "again", "auto")
    train(None, tiny(seed=1), [], tmp_path / "other", "auto")
    assert final_model(tmp_path / "again") == final_model(tiny_run)
    assert final_model(tmp_path / "other") != final_model(tiny_run)


def test_ten_steps_and_ten_more_equal_twenty(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "parts"
    step = Trainer._train_step

    def stop_after_ten(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop_after_ten)
        with pytest.raises(Interrupted, match=r"Stopped at step 9.*\n.*--resume") as stopped:
            train(None, tiny(), [], run, "auto")
    assert str(run) in str(stopped.value)
    assert runs.checkpoints(run)[-1].name == "step-00000009"
    train(None, tiny(), [], run, "auto")
    assert final_model(run) == final_model(tiny_run)
    assert without_rates(run) == without_rates(tiny_run)


def train_until_killed(_: int, run: str) -> None:
    step = Trainer._train_step

    def kill(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step == 14:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._train_step = kill  # type: ignore[method-assign]
    train(None, tiny(), [], Path(run), "auto")


def test_killed_after_its_checkpoint_it_resumes_exactly(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        start(train_until_killed, str(run))
    assert runs.checkpoints(run)[-1].name == "step-00000012"  # the end of the second epoch; steps 13 and 14 are lost
    train(None, {}, [], None, str(run))
    assert final_model(run) == final_model(tiny_run)
    assert without_rates(run) == without_rates(tiny_run)


def test_a_mean_of_the_weights_is_saved_and_resumed(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(weight_ema=0.9)
    train(None, settings, [], tmp_path / "straight", "auto")
    assert final_model(tmp_path / "straight") != final_model(tiny_run)
    step = Trainer._train_step

    def stop(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        self._stop_requested = self.step == 10

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        with pytest.raises(Interrupted):
            train(None, settings, [], tmp_path / "parts", "auto")
    train(None, settings, [], tmp_path / "parts", "auto")
    assert final_model(tmp_path / "parts") == final_model(tmp_path / "straight")


def test_a_finished_run_keeps_its_settings_and_still_gets_its_last_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(None, tiny(steps=2), [], run, "auto")
    before, completed = (run / "run.yaml").read_text(), []
    monkeypatch.setattr(AutoencoderTask, "finish", lambda _, directory: completed.append(directory))
    capsys.readouterr()
    train(None, {"training": {"learning_rate": 0.1}}, [], None, str(run))
    said = " ".join(capsys.readouterr().err.split())
    assert (run / "run.yaml").read_text() == before
    assert completed == [run]  # what a kill after the last checkpoint has left out
    assert "The run is finished: it has taken 2 steps" in said and "--steps 4" in said and "Validation" not in said
    train(None, {"training": {"learning_rate": 0.1, "steps": 3}}, [], None, str(run))
    assert yaml.safe_load((run / "run.yaml").read_text())["training"]["learning_rate"] == 0.1


def poisoned(monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """Make the images of these steps not a number, at the start of the step."""
    forward = AutoencoderTask.forward

    def poison(self: AutoencoderTask, batch: Any, state: Any) -> StepOutput:
        if state.step in bad:
            batch = batch._replace(images=batch.images * float("nan"))
        return forward(self, batch, state)

    monkeypatch.setattr(AutoencoderTask, "forward", poison)


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, {7, 8})
    train(None, tiny(), [], tmp_path / "run", "auto")
    assert [row["train/skipped_steps"] for row in rows(tmp_path / "run") if "train/skipped_steps" in row][-1] == 2
    tensors = load_model(tmp_path / "run").model.state_dict().values()
    assert all(tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point())


def test_many_steps_that_are_not_finite_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, set(range(8, 20)))
    with pytest.raises(TrainingError, match="last 4 steps") as error:
        train(None, tiny(max_skipped_steps=4), [], tmp_path / "run", "auto")
    assert "--lr" in error.value.hint
    assert load_model(tmp_path / "run").path.is_file()


def test_a_run_directory_is_never_overwritten(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists"):
        train(None, tiny(), [], tiny_run, "never")
    with pytest.raises(ConfigError, match=r"trained with training\.learning_rate = .*, not 0\.5"):
        train(None, tiny(learning_rate=0.5), [], tiny_run, "auto")
    with pytest.raises(ConfigError, match=r"model\.hidden"):
        train(None, {"model": {"name": "vqvae", "hidden": 32}}, [], None, str(tiny_run))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("words")
    with pytest.raises(ConfigError, match="exists"):
        train(None, tiny(), [], tmp_path / "precious", "auto")


def test_a_batch_larger_than_the_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="97") as error:
        train(None, tiny(batch_size=97), [], tmp_path / "run", "auto")
    assert "96" in str(error.value)


def test_a_full_disk_leaves_the_last_checkpoint_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vqkit.training.trainer as module

    write = module.write_tensors

    def full(path: Path, tensors: Any, header: Any) -> None:
        if "step-00000012" in str(path):
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device", str(path))
        write(path, tensors, header)

    monkeypatch.setattr(module, "write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        train(None, tiny(), [], tmp_path / "run", "auto")
    assert [path.name for path in runs.checkpoints(tmp_path / "run")][-1] == "step-00000010"
    assert load_model(tmp_path / "run").path.is_file()


def test_defaults_of_the_loop_come_from_the_configuration(tmp_path: Path) -> None:
    config = RunConfig.model_validate({**tiny(), "training": {"batch_size": 16, "epochs": 2, "precision": "fp32"}})
    from vqkit.training.kinds import resolve

    trainer = Trainer.from_config(resolve(config), tmp_path / "run", resume=False)
    assert trainer.total_steps == 12


def test_a_small_set_without_a_length_gets_enough_steps_and_its_schedules_are_stretched(tmp_path: Path) -> None:
    from vqkit.training.kinds import resolve

    config = RunConfig.model_validate({**tiny(), "training": {"batch_size": 16, "precision": "fp32"}})
    resolved = resolve(config)
    assert (resolved.training.epochs, resolved.training.least_steps) == (25, 1500)
    trainer = Trainer.from_config(resolved, tmp_path / "run", resume=False)
    assert (trainer.planned_steps, trainer.total_steps) == (150, 1500)
    trainer.step = 750
    assert trainer._training_state().epoch == 12.5
    assert trainer._training_state().progress == 0.5
    # A length that was given is kept, and a run is resumed with the length it has.
    for length, steps in (({"epochs": 2}, 12), ({"steps": 7}, 7)):
        given = resolve(RunConfig.model_validate({**tiny(), "training": {"batch_size": 16, **length}}))
        assert given.training.least_steps == 0
        assert Trainer.from_config(given, tmp_path / "given", resume=False).total_steps == steps
    assert resolve(resolved) == resolved


def test_a_stretched_run_reports_every_fifty_steps(tmp_path: Path) -> None:
    training = {"batch_size": 16, "epochs": 1, "least_steps": 120, "precision": "fp32", "warmup_steps": 0}
    run = train(None, {**tiny(), "training": training}, [], tmp_path / "run", "auto").run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val/loss" in row] == [54, 108, 120]


def test_two_processes_equal_one(tiny_run: Path, tmp_path: Path) -> None:
    """The same global batches through two gloo processes: equal models on both, and that of one process up to rounding."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys; sys.path.insert(0, sys.argv[2]); from small_runs import tiny\n"
        "from pathlib import Path; import torch, vqkit.training.trainer as t\n"
        "from safetensors.torch import save_file; from vqkit.training.run import train\n"
        "torch.set_num_threads(1)\n"
        "fit = t.Trainer.fit\n"
        "def keep(self):\n"
        "    done = fit(self)\n"
        "    save_file({k: v.contiguous().clone() for k, v in self.task.model.state_dict().items()}, "
        "sys.argv[1] + f'/rank{os.environ[\"RANK\"]}.safetensors')\n"
        "    return done\n"
        "t.Trainer.fit = keep\n"
        "train(None, tiny(), [], Path(sys.argv[1]) / 'two', 'auto')\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-8000:]
    from safetensors.torch import load_file

    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone, two = (load_model(runs.checkpoint_directory(run, 20)).model for run in (tiny_run, tmp_path / "two"))
    # The sums of two processes round differently. Where features are equal up to that, as those of empty background are, k-means
    # may number their codes in another order. So the networks, the codes that images get, and their reconstructions are compared.
    for name, weight in alone.named_parameters():
        torch.testing.assert_close(two.get_parameter(name), weight, rtol=1e-3, atol=1e-4)
    images = next(all_batches(open_dataset(load_model(tiny_run).data).split("test"), 16)).images.float() / 255
    unknown = alone.spec.unknown_conditions(len(images))
    with torch.no_grad():
        codes = [model.quantizers[0].decode(model.encode(images, fully_observed(images))[0]) for model in (two, alone)]
        torch.testing.assert_close(*codes, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(*(model.reconstruct(images, fully_observed(images), unknown) for model in (two, alone)))
    assert (tmp_path / "two" / "metrics.jsonl").read_text().count("val/loss") == 4
