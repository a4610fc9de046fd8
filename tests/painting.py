"""A tokenizer whose answers can be worked out by hand, for tests of what surrounds a model."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.checkpoint import Loaded
from vqkit.config import NamedOptions, Settings
from vqkit.generate import Pipeline
from vqkit.interfaces import Codes, ConditionSpec, DataSpec, Quantizer, Reconstruction, Tokenizer

SHAPES = DataSpec(
    "sections",
    ("carcass", "belt", "tread"),
    8,
    12,
    "binary",
    exclusive=True,
    conditions=(ConditionSpec("width_px", 0, 100, 50, 10),),
)
"""Three shapes that exclude each other, 8 high and 12 wide."""
COLOUR = DataSpec("photos", ("r", "g", "b"), 8, 8, "intensity")
STAINS = DataSpec("cells", ("dna", "actin", "tubulin", "golgi"), 8, 8, "intensity")
DIGITS = DataSpec("digits", ("grey",), 8, 8, "intensity")


class Blocks(Tokenizer):
    """One code for each block of 4 x 4 pixels: 15.9 times the mean of what is observed there, cut to a whole number.

    Decoded, component c has the value (code + c) % 16 / 15 in the block, or width_px / 100 everywhere if that is known.
    """

    Options = Settings

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(Settings(), spec)
        self.seen_batches: list[int] = []

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        codes = self.encode(images, observed)
        return Reconstruction(self.decode(codes, conditions), {}, {}, codes)

    def mean(self, logits: Tensor) -> Tensor:
        return logits

    @property
    def level_names(self) -> tuple[str, ...]:
        return ("blocks",)

    @property
    def code_shapes(self) -> tuple[tuple[int, int], ...]:
        return ((self.spec.height // 4, self.spec.width // 4),)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return (16,)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        return ()

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        self.seen_batches.append(len(images))
        known = observed.to(torch.float32)
        total = F.avg_pool2d((images * known).sum(dim=1), 4)
        share = F.avg_pool2d(known.sum(dim=1), 4)
        return ((total / share.clamp_min(1e-6) * 15.9).long(),)

    def decode(self, codes: Codes, conditions: Tensor) -> Tensor:
        steps = torch.arange(len(self.spec.components))[:, None, None]
        values = ((codes[0][:, None] + steps) % 16) / 15
        images = values.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        if conditions.shape[1]:
            told = (conditions[:, 0] / 100)[:, None, None, None].expand(images.shape)
            images = torch.where(told.isnan(), images, told)
        return images


def pipeline(spec: DataSpec, digest: str = "d" * 64) -> Pipeline:
    """The blocks of this specification, as if they had been loaded from a run."""
    loaded = Loaded(Blocks(spec), Path("runs/blocks/model.safetensors"), digest, NamedOptions(name=spec.name), {})
    return Pipeline(loaded, torch.device("cpu"))


def sections(count: int, seed: int = 0) -> Tensor:
    """Images uint8 [count, 3, 8, 12] of `SHAPES`: every pixel belongs to one component or to none."""
    numbers = torch.randint(4, (count, 8, 12), generator=torch.Generator().manual_seed(seed))
    return torch.stack([numbers == 1, numbers == 2, numbers == 3], dim=1).to(torch.uint8) * 255
