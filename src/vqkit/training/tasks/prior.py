"""Training of priors over the codes of a frozen tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqkit.config import ConditioningConfig, NamedOptions
from vqkit.core.distributed import local_chunk, part_number, parts
from vqkit.core.randomness import batch_draws, generator_for, seed_global_generators
from vqkit.errors import CheckpointError
from vqkit.inference.conditioning import conditioning_for, observed_maps
from vqkit.interfaces import Batch, Conditioning, Prior, ShownImages, StepOutput, Tokenizer
from vqkit.interfaces.priors import Sampling
from vqkit.interfaces.tasks import Task, TrainingState
from vqkit.storage.checkpoints import Loaded, write_prior
from vqkit.training.tasks.masks import fixed_observed, random_observed

_OVERFITTING = 1.02
"""A run is reported to overfit when its validation loss exceeds the best one by this factor."""


class PriorTask(Task):
    """Predict each code from the earlier ones and from the conditioning.

    A sample gets the null condition with probability `conditioning.drop`; a single metadata value is hidden with probability
    `conditioning.hide_values`. A prior that completes images sees a new random part of each, chosen by `conditioning.kind` and
    `conditioning.keep`.

    The tokenizer is not a submodule: nothing trains it, moves it to training mode, or saves it.
    """

    model: Prior
    progress_metrics = ("train/loss", "val/nll", "val/bits_per_image", "val/unigram_nll")

    def __init__(
        self,
        prior: Prior,
        tokenizer: Loaded,
        conditioning: ConditioningConfig,
        unigram_nll: Mapping[str, float],
        seed: int,
        learned_before: Sequence[str] = (),
    ) -> None:
        """`unigram_nll`: nats per code of each level under the codes' frequencies; `learned_before`: levels that were trained in an
        earlier run.
        """
        super().__init__()
        if not isinstance(tokenizer.model, Tokenizer):
            raise CheckpointError(f"The model in {tokenizer.path} has no codes.", "Use a run of a VQ model, such as vqvae.")
        self.model = prior
        self.spec = tokenizer.model.spec
        self.loaded = tokenizer
        self.conditioning = conditioning
        self.unigram_nll = unigram_nll
        self.learned_levels = tuple(
            name for name in prior.spec.level_names if name in learned_before or name in prior.trained_levels
        )
        self.seed = seed
        self._warned = False

    def forward(self, batch: Batch, state: TrainingState) -> StepOutput:
        """See `Task.forward`."""
        images = batch.images
        count = len(images) * parts()
        generator = generator_for(self.seed, "conditions", state.step)
        hidden = local_chunk(torch.rand(count, batch.conditions.shape[1], generator=generator) < self.conditioning.hide_values)
        dropped = local_chunk(torch.rand(count, generator=generator) < self.conditioning.drop)
        observed = random_observed(batch, 1.0, self.conditioning, generator) if self.model.spec.observed_channels else None
        conditions = batch.conditions.masked_fill(hidden.to(images.device), torch.nan)
        conditioning = self._conditioning(batch._replace(conditions=conditions), observed)
        conditioning = conditioning._replace(dropped=dropped.to(images.device))
        # Dropout draws from the global generator, which is seeded for this step and restored, so that a resumed run draws the same.
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            seed_global_generators(self.seed, "dropout", state.step, part_number())
            with batch_draws(generator_for(self.seed, "orders", state.step)):
                losses = self.model.loss_function(*batch.codes, conditioning=conditioning)
        scalars = {"loss" if name == "total_loss" else f"nll_{name}": value.detach() for name, value in losses.items()}
        return StepOutput(losses["total_loss"], scalars, {})

    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """See `Task.validate`: conditioned on everything known, with the same visible part of an image every time."""
        observed = None
        if self.model.spec.observed_channels:
            observed = fixed_observed(batch, self.conditioning, self.seed, first)
        levels = self.model(batch.codes, self._conditioning(batch, observed))
        sums = {"count": torch.tensor(float(len(batch.labels)), dtype=torch.float64)}
        names = zip(self.model.spec.level_names, levels, strict=True)
        return {**sums, **{f"nll_{name}": level.double().sum() for name, level in names if name in self.learned_levels}}

    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """See `Task.validation_row`: nats per code and bits per image, with the entropies of simpler models for comparison.

        Over the levels trained so far; `loss` is over those trained in this run.
        """
        spec = self.model.spec
        levels = zip(spec.level_names, spec.shapes, spec.cardinalities, strict=True)
        known = [(name, height * width, size) for name, (height, width), size in levels if name in self.learned_levels]
        positions = {name: count for name, count, _ in known}
        nll = {name: sums[f"nll_{name}"] / sums["count"] / count for name, count in positions.items()}
        now = {name: positions[name] for name in self.model.trained_levels}
        row = {"loss": _mean(nll, now), "nll": _mean(nll, positions)}
        row["bits_per_image"] = row["nll"] * sum(positions.values()) / math.log(2)
        row["unigram_nll"] = _mean(self.unigram_nll, positions)
        row["uniform_nats"] = _mean({name: math.log(size) for name, _, size in known}, positions)
        if len(spec.level_names) > 1:
            row |= {f"nll_{name}": value for name, value in nll.items()}
            row |= {f"unigram_nll_{name}": self.unigram_nll[name] for name in nll}
        return row

    def epoch_message(self, row: Mapping[str, float], best: float) -> str | None:
        """Report once that the validation loss rises while the training loss is still falling."""
        held_out, training = row.get("val/loss", 0.0), row.get("train/loss", 0.0)
        if self._warned or held_out <= _OVERFITTING * best or training >= held_out:
            return None
        self._warned = True
        return (
            f"Note: the prior overfits: {held_out:.3f} nats per code on validation images, {best:.3f} at best, and {training:.3f} "
            "on training images. The best checkpoint is kept. More data, --set prior.dropout=0.2 or fewer epochs help."
        )

    @torch.no_grad()
    def log_images(self, batch: Batch) -> dict[str, ShownImages]:
        """See `Task.log_images`: reconstructions, unconditional samples and, of a conditional prior, conditional samples."""
        count = len(batch.labels)
        sampling = Sampling(seed=self.seed)
        rows = {"reconstruction": self._decode(batch.codes)}
        if self.learned_levels != self.model.spec.level_names:
            return rows  # the levels that are not trained yet would be noise
        rows["samples"] = self._decode(self.model.sample(count, sampling=sampling))
        if not self.model.spec.is_conditional:
            return rows
        observed = None
        if self.model.spec.observed_channels:
            observed = fixed_observed(batch, self.conditioning, self.seed, 0)
            rows["given"] = ShownImages(batch.images, observed)
        rows["conditional"] = self._decode(self.model.sample(count, self._conditioning(batch, observed), sampling))
        return rows

    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        """See `Task.write`. Raises `CheckpointError` if the tokenizer is not what it was."""
        write_prior(path, self.model, data, self.loaded, tensors, self.learned_levels)

    @property
    def tokenizer(self) -> Tokenizer:
        """The frozen tokenizer."""
        assert isinstance(self.loaded.model, Tokenizer)
        return self.loaded.model

    def _conditioning(self, batch: Batch, observed: Tensor | None) -> Conditioning:
        """The conditioning on a batch, with nothing dropped."""
        maps: tuple[Tensor, ...] = ()
        if observed is not None:
            maps = observed_maps(self.tokenizer, batch.images, observed.to(batch.images.device))
        return conditioning_for(self.model.spec, batch.conditions, batch.labels, maps)

    def _decode(self, codes: tuple[Tensor, ...]) -> ShownImages:
        """Images of codes, decoded without metadata, which would hide whether the prior has learned to follow them."""
        unknown = self.spec.unknown_conditions(len(codes[0]), codes[0].device)
        return ShownImages(self.tokenizer.decode(codes, unknown))


def _mean(values: Mapping[str, float], positions: Mapping[str, int]) -> float:
    """The mean over all positions of the levels in `positions`, of values by level."""
    return sum(values[name] * count for name, count in positions.items()) / sum(positions.values())
