"""What stands in pyproject.toml, CITATION.cff and the changelog about a release agrees."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import vqkit

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


def test_the_extra_all_names_every_other_one(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    named = re.fullmatch(r"vqkit\[(.+)\]", everything)
    assert named is not None
    assert named[1].split(",") == sorted(set(extras) - {"all", "dev"})


def test_every_extra_that_a_message_names_exists(project: dict[str, Any]) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"vqkit\[([a-z]+)\]", text)}
    assert {"wandb", "mlflow", "trackio", "hub"} <= named
    assert named <= set(project["optional-dependencies"])


def test_the_citation_and_the_changelog_have_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vqkit.__version__
    releases = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1] == (vqkit.__version__, str(citation["date-released"]))


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        assert {"name", "description", "body"} <= set(content)
        assert all(part["attributes"]["label"] for part in content["body"])
