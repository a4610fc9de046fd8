"""Named, pluggable parts: models, quantizers, priors, methods of pretraining and data sets.

A part registers itself with a decorator beside its class, and carries a pydantic class `Options` with its documented settings:

    @MODELS.register("vqvae", "VQ-VAE with component masking")
    class VQVAE(Tokenizer):
        class Options(Settings): ...

A third party adds one through an entry point in the group `vqkit.models` (or `.quantizers`, `.priors`, `.methods`, `.datasets`)
whose value is the module, or the class, that registers it. Nothing is imported before the first look-up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from vqkit.config import describe_validation_error
from vqkit.errors import ConfigError, RegistryError, did_you_mean


class Configurable(Protocol):
    """What a class must have to be a part."""

    Options: ClassVar[type[BaseModel]]


Part = TypeVar("Part", bound=Configurable)


class Entry(NamedTuple, Generic[Part]):
    """One registered part: its class and the line that describes it."""

    part: type[Part]
    summary: str


class Registry(Generic[Part]):
    """Names and the classes behind them.

    `kind` is the singular word used in messages; `modules` are the built-in modules, imported at the first look-up;
    third parties are found in the entry point group `group`.
    """

    def __init__(self, kind: str, modules: tuple[str, ...], group: str) -> None:
        self.kind = kind
        self.group = group
        self._modules = modules
        self._entries: dict[str, Entry[Part]] = {}
        self._loaded = False

    def register(self, name: str, summary: str) -> Callable[[type[Part]], type[Part]]:
        """Register the decorated class as `name`. Raises `RegistryError` if the name belongs to another class."""

        def add(part: type[Part]) -> type[Part]:
            present = self._entries.get(name)
            if present is not None and present.part is not part:
                raise RegistryError(
                    f"The {self.kind} '{name}' is registered twice: by {_where(present.part)} and by {_where(part)}.",
                    "Give one of them another name.",
                )
            self._entries[name] = Entry(part, summary)
            return part

        return add

    def entries(self) -> dict[str, Entry[Part]]:
        """Every registered part by name, sorted by name; third parties included."""
        self._load()
        return dict(sorted(self._entries.items()))

    def get(self, name: str) -> type[Part]:
        """The class behind `name`. Raises `RegistryError` naming the known ones if there is none."""
        self._load()
        if name not in self._entries:
            raise RegistryError(f"There is no {self.kind} named '{name}'.", did_you_mean(name, self._entries))
        return self._entries[name].part

    def options(self, name: str, settings: Mapping[str, Any]) -> BaseModel:
        """Check `settings` against the part's `Options` and fill in its defaults. Raises `ConfigError` for a wrong key or value."""
        schema = self.get(name).Options
        try:
            return schema.model_validate(dict(settings))
        except ValidationError as error:
            raise ConfigError(*describe_validation_error(error, schema, f"the {self.kind} '{name}'")) from None

    def build(self, name: str, settings: Mapping[str, Any], *context: Any, **keywords: Any) -> Part:
        """Check `settings` and build the part: `Class(options, *context, **keywords)`."""
        options = self.options(name, settings)
        construct: Callable[..., Part] = self.get(name)
        return construct(options, *context, **keywords)

    def _load(self) -> None:
        if self._loaded:
            return
        for module in self._modules:
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            try:
                point.load()
            except (ImportError, AttributeError) as error:
                raise RegistryError(
                    f"The {self.kind} plug-in '{point.name}' ({point.value}) cannot be imported: {error}.",
                    "Mend or uninstall the package that provides it.",
                ) from error
        self._loaded = True


def _where(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"


_MODEL_MODULES = ("vqvae", "vqvae2", "autoencoder", "vae", "auxiliary_vae", "adversarial_vae", "vae_gan", "treevi")

MODELS: Registry[Any] = Registry(
    "model",
    tuple(f"vqkit.models.{name}" for name in _MODEL_MODULES),
    "vqkit.models",
)
QUANTIZERS: Registry[Any] = Registry(
    "quantizer",
    tuple(f"vqkit.quantizers.{name}" for name in ("ema", "gradient", "fsq", "lfq", "simvq", "residual", "grouped")),
    "vqkit.quantizers",
)
PRIORS: Registry[Any] = Registry(
    "prior", ("vqkit.priors.pixelcnn", "vqkit.priors.transformer", "vqkit.priors.hierarchical"), "vqkit.priors"
)
METHODS: Registry[Any] = Registry(
    "method", tuple(f"vqkit.pretraining.{name}" for name in ("barlow_twins", "simclr", "byol")), "vqkit.methods"
)
DATASETS: Registry[Any] = Registry(
    "data set",
    tuple(f"vqkit.data.{name}" for name in ("tyre", "components", "images", "arrays", "joined", "torchvision_sets")),
    "vqkit.datasets",
)
