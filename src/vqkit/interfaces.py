"""The contracts between the rooms of vqkit. Read this first.

Shapes, everywhere: B images, C components (or colour channels), H x W pixels, D condition values or code dimensions,
K codes, h x w the grid of codes. `observed` is True where a pixel is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.sampling import DEFAULT_SAMPLING, Sampling

Codes = tuple[Tensor, ...]
"""Code indices, coarse level first, each int64 [B, h, w]; one entry for a VQ-VAE, two or more for a VQ-VAE-2."""


@dataclass(frozen=True)
class ConditionSpec:
    """One number that describes an image: its name and unit-bearing range in the training set, and how it is normalised."""

    name: str
    minimum: float
    maximum: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class DataSpec:
    """What every data set, model and checkpoint must agree on.

    `components` names the C channels; `value_kind` says whether pixels are shapes (binary, 0 or 255) or intensities (0 to 255);
    `exclusive` says that at most one component may be set in a pixel, so that a label map can show an image whole.
    """

    name: str
    components: tuple[str, ...]
    height: int
    width: int
    value_kind: Literal["binary", "intensity"]
    exclusive: bool = False
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def is_colour(self) -> bool:
        """Whether the channels are the red, green and blue of one picture."""
        return self.components == ("r", "g", "b")

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the D conditions, in order."""
        return tuple(condition.name for condition in self.conditions)

    def component_indices(self, names: tuple[str, ...] | list[str]) -> list[int]:
        """Positions of the named components. Raises `ConfigError` for a name that is not one of them."""
        for name in names:
            if name not in self.components:
                raise ConfigError(
                    f"There is no component '{name}' in the data set '{self.name}'.", did_you_mean(name, self.components)
                )
        return [self.components.index(name) for name in names]

    def condition_row(self, values: Mapping[str, float]) -> Tensor:
        """Named values as one row, float32 [D], NaN where none is given. Raises `ConfigError` for an unknown name."""
        for name in values:
            if name not in self.condition_names:
                raise ConfigError(
                    f"There is no condition '{name}' in the data set '{self.name}'.", did_you_mean(name, self.condition_names)
                )
        return torch.tensor([float(values.get(name, float("nan"))) for name in self.condition_names], dtype=torch.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_json`."""
        values = dict(content)
        values["components"] = tuple(values["components"])
        values["classes"] = tuple(values["classes"])
        values["conditions"] = tuple(ConditionSpec(**condition) for condition in values["conditions"])
        return cls(**values)


class Batch(NamedTuple):
    """A few images and what is known of them.

    `images` uint8 [B, C, H, W] as stored, or float [B, C, H, W] in [0, 1] once on the device;
    `conditions` float32 [B, D] in the data's own units, NaN where unknown; `labels` int64 [B], -1 where there is no class;
    `codes`: what a tokenizer made of the whole images, for the training of a prior; else empty.
    """

    images: Tensor
    conditions: Tensor
    labels: Tensor
    codes: Codes = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`, its images as float in [0, 1]."""
        images, conditions, labels, *codes = (tensor.to(device, non_blocking=True) for tensor in (*self[:3], *self.codes))
        if not images.is_floating_point():
            images = images.to(torch.float32).div_(255)
        return Batch(images, conditions, labels, tuple(codes))

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from where a copy to a GPU does not have to wait."""
        images, conditions, labels, *codes = (tensor.pin_memory() for tensor in (*self[:3], *self.codes))
        return Batch(images, conditions, labels, tuple(codes))


class Split(ABC):
    """One part (train, validation or test) of a data set."""

    in_memory: ClassVar[bool]
    """Whether `batch` is a mere look-up; otherwise worker processes call it."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8."""

    @abstractmethod
    def names(self, indices: Tensor) -> list[str]:
        """A name for each of the images at `indices`: the stem of its file, or its number."""

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A random variant of float images [B, C, H, W], for training. Leaves them as they are unless a data set says otherwise."""
        del generator
        return images


class ImageDataset(ABC):
    """A data set of the registry: its specification and its splits."""

    Options: ClassVar[type[BaseModel]]
    spec: DataSpec

    @abstractmethod
    def split(self, name: Literal["train", "val", "test"]) -> Split:
        """One split. A data set without validation images sets some of its training images aside for it.

        Raises `DataError` when that split has no images.
        """

    def measure(self, images: Tensor) -> Tensor | None:
        """The conditions as they show in images [B, C, H, W] (uint8, or float in [0, 1]), float32 [B, D]; None if they do not."""
        del images
        return None


class Quantized(NamedTuple):
    """What a quantizer makes of features.

    `features` [B, D, h, w]: the chosen codes, with a gradient path to the input; `indices` int64 [B, h, w], or
    [B, depth, h, w] from a quantizer with several codes a position; `codebook_loss` pulls codes to features, or is whatever else
    the quantizer adds to the training loss, weighted by itself (zero for codebooks that learn by running means or not at all);
    `commitment_loss` pulls features to codes, unweighted; both are float32 scalars.
    """

    features: Tensor
    indices: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


class Quantizer(nn.Module, ABC):
    """Replaces each feature vector by one of finitely many codes. Always float32, whatever the surrounding precision.

    `num_codes`: K, of each of the codes of a position; `dim`: D, the channels of the features; `commitment_weight`: the weight
    of the commitment loss in the training loss; `depth`: codes a position. Indices are int64 [B, h, w] where `depth` is 1, else
    [B, depth, h, w].
    """

    Options: ClassVar[type[BaseModel]]
    num_codes: int
    dim: int
    commitment_weight: float
    depth: int = 1

    @abstractmethod
    def forward(self, features: Tensor) -> Quantized:
        """Quantise features [B, D, h, w]. In training mode the codebook may learn from them, after they were quantised."""

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """Indices of features [B, D, h, w]; nothing learns."""

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Codes float32 [B, D, h, w] of indices. `decode(encode(z))` equals the forward value exactly."""

    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """Move codes that were never chosen onto much used ones, slightly apart; returns how many.

        `counts` int64 [K], or [depth, K] where `depth` is not 1: how often each code was chosen over a data set.
        Raises `ConfigError` where codes are fixed, as they are unless a subclass says otherwise.
        """
        raise ConfigError(
            f"The codes of the quantizer {type(self).__name__} are fixed and cannot be reset.",
            "Only learned codebooks, such as ema and gradient, have codes to reset.",
        )


class Reconstruction(NamedTuple):
    """What an autoencoder gives back for a batch.

    `logits` [B, C, H, W]: parameters of the likelihood of each pixel (see `Autoencoder.mean`);
    `losses`: named scalars to minimise, already weighted, whose sum is the training loss;
    `monitors`: named scalars only to be recorded; `codes`: what was chosen, empty for continuous models.
    """

    logits: Tensor
    losses: dict[str, Tensor]
    monitors: dict[str, Tensor]
    codes: Codes


class Autoencoder(nn.Module, ABC):
    """An image model that sees a part of an image and gives back the whole."""

    Options: ClassVar[type[BaseModel]]

    def __init__(self, options: BaseModel, spec: DataSpec) -> None:
        super().__init__()
        self.options = options
        self.spec = spec

    @abstractmethod
    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Reconstruct whole images from their observed part, and measure the loss against the whole.

        `images` float [B, C, H, W] in [0, 1]; `observed` bool [B, C, H, W], True where the model may look;
        `conditions` float [B, D], NaN where unknown; `generator` draws whatever is random in training (on the CPU).
        """

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """The expected image, float32 [B, C, H, W] in [0, 1], under the likelihood with these logits."""

    @property
    def last_weight(self) -> nn.Parameter:
        """The weight of the last layer before the logits, by whose gradients an adversarial loss is balanced.

        Raises `ConfigError` where a subclass does not name one.
        """
        raise ConfigError(
            f"The model {type(self).__name__} does not name its last weight, by which an adversarial loss is balanced.",
            "Use --set loss.adaptive=false, or give the model the property last_weight (see Autoencoder).",
        )

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """The expected whole images float32 [B, C, H, W] in [0, 1], in one pass."""
        return self.mean(self(images, observed, conditions).logits)


class Tokenizer(Autoencoder):
    """An autoencoder with a discrete bottleneck. A prior sees only its code shapes and cardinalities."""

    @property
    @abstractmethod
    def level_names(self) -> tuple[str, ...]:
        """A name for each level of codes, coarse first."""

    @property
    @abstractmethod
    def code_shapes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of each level for images of the specification's size."""

    @property
    @abstractmethod
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes K of each level."""

    @property
    @abstractmethod
    def quantizers(self) -> tuple[Quantizer, ...]:
        """The quantizer of each level; one of several codes a position stands there for each of its levels."""

    @abstractmethod
    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """What each level's quantizer is given, [B, D, h, w], for the observed part of float images [B, C, H, W]."""

    @abstractmethod
    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        """Codes of the observed part of float images [B, C, H, W]."""

    @abstractmethod
    def decode(self, codes: Codes, conditions: Tensor) -> Tensor:
        """Expected images float32 [B, C, H, W] in [0, 1] of codes."""

    def reset_unused_codes(self, counts: tuple[Tensor, ...], generator: torch.Generator) -> int:
        """Move codes that were never chosen onto much used ones, slightly apart; returns how many.

        `counts` int64 [K] of each level: how often each code was chosen over a data set.
        Raises `ConfigError` for a quantizer whose codes are fixed.
        """
        moved, level = 0, 0
        while level < len(counts):
            quantizer = self.quantizers[level]
            own = counts[level : level + quantizer.depth]
            moved += quantizer.reset_unused_codes(own[0] if quantizer.depth == 1 else torch.stack(own), generator)
            level += quantizer.depth
        return moved


@dataclass(frozen=True)
class CodeSpec:
    """What a prior models and what it may be told, level by level, coarse first.

    `shapes` (h, w) and `cardinalities` K of each level. `conditions` and `classes`: the metadata and the classes that it is told,
    empty if it is not; `observed_channels`: M of the feature map of a partly seen image for each level, empty if it gets none.
    """

    level_names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    cardinalities: tuple[int, ...]
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()
    observed_channels: tuple[int, ...] = ()

    @property
    def is_conditional(self) -> bool:
        """Whether the prior is told anything."""
        return bool(self.conditions or self.classes or self.observed_channels)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CodeSpec:
        """The inverse of `to_json`."""
        values = {name: tuple(value) for name, value in content.items()}
        values["shapes"] = tuple((height, width) for height, width in values["shapes"])
        values["conditions"] = tuple(ConditionSpec(**condition) for condition in values["conditions"])
        return cls(**values)


class Conditioning(NamedTuple):
    """What a prior is told about each of B images.

    `values` float32 [B, D] in the data's own units, NaN where unknown (D = 0 without metadata); `labels` int64 [B], -1 where
    unknown; `observed`: for each level a feature map float32 [B, M, h, w] of what is seen of the image (empty without);
    `dropped` bool [B]: where True the prior gets its learned null condition in place of all of these.
    """

    values: Tensor
    labels: Tensor
    observed: tuple[Tensor, ...]
    dropped: Tensor

    @classmethod
    def nothing(cls, count: int, spec: CodeSpec, device: torch.device | None = None) -> Conditioning:
        """The null condition for `count` images."""
        maps = zip(spec.observed_channels, spec.shapes, strict=False)
        return cls(
            torch.full((count, len(spec.conditions)), torch.nan, device=device),
            torch.full((count,), -1, device=device),
            tuple(torch.zeros(count, channels, *shape, device=device) for channels, shape in maps),
            torch.ones(count, dtype=torch.bool, device=device),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """The function of every tensor: a slice of the batch, a move to a device, repeats."""
        return Conditioning(
            function(self.values), function(self.labels), tuple(map(function, self.observed)), function(self.dropped)
        )


class Prior(nn.Module, ABC):
    """A distribution over a tokenizer's codes. It sees grids, cardinalities and conditions, never pixels."""

    Options: ClassVar[type[BaseModel]]

    def __init__(self, options: BaseModel, spec: CodeSpec) -> None:
        super().__init__()
        self.options = options
        self.spec = spec

    @abstractmethod
    def nats(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """Negative log-likelihood of each code in nats, float32 [B, h, w] for each level; with a gradient in training."""

    @abstractmethod
    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Callable[[float], None] | None = None,
    ) -> Codes:
        """Draw codes int64 [B, h, w] of each level, on the prior's device.

        `conditioning` None: the null condition; `first`: number of the first sample, so that a sample is a function of the seed and
        its number, however the samples are cut into batches; `advance` is called with shares of the work done, summing to 1.
        """

    def forward(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """`nats`, as what is compiled and what hooks see."""
        return self.nats(codes, conditioning)

    def loss_function(self, *codes: Tensor, conditioning: Conditioning | None = None) -> dict[str, Tensor]:
        """`total_loss`, the mean negative log-likelihood of a code in nats, and the same for each level by its name."""
        given = conditioning or Conditioning.nothing(len(codes[0]), self.spec, codes[0].device)
        levels = self(codes, given)
        losses = {name: level.mean() for name, level in zip(self.spec.level_names, levels, strict=True)}
        return {"total_loss": torch.cat([level.flatten() for level in levels]).mean(), **losses}


class StepOutput(NamedTuple):
    """What a task returns for one batch.

    `loss`: the scalar to minimise; `scalars`: named detached scalars to average over the epoch;
    `counts`: named int64 [K] histograms of chosen codes to sum over the epoch.
    """

    loss: Tensor
    scalars: dict[str, Tensor]
    counts: dict[str, Tensor]


def check_images(images: Tensor, spec: DataSpec) -> None:
    """Raise `DataError` unless the images [B, C, H, W] have the specification's channels and size."""
    expected = (len(spec.components), spec.height, spec.width)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        given = " x ".join(str(size) for size in images.shape[1:])
        raise DataError(
            f"The image is {given} (components x height x width); the model was trained on {' x '.join(map(str, expected))}.",
            f"Its components are {', '.join(spec.components)}.",
        )
