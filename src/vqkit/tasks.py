"""What is learned from a batch. A task returns a loss and what to record; the trainer steps and records.

Draws are made for the global batch on every process and then cut to its share, so that a run does not depend on the
number of processes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqkit import metrics
from vqkit.config import MaskingConfig
from vqkit.distributed import rank, world_size
from vqkit.interfaces import Autoencoder, Batch, DataSpec, StepOutput, Tokenizer
from vqkit.masking import keep_sets, mask_probability, sample_observed, sample_pixels
from vqkit.randomness import generator_for
from vqkit.settling import settle


class Moment(NamedTuple):
    """Where a run is: optimizer steps done, and epochs done as a fraction."""

    step: int
    epoch: float


class AutoencoderTask(nn.Module):
    """Reconstruct whole images from a part of them.

    The masked share of the samples grows with the epoch (see `MaskingConfig`); each sample's conditions are hidden with the
    probability `masking.hide_conditions`, so that the model works with and without them.
    """

    def __init__(self, model: Autoencoder, masking: MaskingConfig, seed: int) -> None:
        super().__init__()
        self.model = model
        self.masking = masking
        self.seed = seed

    def forward(self, batch: Batch, moment: Moment) -> StepOutput:
        """One training step's loss. `batch` is on the device, images float [B, C, H, W] in [0, 1]."""
        count, *size = batch.images.shape
        shape = (count * world_size(), size[0], size[1], size[2])
        generator = generator_for(self.seed, "masks", moment.step)
        probability = mask_probability(self.masking, moment.epoch)
        observed = _share(sample_observed(shape, probability, self.masking, generator)).to(batch.images.device)
        hidden = _share(torch.rand(shape[0], 1, generator=generator) < self.masking.hide_conditions).to(batch.images.device)
        conditions = batch.conditions.masked_fill(hidden, float("nan"))
        result = self.model(batch.images, observed, conditions, generator_for(self.seed, "model", moment.step, rank()))
        loss = torch.stack(list(result.losses.values())).sum()
        scalars = {"loss": loss, **result.losses, **result.monitors}
        scalars["mask_p"] = torch.full((), probability, device=batch.images.device)
        counts = code_counts(self.model, result.codes) if isinstance(self.model, Tokenizer) else {}
        return StepOutput(loss, {name: value.detach() for name, value in scalars.items()}, counts)

    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """Sums over a validation batch, float64 []: each image seen whole, and, where training masks, with a fixed part hidden.

        `first` is the position of the batch's first image in the split, so that its holes are always the same.
        Conditions are unknown, as they mostly are when something is to be filled in.
        """
        unknown = torch.full_like(batch.conditions, float("nan"))
        views = {"": torch.ones_like(batch.images, dtype=torch.bool)}
        if self.masking.max > 0:
            views["_masked"] = fixed_observed(batch.images, self.masking, self.seed, first)
        sums = {"count": torch.tensor(float(len(batch.images)), dtype=torch.float64)}
        for name, observed in views.items():
            result = self.model(batch.images, observed, unknown)
            mean = self.model.mean(result.logits)
            judged = ~observed if name else observed
            sums[f"recon{name}"] = result.losses["recon"].double() * len(batch.images)
            sums[f"mse{name}"] = metrics.mean_squared_error(mean, batch.images, judged).double().sum()
            if self.model.spec.value_kind == "binary":
                final = settle(mean, batch.images, ~judged, self.model.spec) / 255
                sums[f"iou{name}"] = metrics.mean_iou(final, batch.images, judged).double().sum()
        return sums

    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """Figures of a validation pass from its sums. `loss` is what the best checkpoint has least of."""
        row = {name: value / sums["count"] for name, value in sums.items() if name != "count"}
        for name in [name for name in row if name.startswith("mse")]:
            row[name.replace("mse", "psnr")] = -10 * math.log10(max(row[name], 1e-10))
        return {"loss": row["recon"] + row.get("recon_masked", 0.0), **row}

    @torch.no_grad()
    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of pictures, float [B, C, H, W]: the originals, their reconstructions, what is given and what is filled in."""
        unknown = torch.full_like(batch.conditions, float("nan"))
        whole = torch.ones_like(batch.images, dtype=torch.bool)
        part = fixed_observed(batch.images, self.masking, self.seed, 0)
        filled = torch.where(part, batch.images, self.model.reconstruct(batch.images, part, unknown))
        return {
            "orig": batch.images,
            "recon": self.model.reconstruct(batch.images, whole, unknown),
            "given": batch.images * part,
            "inpaint": filled,
        }


def code_counts(model: Tokenizer, codes: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """How often each code was chosen, int64 [K] for each level by name."""
    levels = zip(model.level_names, codes, model.cardinalities, strict=True)
    return {name: torch.bincount(indices.flatten(), minlength=size) for name, indices, size in levels}


def fixed_observed(images: Tensor, masking: MaskingConfig, seed: int, first: int) -> Tensor:
    """Part of each image is hidden, in the manner of training but always, and by its number alone: bool [B, C, H, W].

    `first` is the number of the first image; so the batches may be cut, and spread over processes, in any way.
    """
    _, components, height, width = images.shape
    drawn = []
    for number in range(first, first + len(images)):
        generator = generator_for(seed, "validation", number)
        if masking.kind == "components":
            drawn.append(keep_sets(1, components, masking.keep, generator)[:, :, None, None])
        else:
            drawn.append(sample_pixels((1, components, height, width), masking.kind, generator))
    return torch.cat(drawn).expand(images.shape).to(images.device)


def masking_for(masking: MaskingConfig, spec: DataSpec) -> MaskingConfig:
    """The masking with `kind: auto` settled: components where there are several, boxes where there is one."""
    if masking.kind != "auto":
        return masking
    return masking.model_copy(update={"kind": "components" if len(spec.components) > 1 else "boxes"})


def _share(drawn: Tensor) -> Tensor:
    """This process's contiguous part of what was drawn for the global batch."""
    return drawn.chunk(world_size())[rank()]
