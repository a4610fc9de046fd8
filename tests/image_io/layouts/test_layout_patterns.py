from __future__ import annotations

import pytest

from vqkit.errors import ConfigError
from vqkit.image_io.layouts import Pattern
from vqkit.image_io.layouts.patterns import suffix_of, without_suffix


def read(text: str, path: str, components: tuple[str, ...] | None = None) -> tuple[str | None, ...] | None:
    parts = Pattern(text, components).match(path)
    return None if parts is None else tuple(parts)


@pytest.mark.parametrize(
    ("text", "path", "name", "component"),
    [
        ("{component}/{name}.tif", "dna/c1.tif", "c1", "dna"),
        ("{component}/{name}.tif", "dna/c1.TIF", "c1", "dna"),
        ("{component}/{name}.TIF", "dna/c1.tif", "c1", "dna"),
        ("./{component}/{name}.tif", "dna/c1.tif", "c1", "dna"),
        ("{component}\\{name}.tif", "dna/c1.tif", "c1", "dna"),
        ("{component}/{name}", "dna/c1.ome.tif", "c1", "dna"),
        ("{component}/{name}.*", "dna/c1.png", "c1", "dna"),
        ("{component}/{name}.ome.tif", "dna/c1.ome.tif", "c1", "dna"),
        ("{name}_{component}.jp2.tif", "T33_B02.jp2.tif", "T33", "B02"),
        ("{name}_{component}.tif", "S2A_T33_B02.tif", "S2A_T33", "B02"),
        ("{component}_{name}.tif", "dna_a_1.tif", "a_1", "dna"),
        ("{component}/{name}_{component}.png", "group_nc/t_0_group_nc.png", "t_0", "group_nc"),
        ("{name}/{name}_{component}.png", "s1/s1_t1.png", "s1", "t1"),
        ("{name}/{component}.tif", "s1/B02.tif", "s1", "B02"),
        ("*/{component}/{name}.tif", "any/dna/x.tif", "x", "dna"),
        ("{name}_*_{component}.tif", "x_2020_B02.tif", "x", "B02"),
        ("**/{component}/{name}.tif", "dna/x.tif", "x", "dna"),
        ("**/{component}/{name}.tif", "a/b/dna/x.tif", "a/b/x", "dna"),
        ("{component}/**/{name}.tif", "dna/a/x.tif", "a/x", "dna"),
        ("scene/{component}.tif", "scene/B02.tif", "", "B02"),
    ],
)
def test_name_and_component_are_read(text: str, path: str, name: str, component: str) -> None:
    parts = Pattern(text).match(path)
    assert parts is not None
    assert (parts.name, parts.component) == (name, component)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{component}/{name}.tif", "dna/deep/x.tif"),
        ("{component}/{name}.tif", "x.tif"),
        ("{component}/{name}.tif", "dna/x.png"),
        ("{component}/{name}.tif", "dna/x.tiff"),
        ("{component}/{name}_{component}.png", "dna/x_rna.png"),
        ("{component}/{name}_{component}.png", "dna/xdna.png"),
        ("{name}.b.png", "xxb.png"),
        ("*/{name}.tif", "a/b/x.tif"),
        ("{split}/{name}.tif", "extra/x.tif"),
    ],
)
def test_other_paths_do_not_match(text: str, path: str) -> None:
    assert read(text, path) is None


def test_splits_are_read_in_any_case_and_spelling() -> None:
    for folder, split in (("Train", "train"), ("TESTING", "test"), ("validation", "val"), ("Valid", "val")):
        assert read("{component}/{split}/{name}", f"dna/{folder}/x.tif") == ("x", "dna", split, None)


def test_classes_are_read() -> None:
    assert read("{class}/{component}/{name}.tif", "cat/dna/x.tif") == ("x", "dna", None, "cat")


@pytest.mark.parametrize(
    ("text", "path", "components", "expected"),
    [
        ("{name}_{component}.tif", "x_group_nc.tif", ("nc", "group_nc"), ("x", "group_nc")),
        ("{name}_{component}.tif", "x_group_nc.tif", ("group_nc", "nc"), ("x", "group_nc")),
        ("{component}_{name}.tif", "nc_left_x.tif", ("nc", "nc_left"), ("x", "nc_left")),
        ("{name}_{component}.tif", "x_DNA.tif", ("dna",), None),
        ("{component}/{name}.tif", "a.b/x.tif", ("a.b",), ("x", "a.b")),
        ("{component}/{name}.tif", "aXb/x.tif", ("a.b",), None),
    ],
)
def test_given_components_alone_match_and_the_longest_wins(
    text: str, path: str, components: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    parts = read(text, path, components)
    assert (parts and parts[:2]) == expected


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{componet}/{name}.tif", "unknown placeholder {componet}", "Did you mean 'component'?"),
        ("{split}/*.tif", "has no {name}", "'{component}/{name}.tif'"),
        ("{component/{name}.tif", "brace", "'{component}/{name}.tif'"),
        ("{name}}.tif", "brace", "'{component}/{name}.tif'"),
        ("/data/{component}/{name}.tif", "is absolute", "relative to the directory"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Pattern(text)
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("path", "stem", "suffix"),
    [
        ("a/b.tif", "a/b", ".tif"),
        ("a.b/c.OME.TIF", "a.b/c", ".ome.tif"),
        ("a.b/c", "a.b/c", ""),
        ("a/.b", "a/.b", ""),
        ("x.1.png", "x.1", ".png"),
    ],
)
def test_suffixes_are_those_of_formats(path: str, stem: str, suffix: str) -> None:
    assert (without_suffix(path), suffix_of(path)) == (stem, suffix)
