"""A tokenizer and a prior whose answers can be worked out by hand, for tests of what surrounds a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vqkit.config import NamedOptions, Settings
from vqkit.image_io.pictures import composite, save_picture, to_pil
from vqkit.inference.conditioning import code_spec
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import (
    Batch,
    Codes,
    CodeSpec,
    ComponentSpec,
    Conditioning,
    ConditionSpec,
    Context,
    DataSpec,
    Quantized,
    Quantizer,
    Reconstruction,
    Split,
    Tokenizer,
)
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.storage.checkpoints import Loaded

SHAPES = DataSpec.uniform(
    "sections",
    ("carcass", "belt", "tread"),
    8,
    12,
    "binary",
    exclusive=True,
    conditions=(ConditionSpec("width_px", 0, 100, 50, 10),),
)
"""Three shapes that exclude each other, 8 high and 12 wide."""
COLOUR = DataSpec.uniform("photos", ("r", "g", "b"), 8, 8, "intensity")
STAINS = DataSpec.uniform("cells", ("dna", "actin", "tubulin", "golgi"), 8, 8, "intensity")
DIGITS = DataSpec.uniform("digits", ("grey",), 8, 8, "intensity")
FIELDS = DataSpec(
    "fields",
    (
        ComponentSpec("heat", dtype="uint16", low=1000, high=5000, minimum=0, maximum=9000, unit="K"),
        ComponentSpec("forest", "binary"),
        ComponentSpec("rain", dtype="uint16", low=0, high=800, maximum=1000, unit="mm"),
    ),
    16,
    12,
)
"""Two measurements of 16 bits and a shape between them."""


class Steps(Quantizer):
    """Sixteen numbers from 0 to 1: a feature [B, 1, h, w] becomes 15.9 times itself, cut to a whole number."""

    Options = Settings
    num_codes, dim, commitment_weight = 16, 1, 0.0

    def forward(self, features: Tensor) -> Quantized:
        indices = self.encode(features)
        return Quantized(self.decode(indices), indices, features.new_zeros(()), features.new_zeros(()))

    def encode(self, features: Tensor) -> Tensor:
        return (features[:, 0] * 15.9).long()

    def decode(self, indices: Tensor) -> Tensor:
        return indices[:, None] / 15


class Blocks(Tokenizer):
    """One code for each block of 4 x 4 pixels: 15.9 times the mean of what is observed there, cut to a whole number.

    Decoded, component c has the value (code + c) % 16 / 15 in the block, or width_px / 100 everywhere if that is known.
    """

    Options = Settings

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(Settings(), spec)
        self.steps = Steps()
        self.seen_batches: list[int] = []

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        codes = self.encode(images, observed)
        return Reconstruction(self.decode(codes, conditions), torch.zeros(()), codes=codes)

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
        return (self.steps,)

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        known = observed.to(torch.float32)
        total = F.avg_pool2d((images * known).sum(dim=1, keepdim=True), 4)
        share = F.avg_pool2d(known.sum(dim=1, keepdim=True), 4)
        return (total / share.clamp_min(1e-6),)

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        self.seen_batches.append(len(images))
        return (self.steps.encode(self.features(images, observed)[0]),)

    def decode(self, codes: Codes, conditions: Tensor, context: Context | None = None) -> Tensor:
        steps = torch.arange(len(self.spec.components))[:, None, None]
        values = ((codes[0][:, None] + steps) % 16) / 15
        images = values.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        if conditions.shape[1]:
            told = (conditions[:, 0] / 100)[:, None, None, None].expand(images.shape)
            images = torch.where(told.isnan(), images, told)
        return images


class Counting(AutoregressivePrior):
    """Codes that count up from what it is told, one by one and beginning anew after 15; without being told, any code is as likely.

    The first code is most probably 15 hundredths of width_px, or else the number of the class, or else 0. A prior that sees a part
    of an image does not count: each code is most probably that of the observed block. `sharpness`: a code that is d off is
    exp(-sharpness d^2) times as probable.
    """

    Options = Settings

    def __init__(self, spec: CodeSpec, sharpness: float = 1.0) -> None:
        super().__init__(Settings(), spec)
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.seen_batches: list[int] = []

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        self.seen_batches.append(len(codes[level]))
        (height, width), flat = self.spec.shapes[level], codes[level].flatten(1)
        steps = [self.next_logits(flat[:, at - 1] if at else None, at, conditioning) for at in range(height * width)]
        return torch.stack(steps, dim=-1).unflatten(-1, (height, width))

    def next_logits(self, previous: Tensor | None, position: int, conditioning: Conditioning) -> Tensor:
        """Logits [B, K] at a position."""
        if conditioning.observed:
            wanted = Steps().encode(conditioning.observed[0]).flatten(1)[:, position].float()
        elif previous is not None:
            wanted = ((previous + 1) % 16).float()
        else:
            told = conditioning.values[:, 0] if self.spec.conditions else torch.full((len(conditioning.labels),), torch.nan)
            wanted = torch.where(told.isnan(), conditioning.labels.clamp_min(0), (told * 0.15).round())
        apart = torch.arange(16) - wanted[:, None]
        return torch.where(conditioning.dropped[:, None], 0.0, -self.sharpness * apart**2)

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        self.seen_batches.append(len(conditioning.dropped))
        return CountingStepper(self, conditioning)


class CountingStepper(Stepper):
    def __init__(self, prior: Counting, conditioning: Conditioning) -> None:
        self.prior, self.conditioning, self.position = prior, conditioning, 0

    def step(self, previous: Tensor | None) -> Tensor:
        logits = self.prior.next_logits(previous, self.position, self.conditioning)
        self.position += 1
        return logits


def pipeline(spec: DataSpec, digest: str = "d" * 64, tile_overlap: int | None = None) -> Pipeline:
    """The blocks of this specification, as if they had been loaded from a run."""
    loaded = Loaded(Blocks(spec), Path("runs/blocks/model.safetensors"), digest, NamedOptions(name=spec.name), {})
    return Pipeline(loaded, torch.device("cpu"), tile_overlap=tile_overlap)


def load_blocks(run: str | None, device: torch.device) -> Loaded:
    """In place of `load_model`: the blocks of `SHAPES` for any run; the digest of a run is its name."""
    del device
    name = run or "newest"
    return Loaded(Blocks(SHAPES), Path("runs", name, "model.safetensors"), name * 8, NamedOptions(name="sections"), {})


def sections(count: int, seed: int = 0) -> Tensor:
    """Images uint8 [count, 3, 8, 12] of `SHAPES`: every pixel belongs to one component or to none."""
    numbers = torch.randint(4, (count, 8, 12), generator=torch.Generator().manual_seed(seed))
    return torch.stack([numbers == 1, numbers == 2, numbers == 3], dim=1).to(torch.uint8) * 255


def write_components(images: Tensor, directory: Path, spec: DataSpec = SHAPES, first: int = 0) -> Path:
    """Stored images [N, C, H, W] as files `{component}/s{number}_{component}.png` and composites; returns the directory."""
    for number, image in enumerate(images, start=first):
        for name, values in zip(spec.components, image, strict=True):
            save_picture(to_pil(values), directory / name / f"s{number}_{name}.png")
        save_picture(to_pil(composite(spec.to_unit(image[None]), spec)[0]), directory / "composite" / f"s{number}.png")
    return directory


def noise(*shape: int, low: float = 0, high: float = 256, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Random numbers from `low` to below `high`, in the given type: whole ones for integers."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * (high - low) + low
    return (values.floor() if np.dtype(dtype).kind in "iu" else values).numpy().astype(dtype)


def sampler(*kinds: str, sharpness: float = 0.05, spec: DataSpec = SHAPES) -> Sampler:
    """The counting prior over the blocks, told `kinds`, as if it had been loaded from a run."""
    model = pipeline(spec)
    return Sampler(Counting(code_spec(model.tokenizer, kinds), sharpness).eval(), model, Path("runs/prior/model.safetensors"))


def augmented(split: Split, images: Tensor, seed: int = 0) -> Tensor:
    """Images float [B, C, H, W] as a split varies them for training."""
    batch = Batch(images, torch.empty(len(images), 0), torch.full((len(images),), -1))
    return split.augment(batch, torch.Generator().manual_seed(seed)).images
