"""The training loop: optimizer steps, metrics, validation and checkpoints, for any task.

A run is a function of its configuration: every random draw is keyed by the step, the data order by the epoch. A run that was killed
and resumed from its checkpoint ends with the same bits as an uninterrupted one.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.config import DEFAULT_EPOCHS, AnyRunConfig, NamedOptions
from vqkit.core import distributed
from vqkit.core.atomic import directory_atomically
from vqkit.core.precision import autocast, choose_device
from vqkit.core.randomness import generator_for
from vqkit.data.fingerprints import Fingerprint, fingerprint
from vqkit.data.loading import TrainingLoader, evaluation_batches
from vqkit.data.summary import describe_dataset
from vqkit.errors import CheckpointError, Interrupted, TrainingError
from vqkit.interfaces import Batch, DataSpec, Split
from vqkit.interfaces.tasks import StepOutput, Task, TrainingState
from vqkit.storage import runs
from vqkit.storage.checkpoints import read_tensors, write_tensors
from vqkit.training.data_identity import check_identity
from vqkit.training.kinds import build
from vqkit.training.optimization import (
    GuardedOptimizerStep,
    ModelEMA,
    build_optimizer,
    learning_rate,
    load_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from vqkit.training.passes import backward_in_passes, check_task
from vqkit.training.pictures import training_pictures
from vqkit.training.progress import TrainingProgress
from vqkit.training.recovery import prune
from vqkit.training.run_progress import STATE_FILE, Progress, read_progress, write_progress
from vqkit.training.small_sets import with_fitting_batch
from vqkit.training.tracking import MetricAverages, Recorder

_REPORT_STEPS = 50
"""Steps between two validations where a pass over the training set has fewer and there are many passes."""


class Outcome(NamedTuple):
    """The result of a finished run: its directory, its images' specification, its steps, and its last validation metrics."""

    run: Path
    spec: DataSpec
    steps: int
    validation: dict[str, float]


class Trainer:
    """Trains one task on one data set into one run directory."""

    def __init__(self, config: AnyRunConfig, run: Path, task: Task, train: Split, validation: Split, device: torch.device) -> None:
        settings = config.training
        self.config, self.run, self.task, self.device = config, run, task, device
        self.validation = validation
        check_task(task, settings.accumulate, settings.batch_size)
        self.loader = TrainingLoader(train, settings.batch_size, settings.seed, settings.workers)
        self.augment = train.augment
        self.planned_steps = settings.steps or (settings.epochs or DEFAULT_EPOCHS) * self.loader.steps_per_epoch
        """Steps of the configured epochs, before a small set is passed over more often."""
        self.total_steps = settings.steps or max(self.planned_steps, settings.least_steps or 0)
        optimizer_groups = task.optimizer_groups()
        self.optimizer = build_optimizer(optimizer_groups, settings)
        self.optimizer_step = GuardedOptimizerStep(self.optimizer, optimizer_groups, settings.clip_norm, device)
        self.model_ema = ModelEMA(task.model, settings.weight_ema)
        self.recent, self.whole_epoch = MetricAverages(), MetricAverages()
        self.step = 0
        self.best = float("inf")
        self.last_validation: dict[str, float] = {}
        self.notes: list[str] = []
        """What was understood of the data, a line each."""
        self.data: dict[str, Fingerprint] = {}
        """What identifies the images of each split."""
        self._stop_requested = False
        self._saved: int | None = None
        """The step of the last checkpoint."""

    @classmethod
    def from_config(cls, config: AnyRunConfig, run: Path, resume: bool) -> Trainer:
        """Build data, model and task, and resume from the run's newest checkpoint if `resume`.

        What is found out about the data, such as their ranges, becomes part of the configuration. Raises `ConfigError` when the
        data of a run that resumes are not those that it was trained on.
        """
        device = distributed.local_device(choose_device(config.training.device))
        task, train, validation, dataset = build(config, device)
        data = {"train": fingerprint(train), "val": fingerprint(validation)}
        if resume:
            check_identity(run, data)
        fitted = NamedOptions(**{**config.data.model_dump(), **dataset.fitted_settings})
        complete = with_fitting_batch(config.model_copy(update={"data": fitted}), len(train))
        trainer = cls(complete, run, task, train, validation, device)
        trainer.notes, trainer.data = describe_dataset(dataset), data
        if complete.training.batch_size != config.training.batch_size:
            trainer.notes.append(f"batches of {complete.training.batch_size}, because there are {len(train)} training images")
        if resume:
            trainer.load(runs.checkpoints(run)[-1])
        return trainer

    def fit(self) -> Outcome:
        """Train to the end.

        Raises `Interrupted` after a signal, with a checkpoint saved, and `TrainingError` when gradients stay non-finite.
        """
        forward = self._prepare_forward()
        settings = self.config.training
        recorder = Recorder(self.run, self.step, settings.track)
        try:
            with self._stop_on_signals(), TrainingProgress(self.total_steps, self.step, settings.batch_size) as progress:
                while self.step < self.total_steps:
                    epoch, start = divmod(self.step, self.loader.steps_per_epoch)
                    for batch in self.loader.epoch(epoch, start):
                        self._train_step(forward, batch.to(self.device, self.task.spec))
                        progress.advance()
                        if self.step % settings.log_every == 0:
                            self._log(recorder, progress)
                        if self.step == self.total_steps or self.step % self.loader.steps_per_epoch == 0:
                            break
                        self._stop_if_requested()
                        if self.step % settings.checkpoint_every == 0:
                            self.save()
                    self._finish_epoch(recorder, progress)
                    self._stop_if_requested()
        finally:
            recorder.close()
        self._finish_run()
        return Outcome(self.run, self.task.spec, self.step, self.last_validation)

    def _prepare_forward(self) -> Any:
        """The task, with its model compiled if configured, wrapped for several processes."""
        forward: Any = self.task
        if self.config.training.compile:
            from torch._functorch import config as compiler

            # A balanced loss computes gradients before the backward pass: compiled code must not reuse buffers that both need.
            compiler.donated_buffer = False
            self.task.model.compile()
        if distributed.world_size() > 1:
            # The codebooks are equal on all processes already: their statistics are summed in every step.
            devices = [self.device.index] if self.device.type == "cuda" else None
            forward = torch.nn.parallel.DistributedDataParallel(self.task, device_ids=devices, broadcast_buffers=False)
        return forward

    def _train_step(self, forward: Any, batch: Batch) -> None:
        """One optimizer step on one batch, which is on the device."""
        settings = self.config.training
        self.task.train()
        # The 0 keeps the draws that a single process has always had.
        augmented = self.augment(batch, generator_for(settings.seed, "augmentation", self.step, 0))
        set_learning_rate(self.optimizer, learning_rate(settings, self.step, self.total_steps))
        self.optimizer.zero_grad(set_to_none=True)
        output = self._backward(forward, augmented)
        norm = self.optimizer_step()
        self.step += 1
        self.model_ema.update(self.step)
        self.recent.add({**output.scalars, "gradient_norm": norm}, {})
        self.whole_epoch.add(output.scalars, output.counts)
        if self.device.type == "cpu":  # elsewhere this would synchronise with the device at every step: see `_log`
            self._stop_if_diverged()

    def _backward(self, forward: Any, batch: Batch) -> StepOutput:
        """The gradient of a batch, in as many passes as are configured."""
        settings, state = self.config.training, self._training_state()
        if settings.accumulate > 1:
            precision = partial(autocast, settings.precision, self.device)
            return backward_in_passes(self.task, forward, batch, state, settings.accumulate, precision)
        with autocast(settings.precision, self.device):
            output: StepOutput = forward(batch, state)
        torch.autograd.backward(output.loss)
        return output

    def _training_state(self) -> TrainingState:
        progress = self.step / self.total_steps
        return TrainingState(self.step, progress * self.planned_steps / self.loader.steps_per_epoch, progress)

    @property
    def _epochs_at_once(self) -> int:
        """Epochs after which there is something to report: more than one where a small set is passed over very often."""
        return -(-_REPORT_STEPS // self.loader.steps_per_epoch) if self.total_steps > self.planned_steps else 1

    def _log(self, recorder: Recorder, progress: TrainingProgress) -> None:
        """Record the means since the last row."""
        self._stop_if_diverged()
        means = self.recent.means()
        row = {f"train/{name}": value for name, value in means.items()}
        row["train/skipped_steps"] = float(self.optimizer_step.skipped)
        row["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        row["images_per_second"] = progress.rate()
        recorder.row(self.step, self.step / self.loader.steps_per_epoch, row)
        progress.note("  ".join(f"{name} {means[name]:.4f}" for name in self.task.step_metrics if name in means))
        self.recent.reset()

    def _finish_epoch(self, recorder: Recorder, progress: TrainingProgress) -> None:
        """Validate, log images and save at the configured intervals, and always at the end of the run."""
        settings = self.config.training
        last = self.step == self.total_steps
        epoch = -(-self.step // self.loader.steps_per_epoch)
        if not last and epoch % self._epochs_at_once:
            return
        number = -(-epoch // self._epochs_at_once)
        row = {f"train/{name}": value for name, value in {**self.whole_epoch.means(), **self.whole_epoch.code_use()}.items()}
        for name, counts in self.whole_epoch.histograms().items():
            recorder.histogram(self.step, name, counts)
        validated = last or number % settings.validate_every == 0
        if validated:
            self.last_validation = self._validate()
            row |= {f"val/{name}": value for name, value in self.last_validation.items()}
        recorder.row(self.step, self.step / self.loader.steps_per_epoch, row)
        if last or number == 1 or number % settings.picture_every == 0:
            self._log_images(recorder, epoch)
        progress.line(_summary(epoch, self.step, row, self.task.progress_metrics))
        epoch_message = self.task.epoch_message(row, self.best) if validated else None
        if epoch_message is not None:
            progress.line(epoch_message)
        self.whole_epoch.reset()
        if validated or self.step % settings.checkpoint_every == 0:
            improved = validated and self.task.has_best and self.last_validation["loss"] < self.best
            self.best = self.last_validation["loss"] if improved else self.best
            self.save(best=improved)
        progress.restart_clock()

    def _validate(self) -> dict[str, float]:
        """Metrics over the validation split, summed over the processes."""
        self.task.eval()
        totals: dict[str, Tensor] = {}
        size = self.config.training.batch_size
        with torch.inference_mode(), self._ema_weights(), autocast(self.config.training.precision, self.device):
            first = distributed.share(len(self.validation)).start
            for batch in evaluation_batches(self.validation, size):
                for name, value in self.task.validate(batch.to(self.device, self.task.spec), first).items():
                    totals[name] = totals.get(name, 0) + value.to(self.device)
                first += len(batch.images)
            extra = self.task.extra_metrics()
        # A process may have no image, and so no figure; every process sums the same ones.
        names = sorted({name for text in distributed.gather_texts(json.dumps(sorted(totals))) for name in json.loads(text)})
        none = torch.zeros((), dtype=torch.float64, device=self.device)
        stacked = torch.stack([totals.get(name, none).to(none, copy=True) for name in names])
        distributed.all_reduce(stacked)
        return {**self.task.validation_row(dict(zip(names, stacked.tolist(), strict=True))), **extra}

    def _log_images(self, recorder: Recorder, epoch: int) -> None:
        """Log the images that the task draws for the first validation images."""
        if not distributed.is_main():
            return
        self.task.eval()
        batch = self.validation.batch(torch.arange(min(16, len(self.validation)))).to(self.device, self.task.spec)
        with self._ema_weights(), autocast(self.config.training.precision, self.device):
            rows = self.task.log_images(batch)
        recorder.pictures(self.step, epoch, training_pictures(rows, self.task.spec))

    def _finish_run(self) -> None:
        """Let the task write its further results."""
        if not distributed.is_main():
            return
        self.task.eval()
        with self._ema_weights(), autocast(self.config.training.precision, self.device):
            self.task.finish(self.run)

    @contextmanager
    def _ema_weights(self) -> Iterator[None]:
        """Use the EMA of the weights, if the run has one."""
        self.model_ema.swap()
        try:
            yield
        finally:
            self.model_ema.swap()

    def _stop_if_diverged(self) -> None:
        """Raise `TrainingError` after too many skipped steps in a row."""
        skipped = int(self.optimizer_step.skipped_in_row)
        if skipped >= self.config.training.max_skipped_steps:
            raise TrainingError(
                f"The gradient was not finite in the last {skipped} steps (up to step {self.step}); they were skipped.",
                "The last checkpoint is good. Try a smaller --lr or --precision fp32.",
            )

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask the loop to stop after its step; a second one stops at once."""

        def request(number: int, frame: FrameType | None) -> None:
            if self._stop_requested:
                raise KeyboardInterrupt
            self._stop_requested = True

        try:
            previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever owns it handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop_if_requested(self) -> None:
        """Save and raise `Interrupted` if any process received a signal; all processes stop at the same step."""
        requested = torch.tensor(float(self._stop_requested), device=self.device)
        distributed.all_reduce(requested)
        if requested:
            if self._saved != self.step:
                self.save()
            again = f"vqkit {self.config.command} --resume {shlex.quote(str(self.run))}"
            message = f"Stopped at step {self.step}; everything is saved.\nResume with: {again}"
            raise Interrupted(message if distributed.is_main() else "")

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of this step, point `latest` (and `best`) to it, and remove those no longer needed."""
        generators = distributed.gather(torch.get_rng_state())
        if distributed.is_main():
            target = runs.checkpoint_directory(self.run, self.step)
            with directory_atomically(target) as directory:
                averaged = dict(self.model_ema.average)
                self.task.write(directory / runs.MODEL_FILE, self.config.data, averaged)
                header = {"kind": "training", "step": self.step, "best": self.best}
                write_tensors(directory / "training.safetensors", self._state_tensors(generators), header)
                write_progress(directory / STATE_FILE, Progress(step=self.step, best=self.best))
            name = str(target.relative_to(self.run))
            runs.write_pointer(self.run / "latest", name)
            if best:
                runs.write_pointer(self.run / "best", name)
            prune(self.run, self.config.training.keep_checkpoints)
        self._saved = self.step
        distributed.barrier()

    def _state_tensors(self, generators: list[Tensor]) -> dict[str, Tensor]:
        """The state that a resumed run needs in addition to the model, by name."""
        tensors = {f"rng.{rank}": state for rank, state in enumerate(generators)}
        tensors |= {f"task.{name}": value for name, value in self.task.state_dict().items() if not name.startswith("model.")}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        if self.model_ema.average:
            tensors |= {f"weights.{name}": value for name, value in self.task.model.named_parameters()}
        for prefix, means in (("recent", self.recent), ("epoch", self.whole_epoch)):
            tensors |= {f"{prefix}.{name}": value for name, value in means.state().items()}
        return {**tensors, "skipped": self.optimizer_step.skipped, "skipped_in_row": self.optimizer_step.skipped_in_row}

    def load(self, checkpoint: Path) -> None:
        """Restore a checkpoint of a run with this configuration.

        Raises `CheckpointError` when one of its files is broken, was changed, or does not fit the run.
        """
        model, _ = read_tensors(checkpoint / runs.MODEL_FILE, self.device)
        tensors, header = read_tensors(checkpoint / "training.safetensors", self.device)
        progress = read_progress(checkpoint / STATE_FILE, header)
        try:
            self._restore(model, tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1].strip().removesuffix(".")[:200]
            raise CheckpointError(
                f"The checkpoint {checkpoint} does not fit the run: {reason}.", "Remove that checkpoint and resume again."
            ) from None
        self.step, self.best = progress.step, progress.best
        self._saved = self.step

    def _restore(self, model: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint. Raises `KeyError`, `ValueError` or `RuntimeError` when they do not fit."""
        trained = {f"model.{name}": value for name, value in {**model, **_under(tensors, "weights")}.items()}
        self.task.load_state_dict({**trained, **_under(tensors, "task")})
        self.model_ema.load({name: model[name] for name in self.model_ema.average})
        load_optimizer(self.optimizer, _under(tensors, "optimizer"))
        self.recent.load(_under(tensors, "recent"))
        self.whole_epoch.load(_under(tensors, "epoch"))
        self.optimizer_step.skipped.copy_(tensors["skipped"])
        self.optimizer_step.skipped_in_row.copy_(tensors["skipped_in_row"])
        own = tensors.get(f"rng.{distributed.rank()}")
        if own is not None:
            torch.set_rng_state(own.cpu())


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _summary(epoch: int, step: int, row: dict[str, float], names: tuple[str, ...]) -> str:
    """One line about an epoch."""
    metrics = "  ".join(f"{name.removeprefix('train/')} {row[name]:.4g}" for name in names if name in row)
    return f"epoch {epoch}  step {step}  {metrics}"
