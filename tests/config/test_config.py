from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vqkit.config import (
    SCHEMAS,
    MaskingConfig,
    NamedOptions,
    PriorRunConfig,
    RunConfig,
    Settings,
    TrainingConfig,
    apply_override,
    describe_validation_error,
    dump_yaml,
    load_config,
    merge,
    parse_yaml,
    read_config_file,
)
from vqkit.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(
    text: str | None = None, *assignments: str, folder: Path | None = None, flags: dict[str, Any] | None = None
) -> ConfigError:
    """The error that a configuration meets."""
    path = written(folder, text) if folder is not None and text is not None else None
    with pytest.raises(ConfigError) as caught:
        load_config(path, flags or {}, assignments)
    return caught.value


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3e-4", 3e-4),
            ("1E5", 1e5),
            ("-2e+3", -2e3),
            ("+1e3", 1e3),
            (".5e1", 5.0),
            ("3.e2", 300.0),
            ("0.7", 0.7),
            ("12", 12),
            ("true", True),
            ("null", None),
            ("", None),
            ("[r, g]", ["r", "g"]),
        ],
    )
    def test_numbers_are_numbers(self, text: str, value: object) -> None:
        read = parse_yaml(text, "here")
        assert read == value
        assert isinstance(read, type(value))

    @pytest.mark.parametrize("text", ["e5", "1e", "3e-4x", "._e5", "1e5.2", "deadbeef"])
    def test_words_stay_words(self, text: str) -> None:
        assert parse_yaml(text, "here") == text

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_float_is_read_as_python_writes_it(self, value: float) -> None:
        assert parse_yaml(repr(value), "here") == value

    def test_broken_yaml_names_its_source_and_line(self) -> None:
        with pytest.raises(ConfigError, match=r"^run\.yaml, line 2 is not valid YAML\."):
            parse_yaml("a: 1\nb: [", "run.yaml")

    def test_a_number_of_too_many_digits_is_broken_yaml(self) -> None:
        with pytest.raises(ConfigError, match=r"^--set data\.path is not valid YAML\."):
            parse_yaml("9" * 5000, "--set data.path")

    def test_objects_are_never_built(self) -> None:
        with pytest.raises(ConfigError, match="not valid YAML"):
            parse_yaml("!!python/object/apply:os.getcwd []", "run.yaml")


class TestFiles:
    def test_an_empty_file_is_the_defaults(self, tmp_path: Path) -> None:
        assert load_config(written(tmp_path, "# nothing yet\n"), {}, []) == RunConfig()

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"The configuration file .*none\.yaml cannot be read: No such file or directory\."):
            read_config_file(tmp_path / "none.yaml")

    def test_a_picture_is_no_configuration(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
        with pytest.raises(ConfigError, match=r"picture\.png cannot be read: not UTF-8 text\."):
            read_config_file(path)

    def test_a_list_is_no_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="holds a list where a mapping of settings is expected"):
            read_config_file(written(tmp_path, "- 1\n"))

    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        config = RunConfig(
            model=NamedOptions(name="vqvae", hidden=64, quantizer={"name": "ema", "decay": 0.95}),
            masking=MaskingConfig(max_probability=0.3, keep="one"),
            training=TrainingConfig(steps=10, learning_rate=1e-5, betas=(0.5, 0.9)),
        )
        assert load_config(written(tmp_path, dump_yaml(config)), {}, []) == config

    def test_defaults_are_written_out(self) -> None:
        content = yaml.safe_load(dump_yaml(RunConfig()))
        assert content["masking"]["max_probability"] == 0.7
        assert content["training"]["batch_size"] == 64


class TestOverrides:
    def test_a_dotted_key_reaches_into_groups(self) -> None:
        settings: dict[str, Any] = {"model": {"name": "vqvae", "hidden": 64}}
        apply_override(settings, "model.quantizer.num_codes=1024")
        apply_override(settings, "training.learning_rate = 3e-4")
        assert settings == {
            "model": {"name": "vqvae", "hidden": 64, "quantizer": {"num_codes": 1024}},
            "training": {"learning_rate": 3e-4},
        }

    def test_a_setting_below_a_name_keeps_the_name(self) -> None:
        settings: dict[str, Any] = {}
        apply_override(settings, "model.quantizer=gradient")
        apply_override(settings, "model.quantizer.num_codes=16")
        assert settings == {"model": {"quantizer": {"name": "gradient", "num_codes": 16}}}

    def test_the_value_may_hold_an_equals_sign(self) -> None:
        settings: dict[str, Any] = {}
        apply_override(settings, "data.path=a=b")
        assert settings == {"data": {"path": "a=b"}}

    @pytest.mark.parametrize(
        "pattern",
        ["{component}/{name}.tif", "{name}_{component}.tif", "{name}", "**/{class}/{name}", "s: {name} #"],
    )
    def test_a_pattern_is_text_though_it_is_no_yaml(self, pattern: str, tmp_path: Path) -> None:
        config = load_config(None, {}, [f"data.pattern={pattern}", "data.name=components"])
        assert config.data.options == {"pattern": pattern}
        assert load_config(written(tmp_path, dump_yaml(config)), {}, []) == config

    @pytest.mark.parametrize(
        ("text", "value"), [("{hidden: 8}", {"hidden": 8}), ("['{name}']", ["{name}"]), ("'{name}'", "{name}"), ("[1, 2]", [1, 2])]
    )
    def test_mappings_lists_and_quoted_text_are_yaml_still(self, text: str, value: Any) -> None:
        settings: dict[str, Any] = {}
        apply_override(settings, f"model.x={text}")
        assert settings == {"model": {"x": value}}

    @pytest.mark.parametrize("text", ["training.seed", "=3", ""])
    def test_no_key_or_no_value_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="has no KEY=VALUE"):
            apply_override({}, text)


class TestMerge:
    def test_groups_merge_and_leave_the_originals_alone(self) -> None:
        base = {"training": {"seed": 1, "batch_size": 8}, "masking": {"max_probability": 0.5}}
        assert merge(base, {"training": {"seed": 2}}) == {
            "training": {"seed": 2, "batch_size": 8},
            "masking": {"max_probability": 0.5},
        }
        assert base == {"training": {"seed": 1, "batch_size": 8}, "masking": {"max_probability": 0.5}}

    def test_another_name_replaces_the_group(self) -> None:
        assert merge({"model": {"name": "vqvae", "hidden": 64}}, {"model": {"name": "vae"}}) == {"model": {"name": "vae"}}

    def test_the_same_name_keeps_the_group(self) -> None:
        merged = merge({"model": {"name": "vqvae", "hidden": 64}}, {"model": {"name": "vqvae", "blocks": 1}})
        assert merged == {"model": {"name": "vqvae", "hidden": 64, "blocks": 1}}

    @pytest.mark.parametrize(
        ("base", "over", "merged"),
        [
            ("vae", {"latent": 4}, {"name": "vae", "latent": 4}),
            ({"name": "vae", "latent": 4}, "vae", {"name": "vae", "latent": 4}),
            ({"name": "vae", "latent": 4}, "vqvae", {"name": "vqvae"}),
            ("vae", "vqvae", "vqvae"),
        ],
    )
    def test_a_bare_name_is_a_group(self, base: object, over: object, merged: object) -> None:
        assert merge({"model": base}, {"model": over}) == {"model": merged}


class TestLayers:
    """The file's settings, the flags over them, `--set` over both."""

    def test_later_layers_win(self, tmp_path: Path) -> None:
        path = written(tmp_path, "training: {seed: 1, batch_size: 1, learning_rate: 1e-1}\n")
        config = load_config(path, {"training": {"batch_size": 2, "learning_rate": 0.2}}, ["training.learning_rate=3e-1"])
        assert (config.training.seed, config.training.batch_size, config.training.learning_rate) == (1, 2, 0.3)

    def test_settings_without_a_name_belong_to_the_default(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "model: {hidden: 64}\n"), {}, ["data.num_train=10"])
        assert config.model == NamedOptions(name="vqvae", hidden=64)
        assert config.data == NamedOptions(name="tyre", num_train=10)

    def test_another_model_drops_the_settings_of_the_default(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "model: {hidden: 64}\n"), {"model": {"name": "vae"}}, [])
        assert config.model == NamedOptions(name="vae")

    def test_a_setting_reaches_the_model_that_the_file_names(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "model: vae\n"), {}, ["model.latent=4"])
        assert config.model == NamedOptions(name="vae", latent=4)

    @pytest.mark.parametrize(("flags", "assignments"), [({"training": {"steps": 7}}, []), ({}, ["training.steps=7"])])
    def test_steps_replace_the_epochs_of_the_file(self, tmp_path: Path, flags: dict[str, Any], assignments: list[str]) -> None:
        training = load_config(written(tmp_path, "training: {epochs: 3, seed: 5}\n"), flags, assignments).training
        assert (training.steps, training.epochs, training.seed) == (7, None, 5)

    def test_epochs_replace_the_steps_of_the_file(self, tmp_path: Path) -> None:
        training = load_config(written(tmp_path, "training: {steps: 3}\n"), {"training": {"epochs": 7}}, []).training
        assert (training.steps, training.epochs) == (None, 7)


class TestKind:
    def test_a_file_may_name_the_kind_of_its_run(self, tmp_path: Path) -> None:
        assert load_config(written(tmp_path, "kind: prior\n"), {}, [], PriorRunConfig) == PriorRunConfig()

    @pytest.mark.parametrize("text", ["kind: prior\n", "kind: prior\nprior: {name: pixelcnn}\n"])
    def test_another_kind_than_the_commands_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config(written(tmp_path, text), {}, [])
        assert caught.value.message == "The configuration has kind: prior, but vqkit train-vqvae trains runs of kind: model."
        assert caught.value.hint == "Use it with: vqkit train-prior."

    def test_a_kind_that_does_not_exist_is_answered_with_those_that_do(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"has kind: \['vae'\].*Known: model, prior, encoder"):
            load_config(None, {}, ["kind=[vae]"])

    def test_a_written_configuration_names_its_kind(self) -> None:
        for kind, schema in SCHEMAS.items():
            assert parse_yaml(dump_yaml(schema()), "run.yaml")["kind"] == kind


class Item(Settings):
    size: int = 1


class Items(Settings):
    items: tuple[Item, ...] = ()


class TestErrors:
    def test_epochs_and_steps_exclude_each_other(self) -> None:
        error = refused(flags={"training": {"epochs": 2, "steps": 3}})
        assert error.message == "In the configuration, training: epochs (2) and steps (3) exclude each other."

    def test_an_unknown_setting_is_answered_with_the_right_one(self) -> None:
        error = refused(None, "training.learning_rat=1")
        assert error.message == "The configuration has no setting 'training.learning_rat'."
        assert error.hint.startswith("Did you mean 'training.learning_rate'? Known here: epochs, steps, ")

    def test_an_unknown_setting_of_an_item_of_a_list_is_answered(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Items.model_validate({"items": [{"size": 1}, {"sise": 2}]})
        message, hint = describe_validation_error(caught.value, Items, "the configuration")
        assert message == "The configuration has no setting 'items.1.sise'."
        assert hint == "Did you mean 'items.1.size'? Known here: size."

    def test_an_unknown_group_is_answered_with_the_groups(self, tmp_path: Path) -> None:
        error = refused("trainig: {seed: 1}\n", folder=tmp_path)
        assert error.message == "The configuration has no setting 'trainig'."
        assert error.hint == "Did you mean 'training'? Known here: kind, model, data, masking, loss, encoder, training."

    @pytest.mark.parametrize(
        ("assignment", "complaint"),
        [
            ("training.batch_size=0", "training.batch_size: input should be greater than or equal to 1 (given: 0)"),
            ("training.seed=", "training.seed: input should be a valid integer (given: None)"),
            ("training.learning_rate=.inf", "training.learning_rate: input should be a finite number (given: inf)"),
            ("training.learning_rate=.nan", "training.learning_rate: input should be a finite number (given: nan)"),
            ("training.betas=[0.9, 1.5]", "training.betas.1: input should be less than 1 (given: 1.5)"),
            ("masking.keep=two", "masking.keep: input should be 'any' or 'one' (given: 'two')"),
            ("masking=3", "masking: input should be a valid dictionary or instance of MaskingConfig (given: 3)"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_expected(self, assignment: str, complaint: str) -> None:
        assert refused(None, assignment).message == f"In the configuration, {complaint}."

    def test_a_configuration_is_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            RunConfig().training.seed = 3


def test_named_options_separate_the_name_from_the_rest() -> None:
    assert NamedOptions(name="ema", decay=0.9).options == {"decay": 0.9}


@pytest.mark.parametrize("schema", [MaskingConfig, TrainingConfig])
def test_every_setting_says_what_it_means(schema: type[TrainingConfig | MaskingConfig]) -> None:
    assert [name for name, field in schema.model_fields.items() if not field.description] == []
