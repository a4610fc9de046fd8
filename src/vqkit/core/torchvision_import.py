"""The one place where torchvision is imported.

torchvision from the package index is built for CUDA, and beside a CPU-only build of torch its compiled operators do not load: its
import then fails with "operator torchvision::nms does not exist", although its data sets and transforms need no operator at all.
Declaring the schemas of the operators it asks for is enough to let it through. Nothing is declared where the operators are there.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from vqkit.errors import ConfigError

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")


def import_torchvision() -> ModuleType:
    """torchvision with its `datasets`. Raises `ConfigError` when it is not installed or does not fit the installed torch."""
    try:
        try:
            return _import()
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        _forget()
        _declare_missing_operators()
        return _import()
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"torchvision cannot be imported beside torch {torch.__version__}: {reason}.",
            "Install versions of torch and torchvision that belong together, or use a data set that needs no torchvision.",
        ) from error


def _import() -> ModuleType:
    importlib.import_module("torchvision.datasets")
    return sys.modules["torchvision"]


def _forget() -> None:
    """Drop the modules that a failed import left half initialised."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_missing_operators() -> None:
    """Declare the schemas, without any implementation, of the operators that no library has registered."""
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SCHEMA)
