"""Self-supervised pretraining of an encoder from two views of each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import NamedOptions, ViewsConfig
from vqkit.core.distributed import local_chunk, world_size
from vqkit.core.randomness import generator_for
from vqkit.data.loading import all_batches
from vqkit.data.masking import held_components
from vqkit.data.subsets import limit_split
from vqkit.interfaces import Batch, EncoderPart, OptimizerGroup, ShownImages, Split, StepOutput
from vqkit.interfaces.methods import PretrainingMethod, View
from vqkit.interfaces.tasks import Task, TrainingState
from vqkit.pretraining import probes
from vqkit.pretraining.embedding import draw_embedding, write_embedding
from vqkit.pretraining.method import encode_views
from vqkit.pretraining.views import ViewParameters, apply_view, sample_parameters
from vqkit.storage.checkpoints import write_encoder
from vqkit.training.tasks.masks import all_held

EMBEDDING = "embedding.png"
"""File of the embedding plot, in the run directory."""
_TRAINING_IMAGES, _HELD_OUT_IMAGES, _BATCH = 2000, 1000, 100
"""Number of training and held-out images for the probes at validation, and their batch size."""


class Features(NamedTuple):
    """Features float32 [N, F] of unmasked images, on the CPU, with conditions float32 [N, D] and labels int64 [N]."""

    features: Tensor
    conditions: Tensor
    labels: Tensor


class SelfSupervisedTask(Task):
    """Train an encoder with a method that makes the features of two views of an image agree.

    No loss decides which checkpoint is best. Features are evaluated by how well those of whole, unchanged images predict classes
    and conditions.
    """

    model: EncoderPart
    progress_metrics = ("train/loss", "val/agreement", "val/feature_std", "val/neighbour_accuracy", "val/linear_accuracy", "val/r2")
    has_best = False

    def __init__(
        self,
        model: EncoderPart,
        origin: NamedOptions,
        method: PretrainingMethod,
        views: ViewsConfig,
        splits: tuple[Split, Split],
        seed: int,
    ) -> None:
        """`origin`: name and options of the model that the encoder `model` belongs to; `splits`: training and validation images."""
        super().__init__()
        self.model = model
        self.method = method
        self.origin = origin
        self.views = views
        self.spec = splits[0].spec
        self.seed = seed
        self._splits = splits

    def forward(self, batch: Batch, state: TrainingState) -> StepOutput:
        """See `Task.forward`."""
        count, components, height, width = batch.images.shape
        shape = count * world_size(), components, height, width
        held = all_held(batch)
        drawn = (
            sample_parameters(shape, self.views, generator_for(self.seed, name, state.step), masked, held)
            for name, masked in (("first view", 0.0), ("second view", state.progress * self.views.masked))
        )
        first, second = (self._view(batch, ViewParameters(*map(local_chunk, each))) for each in drawn)
        output = self.method(self.model, first, second, state.progress)
        scalars = {"loss": output.loss, **output.monitors}
        return StepOutput(output.loss, {name: value.detach() for name, value in scalars.items()}, {})

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """See `Task.optimizer_groups`: the encoder, and the trainable networks of the method."""
        return [*super().optimizer_groups(), OptimizerGroup(self.method)]

    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """See `Task.validate`: cosine similarity of the features of two fixed views of each image."""
        one, other = (F.normalize(encode_views(self.model, each), dim=1) for each in self._fixed_views(batch, first))
        agreement = (one * other).sum(dim=1)
        return {"count": torch.tensor(float(len(agreement)), dtype=torch.float64), "agreement": agreement.double().sum()}

    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """See `Task.validation_row`: `agreement`, the mean cosine similarity."""
        return {"agreement": sums["agreement"] / sums["count"]}

    def extra_metrics(self) -> dict[str, float]:
        """See `Task.extra_metrics`: how well the features of held-out images predict; see `vqkit.pretraining.probes`.

        `feature_std`; with classes `neighbour_accuracy` and `linear_accuracy`; with conditions `r2_<name>` of each
        one and their mean `r2`.
        """
        train, held_out = (self._features(*each) for each in zip(self._splits, (_TRAINING_IMAGES, _HELD_OUT_IMAGES), strict=True))
        metrics = {"feature_std": probes.feature_std(held_out.features)}
        known, evaluated = train.labels >= 0, held_out.labels >= 0
        if known.any() and evaluated.any():
            given = train.features[known], train.labels[known], held_out.features[evaluated], held_out.labels[evaluated]
            metrics["neighbour_accuracy"] = probes.neighbour_accuracy(*given)
            metrics["linear_accuracy"] = probes.linear_accuracy(*given)
        found: list[float] = []
        for column, name in enumerate(self.spec.condition_names):
            values = train.conditions[:, column], held_out.conditions[:, column]
            explained = probes.r2_score(train.features, values[0], held_out.features, values[1])
            if explained is not None:
                found.append(explained)
                metrics[f"r2_{name}"] = explained
        return {**metrics, **({"r2": sum(found) / len(found)} if found else {})}

    @torch.no_grad()
    def log_images(self, batch: Batch) -> dict[str, ShownImages]:
        """See `Task.log_images`: the images and what is observed of two fixed views of each."""
        first, second = (ShownImages(each.images, each.observed) for each in self._fixed_views(batch, 0))
        return {"orig": ShownImages(batch.images, batch.present), "view_1": first, "view_2": second}

    @torch.no_grad()
    def finish(self, run: Path) -> None:
        """See `Task.finish`: writes the embedding plot of held-out images."""
        held_out = self._features(self._splits[1], _HELD_OUT_IMAGES)
        write_embedding(draw_embedding(*held_out, self.spec), run / EMBEDDING)

    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        """See `Task.write`."""
        write_encoder(path, self.model, self.origin, self.spec, data, tensors)

    def _view(self, batch: Batch, parameters: ViewParameters) -> View:
        return apply_view(batch.images, parameters, self.spec, batch.present)

    def _fixed_views(self, batch: Batch, first: int) -> tuple[View, View]:
        """Two views of each image that depend only on its position in the split; `first`: the position of the first image."""
        views = []
        count, components, height, width = batch.images.shape
        held = None if batch.present is None else held_components(batch.present.cpu(), (count, components, height, width))
        for name, masked in (("first fixed view", 0.0), ("second fixed view", self.views.masked)):
            drawn = [
                sample_parameters(
                    (1, components, height, width),
                    self.views,
                    generator_for(self.seed, name, first + number),
                    masked,
                    None if held is None else held[number : number + 1],
                )
                for number in range(count)
            ]
            views.append(self._view(batch, ViewParameters(*map(torch.cat, zip(*drawn, strict=True)))))
        return views[0], views[1]

    def _features(self, split: Split, limit: int) -> Features:
        """Features of `limit` images of a split; every process computes all of them."""
        device = next(self.model.parameters()).device
        found: list[Features] = []
        for batch in all_batches(limit_split(split, limit), _BATCH):
            images = batch.to(device, self.spec)
            features = encode_views(self.model, View(images.images, images.observed))
            found.append(Features(features.cpu(), batch.conditions, batch.labels))
        return Features(*map(torch.cat, zip(*found, strict=True)))
