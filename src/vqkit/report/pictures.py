"""Pictures of a report: the same held-out images filled in by every model, and what the models draw by themselves.

Pictures are uint8 [N, 3, H, W] throughout; what is filled in is final, as `vqkit inpaint` gives it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from vqkit.evaluation.held_out import open_split
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.image_io.pictures import composite, grid
from vqkit.inference.model_sampler import ModelSampler
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.report.measuring import report_request
from vqkit.storage.checkpoints import Loaded

COUNT = 12
"""Images that every model fills in, and that it draws."""
_UNSEEN = 128
"""Grey of pixels of which nothing is shown."""
_JPEG_QUALITY = 90


@dataclass
class Gallery:
    """The same images with the same part missing, filled in by every model: `rows` of pictures by label.

    The first two rows are the images themselves and what the models were shown of them. `mask_kind`: as in the rows of results.
    """

    scenario: str
    mask_kind: str
    rows: dict[str, Tensor] = field(default_factory=dict)


class Pictures:
    """Collects the pictures of one model after the other; all must have been trained on the same data."""

    def __init__(self) -> None:
        self.galleries: list[Gallery] = []
        self.samples: dict[str, Tensor] = {}
        self._images: Tensor | None = None
        self._positions = torch.empty(0, dtype=torch.int64)
        self._scenarios: list[MaskScenario] = []

    def add(self, label: str, loaded: Loaded, device: torch.device) -> None:
        """Let a model, which is on the device, fill in the images and draw some. Raises `DataError` where they cannot be read."""
        spec = loaded.model.spec
        if self._images is None:
            self._begin(loaded)
        assert self._images is not None
        pipeline = Pipeline(loaded, device, "fp32")
        for gallery, scenario in zip(self.galleries, self._scenarios, strict=True):
            observed = scenario.observed(self._positions, self._images.shape)
            filled = fill_missing(pipeline.fill(self._images, observed), self._images, observed, spec)
            gallery.rows[label] = composite(filled, spec)
        if isinstance(loaded.model, GenerativeAutoencoder):
            drawn = ModelSampler(loaded.model, loaded).sample(COUNT)
            self.samples[label] = composite(drawn.images, spec)

    def _begin(self, loaded: Loaded) -> None:
        """Choose the images, and of each kind of hiding the first one."""
        spec = loaded.model.spec
        split = open_split(loaded, None, "test", COUNT)
        indices = torch.arange(len(split))
        self._images, self._positions = split.batch(indices).images, split.positions(indices)
        request = report_request(spec)
        kinds: dict[str, MaskScenario] = {}
        for scenario in mask_scenarios(spec, request.keep_sets, request.mask_kind)[1:]:
            kinds.setdefault(scenario.mask_kind or "components", scenario)
        self._scenarios = list(kinds.values())
        original = composite(self._images, spec)
        for kind, scenario in kinds.items():
            observed = scenario.observed(self._positions, self._images.shape)
            shown = composite(self._images * observed, spec)
            unseen = ~observed.any(dim=1, keepdim=True)
            given = torch.where(unseen, torch.full_like(shown, _UNSEEN), shown)
            self.galleries.append(Gallery(scenario.name, kind, {"original": original, "given": given}))


def data_uri(picture: Image.Image) -> str:
    """A picture inside of a page: the smaller of a PNG and of a JPEG, which halves and more what photographs weigh.

    Drawings are smaller as PNG, without loss; the JPEG keeps colours at full resolution, for what was filled in shows at edges.
    """
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, format="PNG", optimize=True)
    picture.save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    kind, content = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda each: len(each[1]))
    return embedded(kind, content)


def embedded(kind: str, content: bytes) -> str:
    """A picture's file of a kind (png, jpeg) as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def strips(rows: Mapping[str, Tensor]) -> dict[str, str]:
    """Each row of pictures as one wide picture inside of a page, by label."""
    return {label: data_uri(grid(pictures, columns=len(pictures))) for label, pictures in rows.items()}
