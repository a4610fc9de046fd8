"""Training of models that reconstruct whole images from parts of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.config import MaskingConfig, NamedOptions
from vqkit.core.distributed import local_chunk, parts
from vqkit.core.randomness import generator_for
from vqkit.data.masking import mask_probability
from vqkit.evaluation import metrics
from vqkit.evaluation.error_meter import measured_components
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import (
    Autoencoder,
    Batch,
    OptimizerGroup,
    Reconstruction,
    ShownImages,
    Split,
    StepOutput,
    Tokenizer,
    where_present,
)
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.interfaces.picture_losses import Added, PictureLoss, Pictures
from vqkit.interfaces.tasks import Task, TrainingState
from vqkit.layers.module_list import TypedModuleList
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_model, write_model
from vqkit.training.tasks.gains import branches_with_gains, fit_gains, sees_context
from vqkit.training.tasks.masks import fixed_observed, random_masks


class AutoencoderTask(Task):
    """Reconstruct whole images from parts of them.

    The probability that a sample is masked grows with the epoch (see `MaskingConfig`). The conditions of each sample are hidden
    with the probability `masking.hide_conditions`, so that the model works with and without them.

    `validation`: images on which the gains of a trained model are fitted (see `vqkit.training.tasks.gains`); None: they stay 1.
    `picture_losses` are added to the model's own losses. Discriminator losses are not part of the recorded `loss`.
    """

    model: Autoencoder
    progress_metrics = (
        "train/loss",
        "train/perceptual",
        "train/adversarial",
        "train/discriminator",
        "train/mask_p",
        "train/perplexity",
        "train/usage",
        "val/loss",
        "val/iou",
        "val/iou_masked",
        "val/psnr",
        "val/psnr_masked",
    )

    step_metrics = ("loss", "recon")

    def __init__(
        self,
        model: Autoencoder,
        masking: MaskingConfig,
        seed: int,
        picture_losses: Sequence[PictureLoss] = (),
        validation: Split | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.picture_losses = TypedModuleList(picture_losses)
        # Sharp images have larger pixel errors than blurred ones, so the validation loss would choose an early checkpoint.
        self.has_best = not picture_losses and not model.adversaries
        self.spec = model.spec
        # Without a context a sample of which only the decoder is shown a part would not be masked at all.
        self.masking = masking if sees_context(model) else masking.model_copy(update={"decoder_only": 0.0})
        self.seed = seed
        self._validation = validation

    def forward(self, batch: Batch, state: TrainingState) -> StepOutput:
        """See `Task.forward`."""
        count = len(batch.images) * parts()
        generator = generator_for(self.seed, "masks", state.step)
        probability = mask_probability(self.masking, state.epoch)
        observed, shown = random_masks(batch, probability, self.masking, generator)
        hidden = local_chunk(torch.rand(count, 1, generator=generator) < self.masking.hide_conditions).to(batch.images.device)
        conditions = batch.conditions.masked_fill(hidden, float("nan"))
        noise = generator_for(self.seed, "model", state.step)
        result = self.model(batch.images, observed, conditions, noise, batch.present, shown)
        added = self._added_losses(result, batch, state)
        losses = {**result.named_losses, **added.losses}
        loss = torch.stack(list(losses.values())).sum()
        adversarial = {**result.adversarial_losses, **added.adversarial_losses}
        scalars = {"loss": loss, **losses, **adversarial, **result.monitors, **added.monitors}
        scalars["mask_p"] = torch.full((), probability, device=batch.images.device)
        counts = code_counts(self.model, result.codes) if isinstance(self.model, Tokenizer) else {}
        # One backward pass trains all networks: gradients of `adversarial_losses` reach the discriminators only, those of `losses`
        # the other networks only.
        total = torch.stack([loss, *adversarial.values()]).sum()
        return StepOutput(total, {name: value.detach() for name, value in scalars.items()}, counts)

    def _added_losses(self, result: Reconstruction, batch: Batch, state: TrainingState) -> Added:
        """The losses that `picture_losses` add; each one gets the sum of those before it.

        Where an image is not present, its reconstruction stands in for it, in which no loss finds a difference.
        """
        total = Added({}, {}, {})
        if not self.picture_losses:
            return total
        distance = result.reconstruction_loss
        expected = self.model.mean(result.logits)
        target = where_present(batch.images, batch.present, expected.detach())
        for picture_loss in self.picture_losses:
            added = picture_loss(Pictures(expected, target, distance, state.epoch))
            distance = torch.stack([distance, *added.losses.values()]).sum()
            total = Added(*({**before, **new} for before, new in zip(total, added, strict=True)))
        return total

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """See `Task.optimizer_groups`: the model, its adversaries, and the networks of the picture losses."""
        adversaries = self.model.adversaries
        rest = OptimizerGroup(self.model, exclude=tuple(group.network for group in adversaries))
        return [rest, *adversaries, *(group for picture_loss in self.picture_losses for group in picture_loss.optimizer_groups())]

    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """Sums over a validation batch, float64 []: whole images and, if training masks, images with a fixed part masked.

        `first` is the position of the batch's first image in the split, on which the masks depend. Conditions are unknown, as they
        usually are in inpainting.
        """
        spec, present = self.model.spec, batch.observed
        unknown = spec.unknown_conditions(len(batch.images), batch.images.device)
        views = {"": present}
        if self.masking.max_probability > 0:
            views["_masked"] = fixed_observed(batch, self.masking, self.seed, first)
        # The loss of a batch is a mean over what is present, and so is that of the split.
        weight = present.double().mean() * len(present)
        sums = {"count": weight}
        for name, observed in views.items():
            shown = observed if name else None
            result = self.model(batch.images, observed, unknown, present=batch.present, shown=shown)
            mean = self.model.mean(result.logits)
            evaluated = present & ~observed if name else present
            sums[f"recon{name}"] = result.reconstruction_loss.double() * weight
            sums[f"loss{name}"] = self._held_out_loss(result, batch, observed, shown, first).double() * weight
            measured = evaluated & measured_components(spec).to(evaluated.device)[:, None, None]
            sums |= _sum_of_images(f"mse{name}", metrics.mean_squared_error(mean, batch.images, measured), measured)
            if spec.value_kind != "intensity":
                final = fill_missing(mean, batch.images, present & ~evaluated, spec)
                shapes = evaluated & spec.binary.to(evaluated.device)[:, None, None]
                sums |= _sum_of_images(f"iou{name}", metrics.mean_iou(final, batch.images, shapes), shapes)
        return sums

    def _held_out_loss(self, result: Reconstruction, batch: Batch, observed: Tensor, shown: Tensor | None, first: int) -> Tensor:
        """What decides which checkpoint is best, a scalar: how far reconstructions are from the images.

        For a model that is a distribution over images, all that it minimises: without what its latents cost, the checkpoint that
        overfits most would win. Its objective is a mean over draws, which here belong to the batch's place in the split.
        """
        if not isinstance(self.model, GenerativeAutoencoder):
            return result.reconstruction_loss
        unknown = self.model.spec.unknown_conditions(len(batch.images), batch.images.device)
        noise = generator_for(self.seed, "validation draws", first)
        return self.model(batch.images, observed, unknown, noise, batch.present, shown).total_loss

    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """See `Task.validation_row`. A figure that no image has, of a masked part where none was masked, is left out."""
        row = {}
        for name, value in sums.items():
            count = sums.get(f"count_{name}", sums["count"])
            if not name.startswith("count") and count:
                row[name] = value / count
        for name in [name for name in row if name.startswith("mse")]:
            row[name.replace("mse", "psnr")] = -10 * math.log10(max(row[name], 1e-10))
        return {"loss": row.pop("loss", 0.0) + row.pop("loss_masked", 0.0), **row}

    @torch.no_grad()
    def log_images(self, batch: Batch) -> dict[str, ShownImages]:
        """See `Task.log_images`: the originals, their reconstructions, the visible parts, and the inpainted images."""
        unknown = self.model.spec.unknown_conditions(len(batch.images), batch.images.device)
        whole = batch.observed
        part = fixed_observed(batch, self.masking, self.seed, 0)
        filled = torch.where(part, batch.images, self.model.complete(batch.images, part, unknown))
        return {
            "orig": ShownImages(batch.images, batch.present),
            "recon": ShownImages(self.model.reconstruct(batch.images, whole, unknown)),
            "given": ShownImages(batch.images, part),
            "inpaint": ShownImages(filled),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Gains of a run that was finished are 1 again when it goes on, as in a run that was not interrupted."""
        result = super().load_state_dict(state_dict, strict, assign)
        for branch in branches_with_gains(self.model):
            branch.gain.fill_(1)
        return result

    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        """See `Task.write`."""
        write_model(path, self.model, data, tensors)

    def finish(self, run: Path) -> None:
        """See `Task.finish`: fit the gains of the last model and of the best one."""
        if self._validation is None or self.masking.max_probability == 0 or not branches_with_gains(self.model):
            return
        for checkpoint in {runs.read_pointer(run / name) for name in ("latest", "best")} - {None}:
            path = run / str(checkpoint) / runs.MODEL_FILE
            device = next(self.model.parameters()).device
            loaded = load_model(path, device)
            fit_gains(loaded.model, self._validation, self.masking, self.seed, device)
            write_model(path, loaded.model, NamedOptions(**loaded.header["data"]))


def _sum_of_images(name: str, values: Tensor, judged: Tensor) -> dict[str, Tensor]:
    """The sum of a figure [B] over the images in which anything is judged (bool [B, C, H, W]), by name, and their number."""
    counted = judged.flatten(1).any(dim=1)
    return {name: values[counted].double().sum(), f"count_{name}": counted.double().sum()}


def code_counts(model: Tokenizer, codes: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """How often each code was chosen, int64 [K] for each level by name."""
    levels = zip(model.level_names, codes, model.cardinalities, strict=True)
    return {name: metrics.code_histogram(indices, size) for name, indices, size in levels}
