from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import vqkit
from vqkit.errors import VQKitError

HEAVY = ("torch", "torchvision", "numpy", "PIL", "matplotlib", "tensorboard", "torchmetrics", "scipy")
MODULES = sorted(module.name for module in pkgutil.walk_packages(vqkit.__path__, "vqkit."))


def loaded_after(code: str) -> list[str]:
    """The heavy packages that a fresh process has loaded after running `code`."""
    report = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "code", ["import vqkit", "import vqkit.cli.app", "import vqkit.config, vqkit.registry; dir(__import__('vqkit'))"]
)
def test_light_modules_load_nothing_heavy(code: str) -> None:
    assert loaded_after(code) == []


def test_models_load_no_compiler() -> None:
    """It takes a second, and only `training.compile` needs it."""
    code = "import sys, vqkit.models.vqvae2, vqkit.priors.masked, vqkit.inference.inpaint; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_after("import numpy") == ["numpy"]


def test_help_of_every_command_loads_nothing_heavy() -> None:
    code = """
import typer.main, vqkit.cli.app as cli
def ask(command, words):
    try:
        cli.app([*words, "--help"])
    except SystemExit as done:
        assert not done.code, words
    for name, child in getattr(command, "commands", {}).items():
        ask(child, [*words, name])
ask(typer.main.get_command(cli.app), [])
"""
    assert loaded_after(code) == []


@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_the_parts_are_listed_without_importing_them(words: list[str]) -> None:
    assert loaded_after(f"import vqkit.cli.app as cli\ncli.app({words!r}, standalone_mode=False)") == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    if name != "vqkit.__main__":
        assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", vqkit.__all__)
def test_public_names_exist_and_are_listed(name: str) -> None:
    assert getattr(vqkit, name) is not None
    assert name in dir(vqkit)


def test_a_public_name_is_the_object_of_its_module() -> None:
    assert vqkit.VQKitError is VQKitError


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vqkit' has no attribute 'lod'"):
        _ = vqkit.lod
