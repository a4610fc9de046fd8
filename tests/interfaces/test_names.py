from __future__ import annotations

import pytest

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec
from vqkit.interfaces.names import whole_names

KNOWN = ("B2, blue", "B3, green", "B4", "B5,, far , red")


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        (["B4", "B4"], ("B4",)),
        (["B2", "blue"], ("B2, blue",)),
        (["B3", "green", "B4", "B2", "blue"], ("B3, green", "B4", "B2, blue")),
        (["B5", "far", "red"], ("B5,, far , red",)),
        (["B2, blue", "B4"], ("B2, blue", "B4")),
        (["B2", "green", "B4"], ("B2", "green", "B4")),
        ([], ()),
    ],
)
def test_parts_of_names_that_hold_commas_are_joined(parts: list[str], names: tuple[str, ...]) -> None:
    assert whole_names(parts, KNOWN) == names


def test_the_longest_name_counts() -> None:
    assert whole_names(["B2", "blue", "B2"], ["B2", "B2, blue"]) == ("B2, blue", "B2")


def test_a_component_that_is_not_there_is_refused() -> None:
    spec = DataSpec.uniform("scenes", ("B2, blue", "B4"), 4, 4, "intensity")
    assert spec.named_components(["B4", "B2", "blue"]) == ("B4", "B2, blue")
    with pytest.raises(ConfigError, match="no component 'B2'"):
        spec.named_components(["B2"])
