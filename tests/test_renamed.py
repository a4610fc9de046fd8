"""Old names of settings and modules are answered with the new ones, and mean nothing else."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest
from pydantic import BaseModel

import vqkit
from vqkit.config import SCHEMAS, load_config
from vqkit.errors import ConfigError
from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS
from vqkit.renamed import KEYS, MODULES

REGISTRIES = {registry.kind: registry for registry in (MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS)}


def settings_of(schema: type[BaseModel], prefix: str) -> set[str]:
    """The dotted names of a group's settings, and of those in its groups."""
    found = set()
    for name, field in schema.model_fields.items():
        found.add(f"{prefix}{name}")
        if isinstance(field.annotation, type(BaseModel)):  # not `type`: in Python 3.10 tuple[int, ...] is one
            found |= settings_of(field.annotation, f"{prefix}{name}.")
    return found


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Every setting that there is."""
    every = [settings_of(schema, "") for schema in SCHEMAS.values()]
    for kind, registry in REGISTRIES.items():
        every += [settings_of(entry.part.Options, f"{kind}.") for entry in registry.entries().values()]
    return set().union(*every)


@pytest.mark.parametrize("old", KEYS)
def test_a_renamed_setting_is_gone_and_its_new_name_exists(old: str, known: set[str]) -> None:
    assert old not in known
    assert KEYS[old] in known


@pytest.mark.parametrize(
    ("kind", "typed", "old", "new"),
    [
        ("model", "masking.max=0.5", "masking.max", "masking.max_probability"),
        ("prior", "condition.told=[class]", "condition.told", "conditioning.condition_on"),
        ("prior", "condition.drop=0.2", "condition.drop", "conditioning.drop"),
        ("prior", "condition.other=0.2", "condition", "conditioning"),
        ("encoder", "training.max_bad_steps=3", "training.max_bad_steps", "training.max_skipped_steps"),
    ],
)
def test_a_renamed_setting_is_refused_with_its_new_name(kind: str, typed: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, [typed], SCHEMAS[kind])
    assert caught.value.message == f"The configuration has no setting '{old}'."
    assert caught.value.hint == f"Its name is '{new}' now."


def test_a_renamed_setting_of_a_part_is_refused_with_its_new_name() -> None:
    with pytest.raises(ConfigError, match=r"quantizer 'residual' has no setting 'depth'\. Its name is 'num_quantizers' now\."):
        QUANTIZERS.options("residual", {"depth": 2})


@pytest.mark.parametrize("old", MODULES)
def test_a_module_that_moved_is_answered_with_its_new_place(old: str) -> None:
    assert importlib.util.find_spec(f"vqkit.{old}") is None
    assert importlib.import_module(MODULES[old]).__doc__
    namespace: dict[str, Any] = {}
    with pytest.raises(ImportError, match=rf"^vqkit\.{old} has moved\. Use {MODULES[old]}\.$"):
        exec(f"from vqkit import {old}", namespace)
    with pytest.raises(ImportError, match="has moved"):
        getattr(vqkit, old)
