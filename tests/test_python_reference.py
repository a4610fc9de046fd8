"""The reference of the Python API has every name that users import."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
API = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def public_names() -> list[tuple[str, str]]:
    """Modules and their public names, as they are imported: what the packages export, every contract, every registry."""
    exported = [(module, name) for module in ("vqkit", "vqkit.training", "vqkit.evaluation") for name in _exports(module)]
    registry = importlib.import_module("vqkit.registry")
    registries = [("vqkit.registry", name) for name, value in vars(registry).items() if isinstance(value, registry.Registry)]
    return [*exported, *registries]


def _exports(module: str) -> list[str]:
    return [name for name in importlib.import_module(module).__all__ if name != "__version__"]


@pytest.mark.parametrize(("module", "name"), public_names())
def test_the_python_reference_has_every_public_name(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    assert any(found is value for found in map(_documented, API)) or value.__module__ in API


def test_the_python_reference_has_every_contract() -> None:
    contracts = {path.stem for path in (ROOT / "src" / "vqkit" / "interfaces").glob("*.py")} - {"__init__"}
    assert {f"vqkit.interfaces.{name}" for name in contracts} <= set(API)


def _documented(path: str) -> object:
    """The object that a line of the page names: a module, or something in one."""
    parent, _, name = path.rpartition(".")
    return getattr(importlib.import_module(parent), name, None) or importlib.import_module(path)
