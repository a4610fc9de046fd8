"""Named, pluggable parts: models, quantizers, priors, pretraining methods and data sets.

A part registers itself with a decorator on its class, which has a pydantic class `Options` with its documented settings:

    @MODELS.register("my-model", "One line that describes it")
    class MyModel(Tokenizer):
        class Options(Settings): ...

The parts of vqkit stand in the tables at the end of this module, with the line that describes each. A third party adds a part with
an entry point in the group `vqkit.models` (or `.quantizers`, `.priors`, `.methods`, `.datasets`): its name is the part's name, its
value the module, or the class, that registers it. A module is imported when one of its parts is used, and not before.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from vqkit.errors import ConfigError, RegistryError, VQKitError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel


class Configurable(Protocol):
    """What a class must have to be a part."""

    Options: ClassVar[type[BaseModel]]


Part = TypeVar("Part", bound=Configurable)


@dataclass(frozen=True)
class Entry(Generic[Part]):  # Python 3.10 has no generic NamedTuple
    """One registered part: its class and the line that describes it."""

    part: type[Part]
    summary: str


class BuiltIn(NamedTuple):
    """A part of vqkit that need not be imported yet: the module that registers it, and the line that describes it."""

    module: str
    summary: str


class Registry(Generic[Part]):
    """Names and the classes behind them.

    `kind` is the singular word used in messages; `built_in` are vqkit's own parts by name; third parties are found in the entry
    point group `group`.
    """

    def __init__(self, kind: str, built_in: Mapping[str, BuiltIn], group: str) -> None:
        self.kind = kind
        self.group = group
        self.built_in = dict(built_in)
        self._entries: dict[str, Entry[Part]] = {}
        self._found: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str, summary: str | None = None) -> Callable[[type[Part]], type[Part]]:
        """Register the decorated class as `name`. `summary`: a line that describes it; those of vqkit's parts stand in the tables.

        Raises `RegistryError` if the name belongs to another class, or if the class lacks `Options` or an abstract method.
        """

        def add(part: type[Part]) -> type[Part]:
            owner = self._owner(name)
            if owner is not None and owner not in (_where(part), part.__module__):
                raise RegistryError(
                    f"The {self.kind} '{name}' is registered twice: by {owner} and by {_where(part)}.",
                    "Give one of them another name.",
                )
            self._check_complete(name, part)
            line = summary or (self.built_in[name].summary if name in self.built_in else None)
            if not line:
                raise RegistryError(
                    f"The {self.kind} '{name}' ({_where(part)}) has no summary.", "Register it with one line of text."
                )
            self._entries[name] = Entry(part, line)
            return part

        return add

    def names(self) -> list[str]:
        """The name of every part, sorted. Nothing is imported: a third party's part may turn out to be broken."""
        return sorted({*self.built_in, *self._entries, *self._points()})

    def summaries(self) -> dict[str, str]:
        """The line that describes each part, by name, sorted. Only third parties are imported; see `entries` for broken ones."""
        self._load_third_parties()
        known = {name: part.summary for name, part in self.built_in.items()}
        return dict(sorted({**known, **{name: entry.summary for name, entry in self._entries.items()}}.items()))

    def entries(self) -> dict[str, Entry[Part]]:
        """Every part by name, sorted, all of them imported. A third party's that cannot be imported is left out, with a warning."""
        for part in self.built_in.values():
            importlib.import_module(part.module)
        self._load_third_parties()
        return dict(sorted(self._entries.items()))

    def get(self, name: str) -> type[Part]:
        """The class behind `name`.

        Raises `RegistryError` naming the known ones if there is none, and if the third party that provides it cannot be imported.
        """
        if name not in self._entries:
            if name in self.built_in:
                importlib.import_module(self.built_in[name].module)
            else:
                for point in self._points().get(name, ()):
                    self._load(point)
        if name not in self._entries:
            raise RegistryError(f"There is no {self.kind} named '{name}'.", did_you_mean(name, self.names()))
        return self._entries[name].part

    def name_of(self, part: object) -> str:
        """The name under which the class of `part` is registered. Raises `RegistryError` if it is not."""
        for name, entry in self._entries.items():
            if entry.part is type(part):
                return name
        raise RegistryError(f"{_where(type(part))} is not registered as a {self.kind}.", "Register its class with a decorator.")

    def options(self, name: str, settings: Mapping[str, Any]) -> BaseModel:
        """Check `settings` against the part's `Options` and fill in its defaults. Raises `ConfigError` for a wrong key or value."""
        from pydantic import ValidationError  # here and below: listing the parts needs no pydantic, which takes a while to import

        from vqkit.config import describe_validation_error

        schema = self.get(name).Options
        try:
            return schema.model_validate(dict(settings))
        except ValidationError as error:
            subject = f"the {self.kind} '{name}'"
            raise ConfigError(*describe_validation_error(error, schema, subject, self.kind, name)) from None

    def build(self, name: str, settings: Mapping[str, Any], *context: Any, **keywords: Any) -> Part:
        """Check `settings` and build the part: `Class(options, *context, **keywords)`."""
        options = self.options(name, settings)
        construct: Callable[..., Part] = self.get(name)
        return construct(options, *context, **keywords)

    def _owner(self, name: str) -> str | None:
        """Who has the name: a registered class, or the module of a part of vqkit that is not imported yet."""
        if name in self._entries:
            return _where(self._entries[name].part)
        return self.built_in[name].module if name in self.built_in else None

    def _check_complete(self, name: str, part: type[Part]) -> None:
        """Raise `RegistryError` naming what the class lacks, long before a run fails for want of it."""
        from pydantic import BaseModel

        options = getattr(part, "Options", None)
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise RegistryError(
                f"The {self.kind} '{name}' ({_where(part)}) has no pydantic class `Options`.",
                "Define `class Options(vqkit.config.Settings)` in it, empty if there is nothing to set.",
            )
        missing = sorted(getattr(part, "__abstractmethods__", ()))
        if missing:
            raise RegistryError(
                f"The {self.kind} '{name}' ({_where(part)}) does not implement {', '.join(missing)}.",
                "Define what is missing; the docstring of the abstract method says what it must do.",
            )

    def _points(self) -> dict[str, list[EntryPoint]]:
        """The entry points of third parties by name; those of installed packages do not change while a process runs."""
        if self._found is None:
            self._found = {}
            for point in entry_points(group=self.group):
                self._found.setdefault(point.name, []).append(point)
        return self._found

    def _load_third_parties(self) -> None:
        """Import every part of third parties; of one that cannot be imported, warn."""
        for points in self._points().values():
            for point in points:
                try:
                    self._load(point)
                except RegistryError as error:
                    warnings.warn(f"{error.message} It is left out.", stacklevel=3)

    def _load(self, point: EntryPoint) -> None:
        """Import the part behind an entry point. Raises `RegistryError`, whatever is wrong with the module."""
        plug_in = f"The {self.kind} plug-in '{point.name}' ({point.value})"
        try:
            point.load()
        except VQKitError as error:
            raise RegistryError(f"{plug_in} cannot be used. {error.message}", error.hint) from error
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise RegistryError(
                f"{plug_in} cannot be imported: {type(error).__name__}: {reason}.",
                "Repair or uninstall the package that provides it.",
            ) from error
        if point.name not in self._entries:
            raise RegistryError(
                f"{plug_in} registers no {self.kind} named '{point.name}'.", "The entry point must have the name of the part."
            )


def _where(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _table(package: str, **modules: Mapping[str, str]) -> dict[str, BuiltIn]:
    """The parts of a package, from the summary of each by its name, by the module that registers it."""
    return {
        name: BuiltIn(f"vqkit.{package}.{module}", summary) for module, parts in modules.items() for name, summary in parts.items()
    }


MODELS: Registry[Any] = Registry(
    "model",
    _table(
        "models",
        vqvae={"vqvae": "VQ-VAE with component masking: one level of codes, reconstructs whole images from parts in one pass"},
        vqvae2={"vqvae2": "VQ-VAE-2 with component masking: several levels of codes, layout above and detail below"},
        unet={"unet": "Plain U-Net without codes: how well a network of this size fills in, the ceiling of comparisons"},
        autoencoder={"autoencoder": "Masked autoencoder without codes and without noise: the baseline of comparisons"},
        vae={
            "vae": "Variational autoencoder: Gaussian latents, trained with the ELBO",
            "beta-vae": "VAE whose KL term has the weight beta",
        },
        auxiliary_vae={"auxiliary-vae": "VAE with auxiliary latents, whose posterior is a mixture of Gaussians"},
        adversarial_vae={"adversarial-vae": "VAE with a second decoder, a generator trained against a discriminator"},
        vae_gan={"vae-gan": "VAE whose decoder is also trained against a discriminator"},
        treevi={"treevi": "VAE whose latents are correlated along a tree over the images of a batch"},
    ),
    "vqkit.models",
)
QUANTIZERS: Registry[Any] = Registry(
    "quantizer",
    _table(
        "quantizers",
        ema={"ema": "Codebook updated by exponential moving averages (EMA) of its features; dead codes are reset"},
        gradient={"gradient": "Codebook trained by the optimizer; dead codes are reset"},
        fsq={"fsq": "Finite scalar quantization: each of a few channels is rounded to one of its levels; no codebook"},
        lfq={"lfq": "Lookup-free quantization: the signs of log2 K channels, with an entropy loss for even use; no codebook"},
        simvq={"simvq": "Codebook of fixed random vectors behind a learned linear map, for many codes"},
        residual={"residual": "Several codes per position that add up: each quantizes the residual of those before it"},
        grouped={"grouped": "Channels split into groups, each with its own quantizer"},
    ),
    "vqkit.quantizers",
)
PRIORS: Registry[Any] = Registry(
    "prior",
    _table(
        "priors",
        pixelcnn={"pixelcnn": "Gated PixelCNN: convolutions over earlier codes, exact cached sampling"},
        transformer={"transformer": "Decoder-only transformer over codes, sampled with a key-value cache"},
        hierarchical={"hierarchical": "A gated PixelCNN per level of codes, conditioned on all coarser levels"},
        masked={"masked": "Codes in any order, many in a step, each given all that are known; one or several levels"},
    ),
    "vqkit.priors",
)
METHODS: Registry[Any] = Registry(
    "method",
    _table(
        "pretraining",
        barlow_twins={"barlow-twins": "Embeddings of two views agree in every dimension, and the dimensions are decorrelated"},
        simclr={"simclr": "Contrastive: the other view of an image is identified among the views of all images of a batch"},
        byol={"byol": "The embedding of one view predicts that of the other by an EMA of the network; no negative pairs"},
    ),
    "vqkit.methods",
)
DATASETS: Registry[Any] = Registry(
    "data set",
    _table(
        "data",
        tyre={"tyre": "Procedural tyre sections, five binary components, 64 x 32 (built in)"},
        components={"components": "A folder of aligned greyscale pictures for each component, with a table of conditions"},
        images={"images": "Any folder of pictures, with or without class folders"},
        arrays={"arrays": "Images in a .npy, .npz or .safetensors file"},
        joined={"joined": "Several folders of pictures or files of arrays as one data set; typed as a,b"},
        torchvision_sets={
            "cifar10": "CIFAR-10: 60,000 photographs of 10 classes, 32 x 32 (torchvision)",
            "cifar100": "CIFAR-100: 60,000 photographs of 100 classes, 32 x 32 (torchvision)",
            "mnist": "MNIST: 70,000 handwritten digits, 28 x 28 (torchvision)",
            "fashion-mnist": "Fashion-MNIST: 70,000 articles of clothing, 28 x 28 (torchvision)",
            "celeba": "CelebA: 202,599 faces (torchvision)",
        },
    ),
    "vqkit.datasets",
)
