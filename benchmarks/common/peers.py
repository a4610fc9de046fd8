"""Packages that vqkit is compared with: optional, and named where they are missing."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def peer(module: str, package: str) -> Any:
    """A module of a package that may be absent or broken: then None, and a line on standard error that names the package."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # the last two: a build for another torch
        print(f"not compared with {package}: {error} (pip install {package})", file=sys.stderr)
        return None
