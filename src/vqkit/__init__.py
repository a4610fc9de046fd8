"""vqkit: vector-quantised image models that fill in what is missing.

    import vqkit
    model = vqkit.load("runs/latest")
    filled = model.inpaint(image, keep=["group_nc"])

Importing the package is instant; torch is loaded by the first use of one of its names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PUBLIC = {
    "load": "vqkit.inference.pipeline",
    "load_sampler": "vqkit.inference.sampler",
    "Sampling": "vqkit.interfaces.priors",
    "mask_components": "vqkit.data.masking",
    "DataSpec": "vqkit.interfaces",
    "VQKitError": "vqkit.errors",
    "MODELS": "vqkit.registry",
    "QUANTIZERS": "vqkit.registry",
    "PRIORS": "vqkit.registry",
    "DATASETS": "vqkit.registry",
}
__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from vqkit.data.masking import mask_components as mask_components
    from vqkit.errors import VQKitError as VQKitError
    from vqkit.inference.pipeline import load as load
    from vqkit.inference.sampler import load_sampler as load_sampler
    from vqkit.interfaces import DataSpec as DataSpec
    from vqkit.interfaces.priors import Sampling as Sampling
    from vqkit.registry import DATASETS as DATASETS
    from vqkit.registry import MODELS as MODELS
    from vqkit.registry import PRIORS as PRIORS
    from vqkit.registry import QUANTIZERS as QUANTIZERS


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    from vqkit.renamed import MODULES

    if name in MODULES:  # an AttributeError would be replaced by one that does not give the new name: `from vqkit import name`
        raise ImportError(f"vqkit.{name} has moved. Use {MODULES[name]}.")
    raise AttributeError(f"module 'vqkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
