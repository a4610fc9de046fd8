from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vqkit.image_io.layouts import safe_name
from vqkit.image_io.layouts.naming import examples, ordered_components


def test_components_come_as_people_count_and_those_of_epure_in_their_order() -> None:
    assert ordered_components(["B10", "B2", "B8A", "B8"]) == ("B2", "B8", "B8A", "B10")
    assert ordered_components(["gi", "tpc", "aaa", "group_nc", "zzz"]) == ("group_nc", "tpc", "aaa", "zzz", "gi")
    assert ordered_components(["02", "1", "01"]) == ("01", "1", "02")


def test_a_short_name_stays_and_a_long_one_can_be_written(tmp_path: Path) -> None:
    assert safe_name("plate/cell_1") == "plate/cell_1"
    assert safe_name("é" * 100, limit=200) == "é" * 100
    long = f"{'x' * 240}/{'é' * 240}"
    (tmp_path / safe_name(long)).parent.mkdir()
    (tmp_path / f"{safe_name(long)}_brightfield.ome.tif").touch()


@given(st.lists(st.text(alphabet="aé/", min_size=1, max_size=60), min_size=2, unique=True))
def test_shortened_names_stay_different_and_within_the_limit(names: list[str]) -> None:
    short = [safe_name(name, limit=16) for name in names]
    assert len(set(short)) == len(names)
    assert all(len(os.fsencode(part)) <= 16 for name in short for part in name.split("/"))


def test_long_names_that_differ_at_their_end_stay_different() -> None:
    assert safe_name("x" * 300 + "1") != safe_name("x" * 300 + "2")
    assert safe_name("a" * 300 + "/x").split("/")[0] == safe_name("a" * 300 + "/y").split("/")[0]


def test_a_name_that_is_not_utf8_is_shortened(tmp_path: Path) -> None:
    assert len(os.fsencode(safe_name("\udcff" * 300))) <= 200


def test_examples_say_how_many_there_are_besides() -> None:
    assert examples(["a", "b", "c"]) == "a, b, c"
    assert examples(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
