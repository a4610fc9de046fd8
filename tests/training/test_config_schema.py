"""The JSON Schema of the configuration accepts what vqkit accepts and marks what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from small_runs import TINY, TINY_PRIOR
from vqkit.cli.app import app
from vqkit.config import SCHEMAS, dump_yaml, parse_yaml
from vqkit.registry import QUANTIZERS
from vqkit.training.config_schema import config_schema

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return config_schema()


@pytest.fixture(scope="module")
def wrong(schema: dict[str, Any]) -> Any:
    """A function from a configuration to the settings that are wrong in it, each as its path and a sentence."""
    validator = jsonschema.Draft202012Validator(schema)

    def find(settings: Any) -> list[str]:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(settings)]

    return find


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_passes_and_names_the_schema(path: Path, wrong: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=vqkit.schema.json\n")
    assert wrong(parse_yaml(text, path.name)) == []


def test_the_schema_beside_the_configurations_is_up_to_date(schema: dict[str, Any]) -> None:
    written = json.loads((ROOT / "configs" / "vqkit.schema.json").read_text(encoding="utf-8"))
    assert written == schema, "python scripts/configuration_reference.py writes it"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_what_is_written_into_run_yaml_passes(kind: str, wrong: Any) -> None:
    assert wrong(parse_yaml(dump_yaml(SCHEMAS[kind]()), "run.yaml")) == []


def test_the_run_yaml_of_a_trained_run_passes(tiny_run: Path, wrong: Any) -> None:
    text = (tiny_run / "run.yaml").read_text(encoding="utf-8")
    assert wrong(parse_yaml(text, "run.yaml")) == []


@pytest.mark.parametrize(
    "settings", [TINY, TINY_PRIOR, {"model": "vqvae2"}, {"model": {"hidden": 32}}, {"data": {"name": "images", "path": "x"}}, {}]
)
def test_short_forms_pass(settings: dict[str, Any], wrong: Any) -> None:
    assert wrong(settings) == []


@pytest.mark.parametrize("name", QUANTIZERS.names())
def test_every_quantizer_can_be_named(name: str, wrong: Any) -> None:
    assert wrong({"model": {"name": "vqvae", "quantizer": name}}) == []
    assert wrong({"model": {"name": "vqvae", "quantizer": {"name": name}}}) == []
    assert wrong({"model": {"name": "vqvae", "quantizer": {"name": name, "dimm": 3}}}) != []


@pytest.mark.parametrize(
    ("settings", "place", "named"),
    [
        ({"model": {"name": "vqvae", "hiden": 64}}, "model", "hiden"),
        ({"model": {"hiden": 64}}, "model", "hiden"),
        ({"model": {"name": "vqvae", "quantizer": {"num_code": 64}}}, "model.quantizer", "num_code"),
        ({"model": "vqvae3"}, "model", "vqvae3"),
        ({"modell": "vqvae"}, "", "modell"),
        ({"training": {"step": 5}}, "training", "step"),
        ({"training": {"steps": 0}}, "training.steps", "0"),
        ({"training": {"track": ["guestbook"]}}, "training.track.0", "guestbook"),
        ({"data": {"name": "tyre", "num_trains": 5}}, "data", "num_trains"),
        ({"prior": {"name": "pixelcnn", "layer": 5}}, "prior", "layer"),
        ({"kind": "prior", "masking": {}}, "", "masking"),
        ({"method": {"name": "simclr", "wat": 5}}, "method", "wat"),
    ],
)
def test_what_is_misspelled_is_marked_at_its_place(settings: dict[str, Any], place: str, named: str, wrong: Any) -> None:
    found = wrong(settings)
    assert any(each.startswith(f"{place}: ") and named in each for each in found), found


def test_the_settings_are_explained(schema: dict[str, Any]) -> None:
    steps = schema["$defs"]["TrainingConfig"]["properties"]["steps"]
    assert steps["description"].startswith("Optimizer steps")
    masking = schema["$defs"]["MaskingConfig"]["properties"]["kind"]
    assert "components-or-boxes" in masking["enum"]


def test_the_command_prints_it_or_writes_it(tmp_path: Path, schema: dict[str, Any]) -> None:
    printed = CliRunner().invoke(app, ["config", "schema"])
    assert json.loads(printed.output) == schema
    target = tmp_path / "new" / "vqkit.schema.json"
    written = CliRunner().invoke(app, ["config", "schema", "--out", str(target)])
    assert written.output.splitlines()[-1] == "# yaml-language-server: $schema=vqkit.schema.json"
    assert json.loads(target.read_text()) == schema
