from __future__ import annotations

import importlib.metadata
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import Field

from vqkit import registry as registry_module
from vqkit.config import Settings
from vqkit.errors import ConfigError, RegistryError
from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS, BuiltIn, Registry


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
    registry: Registry[Blur] = Registry("filter", {}, "vqkit.tests.filters")
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


def test_a_third_party_is_imported_when_its_name_is_asked_for(filters: Registry[Blur], third_party: EntryPoints) -> None:
    third_party.values["blurred"] = "no_such_module_anywhere"
    assert filters.names() == ["blur", "blurred", "median"]
    assert filters.get("blur") is Blur
    assert "third_party" not in sys.modules
    assert issubclass(filters.get("median"), Blur)
    assert "third_party" in sys.modules


def test_an_entry_point_may_name_the_class(filters: Registry[Blur], third_party: EntryPoints) -> None:
    third_party.values["median"] = "third_party:Median"
    assert filters.get("median").__name__ == "Median"
    assert filters.summaries() == {"blur": "makes soft", "median": "from elsewhere"}


@pytest.mark.parametrize("value", ["no_such_module_anywhere", "json:no_such_name", "broken_party"])
def test_a_broken_third_party_stops_only_who_asks_for_it(
    filters: Registry[Blur], third_party: EntryPoints, tmp_path: Path, value: str
) -> None:
    (tmp_path / "broken_party.py").write_text("raise ValueError('no_such_luck')\n")
    third_party.values["broken"] = value
    assert filters.get("blur") is Blur
    for listed in (filters.entries, filters.summaries):
        with pytest.warns(
            UserWarning, match=rf"^The filter plug-in 'broken' \({value}\) cannot be imported: .*no_such_.* left out"
        ) as told:
            assert list(listed()) == ["blur", "median"]
        assert len(told) == 1
        assert "\n" not in str(told[0].message)
    for _ in range(2):
        with pytest.raises(RegistryError, match=rf"The filter plug-in 'broken' \({value}\) cannot be imported: .*no_such_"):
            filters.get("broken")


def test_an_entry_point_that_registers_another_name_is_refused(filters: Registry[Blur], third_party: EntryPoints) -> None:
    third_party.values["medium"] = "third_party"
    with pytest.raises(
        RegistryError, match=r"plug-in 'medium' \(third_party\) registers no filter named 'medium'\. The entry point"
    ):
        filters.get("medium")


def test_a_third_party_cannot_take_the_name_of_a_part_of_vqkit(third_party: EntryPoints, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Registry[Blur]("filter", {"median": BuiltIn("vqkit.errors", "not imported yet")}, "vqkit.tests.filters")
    monkeypatch.setattr(sys.modules["host"], "filters", own)
    with pytest.warns(UserWarning, match=r"registered twice: by vqkit\.errors and by third_party\.Median"):
        assert own.summaries() == {"median": "not imported yet"}


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...

    @abstractmethod
    def corners(self) -> int: ...


class Square(Shape):
    class Options(Settings):
        side: int = 1

    def area(self) -> float:
        return 1.0


class Plain:
    Options = dict


def test_an_unfinished_class_is_refused_when_it_is_registered(filters: Registry[Blur]) -> None:
    with pytest.raises(RegistryError, match=r"The filter 'square' \(.*Square\) does not implement corners\."):
        filters.register("square", "a shape")(Square)  # type: ignore[type-var]
    with pytest.raises(RegistryError, match=r"The filter 'shape' \(.*Shape\) has no pydantic class `Options`\."):
        filters.register("shape", "a shape")(Shape)  # type: ignore[type-var]
    with pytest.raises(RegistryError, match=r"The filter 'plain' \(.*Plain\) has no pydantic class `Options`\."):
        filters.register("plain", "a shape")(Plain)  # type: ignore[type-var]
    with pytest.raises(RegistryError, match="has no summary"):
        filters.register("sharpen")(Sharpen)
    assert filters.names() == ["blur"]


@pytest.mark.parametrize("registry", [MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS], ids=lambda registry: registry.kind)
def test_every_built_in_part_has_documented_options_and_a_summary(registry: Registry[object]) -> None:
    own = {name: entry for name, entry in registry.entries().items() if entry.part.__module__.startswith("vqkit.")}
    assert {name: BuiltIn(entry.part.__module__, entry.summary) for name, entry in own.items()} == registry.built_in
    for name, entry in own.items():
        assert entry.part.__doc__, name
        for field, description in entry.part.Options.model_fields.items():  # type: ignore[attr-defined]
            assert description.description, f"{name}.{field}"


def test_the_defaults_of_every_command_are_registered() -> None:
    assert "vqvae" in MODELS.entries()
    assert {"ema", "gradient"} <= QUANTIZERS.entries().keys()
    assert {"tyre", "components", "images", "arrays"} <= DATASETS.entries().keys()
