"""Packages that only some of vqkit needs, which come with its extras."""

from __future__ import annotations

import importlib
from types import ModuleType

from vqkit.errors import DataError


def optional_package(name: str, extra: str, need: str) -> ModuleType:
    """An optional package, imported. Raises `DataError` that names the extra if it is not installed.

    `need`: the beginning of a sentence that says what needs it, such as `Models are published`.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"{need} with the package {name}, which is not installed.", f"pip install 'vqkit[{extra}]'") from None
