from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from vqkit.config import NamedOptions, RunConfig, Settings, dump_yaml, load_config, parse_yaml
from vqkit.errors import ConfigError


class Example(Settings):
    names: tuple[str, ...] = ()
    ranges: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - frozen
    whole: int = 0
    number: float = 0.0
    flag: bool = False


def settings(text: str) -> Example:
    return Example.model_validate(parse_yaml(text, "here"))


@pytest.mark.parametrize(
    "text",
    [
        "01",
        "010",
        "007",
        "+05",
        "00",
        "1:30",
        "1_000",
        "0b11",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "N",
        "2024-01-31",
        "1.2.3",
        "=",
        "08",
    ],
)
def test_what_only_yaml_1_1_reads_otherwise_is_text(text: str) -> None:
    assert parse_yaml(text, "here") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("-3", -3), ("+12", 12), ("0x1f", 31), ("0o17", 15), ("0", 0), ("1.50", 1.5), ("-.5", -0.5), ("TRUE", True)],
)
def test_numbers_of_yaml_1_2_are_numbers(text: str, value: Any) -> None:
    assert parse_yaml(text, "here") == value
    assert isinstance(parse_yaml(text, "here"), type(value))


def test_infinity_is_a_number() -> None:
    assert parse_yaml("[.inf, -.INF]", "here") == [float("inf"), float("-inf")]


@pytest.mark.parametrize("text", ["01", "010", "1", "10", "1.10", "1e3", "0x1F", "+5", "yes", "y", "B02", "1:30", ".5"])
def test_a_name_is_what_was_typed(text: str) -> None:
    read = settings(f"names: [{text}]\nranges: {{{text}: [0, 1]}}")
    assert read.names == (text,)
    assert read.ranges == {text: (0, 1)}
    assert type(read.names[0]) is str


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("08", 8), ("1_000", 1000), ("0x10", 16), ("3", 3)])
def test_a_whole_number_is_decimal_whatever_it_begins_with(text: str, value: int) -> None:
    assert settings(f"whole: {text}").whole == value
    assert type(settings(f"whole: {text}").whole) is int


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000.0), ("1.50", 1.5), ("010", 10.0), ("3", 3.0)])
def test_a_number_is_a_float_of_python(text: str, value: float) -> None:
    assert settings(f"number: {text}").number == value
    assert type(settings(f"number: {text}").number) is float


def test_a_time_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"training\.warmup_steps: .*\(given: '1:30'\)"):
        load_config(None, {}, ["training.warmup_steps=1:30"])


def test_a_seed_with_a_leading_zero_is_decimal() -> None:
    assert load_config(None, {}, ["training.seed=010"]).training.seed == 10


def test_yes_and_no_set_flags_still() -> None:
    assert [settings(f"flag: {word}").flag for word in ("yes", "no", "on", "off", "true")] == [True, False, True, False, True]


TRICKY = st.text(alphabet="0123456789._:-+eExXoObByYnNfF~=<>trualsTR ", max_size=8)


@given(st.lists(TRICKY, max_size=5), TRICKY)
@example(
    ["01", "08", "1e3", "0o17", "y", "no", "1:30", "2024-01-31", "", "~", "null", "<<", "=", "0x1f", "1_0", ".inf", "1e5"], "010"
)
def test_names_are_written_so_that_every_reader_reads_them(names: list[str], key: str) -> None:
    written = dump_yaml(Example(names=tuple(names), ranges={key: (0, 1)}))
    for read in (parse_yaml(written, "here"), yaml.safe_load(written)):
        assert read["names"] == names
        assert read["ranges"] == {key: [0, 1]}


def test_what_yaml_1_1_resolves_though_pyyaml_does_not_is_quoted() -> None:
    assert "- 'y'\n- '08'\n- '0o17'\n- '1e3'\n- B02\n" in dump_yaml(Example(names=("y", "08", "0o17", "1e3", "B02")))


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_numbers_are_written_so_that_every_reader_reads_them(number: float, whole: int) -> None:
    written = dump_yaml(Example(number=number, whole=whole))
    for read in (parse_yaml(written, "here"), yaml.safe_load(written)):
        assert (read["number"], read["whole"]) == (number, whole)


def test_names_survive_in_the_settings_of_a_part_that_nobody_has_checked_yet() -> None:
    config = load_config(None, {}, ["data.name=joined", "data.settings.components=[01, 02]"])
    assert parse_yaml(dump_yaml(config), "here")["data"]["settings"] == {"components": ["01", "02"]}
    assert config.data == NamedOptions(name="joined", settings={"components": ["01", "02"]})


class TestDuplicates:
    def test_a_key_that_is_there_twice_is_named_with_both_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        path.write_text("training:\n  seed: 1\n  epochs: 3\n  seed: 2\n")
        with pytest.raises(ConfigError) as refused:
            load_config(path, {}, [])
        assert refused.value.message == f"{path}, line 4 sets 'seed', which is set in line 2 already."

    @pytest.mark.parametrize("text", ["{a: 1, a: 2}", "{a: 1, a: 1}", '{"a": 1, a: 2}', "[{b: {a: 1, 'a': 2}}]"])
    def test_keys_in_braces_count_too(self, text: str) -> None:
        with pytest.raises(ConfigError, match="here sets 'a', which is set already"):
            parse_yaml(text, "here")

    def test_keys_that_were_one_number_are_two_names(self) -> None:
        assert parse_yaml("{1: a, 01: b, 1.0: c}", "here") == {"1": "a", "01": "b", "1.0": "c"}

    def test_merged_mappings_are_overridden_and_no_duplicates(self) -> None:
        text = "deep: {inner: &b {<<: &a {x: 1, y: 1}, x: 2}}\nc: {<<: *b, y: 3}\nd: {<<: *a}\n"
        read = parse_yaml(text, "here")
        assert read == {"deep": {"inner": {"x": 2, "y": 1}}, "c": {"x": 2, "y": 3}, "d": {"x": 1, "y": 1}}

    def test_a_key_that_is_a_list_is_no_key(self) -> None:
        with pytest.raises(ConfigError, match="here, line 1 is not valid YAML"):
            parse_yaml("{[a]: 1}", "here")

    @pytest.mark.parametrize(
        ("assignments", "message"),
        [
            (["training.seed=1", "training.seed=2"], "--set gives training.seed twice: 1 and 2."),
            (["training.seed=1", "training={seed: 2}"], "--set gives training.seed twice: 1 and 2."),
            (["model=vae", "model.name=vqvae"], "--set gives model.name twice: vae and vqvae."),
            (["model.hidden=8", "model=vae", "model=vqvae"], "--set gives model.name twice: vae and vqvae."),
            (["data.components=[a]", "data.components=[b]"], "--set gives data.components twice: ['a'] and ['b']."),
            (["data.flip=true", "data.flip=1"], "--set gives data.flip twice: True and 1."),
        ],
    )
    def test_set_twice_to_different_values_is_refused(self, assignments: list[str], message: str) -> None:
        with pytest.raises(ConfigError) as refused:
            load_config(None, {}, assignments)
        assert refused.value.message == message

    def test_set_twice_to_one_value_is_once(self) -> None:
        assert load_config(None, {}, ["training.seed=3", "training.seed=3"]).training.seed == 3

    def test_a_name_after_its_settings_keeps_them(self) -> None:
        after = load_config(None, {}, ["model.hidden=8", "model=vae"])
        before = load_config(None, {}, ["model=vae", "model.hidden=8"])
        assert after == before
        assert after.model == NamedOptions(name="vae", hidden=8)

    def test_the_command_line_overrides_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        path.write_text("training: {seed: 1}\n")
        assert load_config(path, {"training": {"seed": 2}}, ["training.seed=3"]).training.seed == 3
        assert isinstance(load_config(path, {}, []), RunConfig)
