from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import Field

from vqkit import registry as registry_module
from vqkit.config import Settings
from vqkit.errors import ConfigError, RegistryError
from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS, Registry


class Blur:
    """A part with two settings, which remembers what it was built from."""

    class Options(Settings):
        radius: int = Field(3, ge=1)
        rounds: int = 1

    def __init__(self, options: Options, *context: object, **keywords: object) -> None:
        self.options = options
        self.context = context
        self.keywords = keywords


class Sharpen(Blur):
    pass


@pytest.fixture
def filters() -> Registry[Blur]:
    registry: Registry[Blur] = Registry("filter", (), "vqkit.tests.filters")
    registry.register("blur", "makes soft")(Blur)
    return registry


def test_registering_gives_the_class_back_and_lists_it(filters: Registry[Blur]) -> None:
    assert filters.register("sharpen", "makes hard")(Sharpen) is Sharpen
    assert filters.get("sharpen") is Sharpen
    assert {name: entry.summary for name, entry in filters.entries().items()} == {"blur": "makes soft", "sharpen": "makes hard"}


def test_another_class_of_the_same_name_is_refused(filters: Registry[Blur]) -> None:
    with pytest.raises(RegistryError, match=r"The filter 'blur' is registered twice: by .*Blur and by .*Sharpen"):
        filters.register("blur", "again")(Sharpen)
    assert filters.get("blur") is Blur


def test_the_same_class_may_be_registered_again(filters: Registry[Blur]) -> None:
    filters.register("blur", "makes soft")(Blur)
    assert list(filters.entries()) == ["blur"]


def test_an_unknown_name_is_answered_with_the_known_ones(filters: Registry[Blur]) -> None:
    with pytest.raises(RegistryError) as caught:
        filters.get("blurr")
    assert caught.value.message == "There is no filter named 'blurr'."
    assert caught.value.hint == "Did you mean 'blur'? Known: blur."


def test_building_fills_in_defaults_and_passes_the_context(filters: Registry[Blur]) -> None:
    built = filters.build("blur", {"rounds": 2}, "spec", device="cpu")
    assert built.options == Blur.Options(radius=3, rounds=2)
    assert (built.context, built.keywords) == (("spec",), {"device": "cpu"})


def test_a_wrong_setting_names_the_part_and_the_right_one(filters: Registry[Blur]) -> None:
    with pytest.raises(ConfigError) as caught:
        filters.build("blur", {"raduis": 2})
    assert caught.value.message == "The filter 'blur' has no setting 'raduis'."
    assert caught.value.hint == "Did you mean 'radius'? Known here: radius, rounds."


def test_a_wrong_value_is_named(filters: Registry[Blur]) -> None:
    with pytest.raises(ConfigError, match=r"In the filter 'blur', radius: input should be greater than or equal to 1 \(given: 0\)"):
        filters.options("blur", {"radius": 0})


class EntryPoints:
    """Stands in for the entry points of installed packages, and counts the look-ups."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.calls = 0

    def __call__(self, group: str) -> list[importlib.metadata.EntryPoint]:
        self.calls += 1
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in self.values.items()]


@pytest.fixture
def third_party(filters: Registry[Blur], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EntryPoints]:
    """A package `third_party` whose module registers a class in `filters` when it is imported."""
    (tmp_path / "third_party.py").write_text(
        "from host import Blur, filters\n\n\n@filters.register('median', 'from elsewhere')\nclass Median(Blur):\n    pass\n"
    )
    host = ModuleType("host")
    host.__dict__.update(filters=filters, Blur=Blur)
    monkeypatch.setitem(sys.modules, "host", host)
    monkeypatch.syspath_prepend(tmp_path)
    points = EntryPoints(median="third_party")
    monkeypatch.setattr(registry_module, "entry_points", points)
    yield points
    sys.modules.pop("third_party", None)


def test_a_third_party_is_found_by_its_entry_point_once(filters: Registry[Blur], third_party: EntryPoints) -> None:
    assert third_party.calls == 0
    assert list(filters.entries()) == ["blur", "median"]
    assert isinstance(filters.build("median", {}), Blur)
    assert third_party.calls == 1


@pytest.mark.parametrize("value", ["no_such_module_anywhere", "json:no_such_name"])
def test_a_broken_third_party_is_named_every_time(filters: Registry[Blur], monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(registry_module, "entry_points", EntryPoints(median=value))
    for _ in range(2):
        with pytest.raises(RegistryError, match=rf"The filter plug-in 'median' \({value}\) cannot be imported: .*no_such_"):
            filters.get("blur")


@pytest.mark.parametrize("registry", [MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS], ids=lambda registry: registry.kind)
def test_every_built_in_part_has_documented_options_and_a_summary(registry: Registry[object]) -> None:
    for name, entry in registry.entries().items():
        assert entry.summary, name
        assert entry.part.__doc__, name
        for field, description in entry.part.Options.model_fields.items():  # type: ignore[attr-defined]
            assert description.description, f"{name}.{field}"


def test_the_defaults_of_every_command_are_registered() -> None:
    assert "vqvae" in MODELS.entries()
    assert {"ema", "gradient"} <= QUANTIZERS.entries().keys()
    assert {"tyre", "components", "images", "arrays"} <= DATASETS.entries().keys()
