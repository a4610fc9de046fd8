"""Images of a report: the same held-out images completed by every model, and samples of generative models.

Completed images are final, as `vqkit inpaint` writes them. Where composites leave components out, sheets show all of the first
image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from vqkit.evaluation.autoencoder import Evaluation
from vqkit.evaluation.floors import FittedFloors, Known
from vqkit.evaluation.held_out import open_split
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.evaluation.verdicts import best_floor
from vqkit.image_io.data_uris import data_uri
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, composite_shows_all, grid
from vqkit.inference.model_sampler import ModelSampler
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import DataSpec, ShownImages
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.report.measuring import report_request
from vqkit.report.results import floor_label
from vqkit.storage.checkpoints import Loaded

COUNT = 12
"""Images that every model completes, and that it samples."""


@dataclass
class Gallery:
    """The same images with the same part missing, completed by every model: `rows` of images by label.

    The first rows are the original images, the observed input, and the best floor where there is one. `mask_kind`: as in the rows
    of results.
    """

    scenario: str
    mask_kind: str
    rows: dict[str, ShownImages]


class PictureCollector:
    """Collects the images of one model after the other; all must have been trained on the same data."""

    def __init__(self) -> None:
        self.galleries: list[Gallery] = []
        self.samples: dict[str, ShownImages] = {}
        self.spec: DataSpec | None = None
        self._images: Tensor | None = None
        self._positions = torch.empty(0, dtype=torch.int64)
        self._scenarios: list[MaskScenario] = []

    def add(self, label: str, loaded: Loaded, evaluation: Evaluation, device: torch.device) -> None:
        """Complete the images with a model on the device, and sample from it; the first time also with the best floors.

        Raises `DataError` for images that cannot be read.
        """
        spec = loaded.model.spec
        if self._images is None:
            self._begin(loaded)
            self._add_floors(loaded, evaluation, device)
        assert self._images is not None
        pipeline = Pipeline(loaded, device, "fp32")
        for gallery, scenario in zip(self.galleries, self._scenarios, strict=True):
            observed = scenario.observed(self._positions, self._images.shape) & self._present
            filled = fill_missing(pipeline.fill_unit(self._images, observed), self._images, observed, spec)
            gallery.rows[label] = ShownImages(filled)
        if isinstance(loaded.model, GenerativeAutoencoder):
            drawn = ModelSampler(loaded.model, loaded).sample(COUNT)
            self.samples[label] = ShownImages(spec.to_unit(drawn.images))

    def _begin(self, loaded: Loaded) -> None:
        """Choose the images, and the first scenario of each mask kind."""
        self.spec = spec = loaded.model.spec
        split = open_split(loaded, None, "test", COUNT)
        indices = torch.arange(len(split))
        batch = split.batch(indices).to(torch.device("cpu"), spec)
        self._images, self._present = batch.images, batch.observed
        self._positions = split.positions(indices)
        request = report_request(spec)
        kinds: dict[str, MaskScenario] = {}
        for scenario in mask_scenarios(spec, request.keep_sets, request.mask_kind)[1:]:
            kinds.setdefault(scenario.mask_kind or "components", scenario)
        self._scenarios = list(kinds.values())
        original = ShownImages(self._images, None if batch.present is None else self._present)
        for kind, scenario in kinds.items():
            observed = scenario.observed(self._positions, self._images.shape) & self._present
            given = ShownImages(self._images, observed)
            self.galleries.append(Gallery(scenario.name, kind, {"original": original, "input": given}))

    def _add_floors(self, loaded: Loaded, evaluation: Evaluation, device: torch.device) -> None:
        """Complete the images of each gallery with the best of its simple predictors, where these were measured."""
        found = [(part.name, best_floor(part)) for part in evaluation.parts]
        best = {name: floor.name for name, floor in found if floor is not None}
        shown = [
            (gallery, scenario) for gallery, scenario in zip(self.galleries, self._scenarios, strict=True) if scenario.name in best
        ]
        if not shown or self._images is None:
            return
        names = {best[scenario.name] for _, scenario in shown}
        floors = FittedFloors(open_split(loaded, None, "train"), loaded.model.spec, names, device)
        images, present = self._images.to(device), self._present.to(device)
        floors.prepare(images, present)
        for gallery, scenario in shown:
            observed = scenario.observed(self._positions, images.shape).to(device) & present
            known = Known(torch.where(observed, images, 0), observed, scenario.keep)
            expected = floors.complete(best[scenario.name], known)
            filled = fill_missing(expected, images, observed, loaded.model.spec).cpu()
            gallery.rows[floor_label(best[scenario.name])] = ShownImages(filled)

    def composites(self, rows: Mapping[str, ShownImages]) -> dict[str, Tensor]:
        """Rows of images as composites, uint8 [N, 3, H, W]."""
        assert self.spec is not None
        return {label: composite(images, self.spec, present) for label, (images, present) in rows.items()}

    def components(self, rows: Mapping[str, ShownImages]) -> Image.Image | None:
        """A sheet of all components of the first image of each row, by label; None where composites show everything."""
        if self.spec is None or not rows or composite_shows_all(self.spec):
            return None
        return overview(list(rows.items()), self.spec)


def strips(rows: Mapping[str, Tensor]) -> dict[str, str]:
    """Each row of images as the data URI of one wide image, by label."""
    return {label: data_uri(grid(pictures, columns=len(pictures))) for label, pictures in rows.items()}
