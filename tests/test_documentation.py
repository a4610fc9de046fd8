"""What the pages say is so: every command line in them is one that vqkit understands, every module that they name exists."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer.main

from vqkit.cli.app import app
from vqkit.renamed import KEYS, OPTIONS

ROOT = Path(__file__).parent.parent
COMMAND = typer.main.get_command(app)
"""Made once: that takes longer than to understand a line."""
PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if page.name != "cli.md")


def command_lines(page: Path) -> list[str]:
    """The lines of the page's code blocks that call vqkit, without prompt and launcher."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    calls = [re.match(r"^(?:\$ )?(?:torchrun .* -m )?vqkit (?P<words>.+)$", line) for line in lines]
    return [call["words"] for call in calls if call]


LINES = sorted({line for page in PAGES for line in command_lines(page)})


def test_the_pages_hold_the_commands_of_the_main_job() -> None:
    spoken = {shlex.split(line, comments=True)[0] for line in LINES}
    assert {"train-vqvae", "inpaint", "evaluate", "codebook-stats", "encode", "decode", "data"} <= spoken


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Options are parsed before help is shown, so a wrong one fails, and nothing is run.
    with pytest.raises(SystemExit) as caught:
        COMMAND([*shlex.split(line, comments=True), "--help"], prog_name="vqkit")
    assert caught.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_typed_from_top_to_bottom(page: Path) -> None:
    """A training is refused in a directory that holds another run."""
    trained: dict[str, str] = {}
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        if words[0] in ("train", "train-vqvae", "train-prior", "pretrain") and "--out" in words:
            assert trained.setdefault(words[words.index("--out") + 1], " ".join(words)) == " ".join(words)


LAUNCHED = sorted(
    {line for page in PAGES for line in re.findall(r"^torchrun [^#\n]+", page.read_text(encoding="utf-8"), flags=re.MULTILINE)}
)


@pytest.mark.parametrize("line", LAUNCHED)
def test_torchrun_leaves_the_options_of_a_command_to_vqkit(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from torch.distributed.run import get_args_parser

    words = shlex.split(line)[1:]
    try:
        parsed = get_args_parser().parse_args(words)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)  # `--run` may stand for `--run-path`, which is another option
    assert [parsed.training_script, *parsed.training_script_args] == words[words.index("vqkit") :]


def test_the_table_of_the_readme_has_every_command() -> None:
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"[a-z-]+", row)]
    assert sorted([*named, "train"]) == sorted(COMMAND.commands)  # type: ignore[attr-defined]


def test_defaults_in_the_command_reference_can_be_typed() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert "| `--split VALUE` | Split to read. | `train` |" in text and "SplitName" not in text


def test_a_wrong_option_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        COMMAND(["train-vqvae", "--mask-maximum", "1", "--help"], prog_name="vqkit")
    assert caught.value.code == 2
    assert "--mask-maximum" in capsys.readouterr().err


def imported_names(page: Path) -> set[tuple[str, str]]:
    """Module and name of everything that the Python code of the page imports from vqkit, or uses as `vqkit.NAME`."""
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(textwrap.dedent(block)))]
    found = {(node.module or "", name.name) for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}
    found |= {("vqkit", node.attr) for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vqkit"}
    return {(module, name) for module, name in found if module.split(".")[0] == "vqkit"}


IMPORTS = sorted({each for page in PAGES for each in imported_names(page)})


def test_imports_of_pages_are_found() -> None:
    assert {("vqkit", "load"), ("vqkit.evaluation", "evaluate"), ("vqkit.core.torchvision_import", "import_torchvision")} <= {
        *IMPORTS
    }


@pytest.mark.parametrize(("module", "name"), IMPORTS)
def test_every_name_that_a_page_imports_exists(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_of_pages_outside_the_site_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = [path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "vqkit").rglob("*.py")]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"[\w/]+\.py\b", ARCHITECTURE))))
def test_every_module_that_the_architecture_names_exists(name: str) -> None:
    assert any(module.endswith(f"/{name}") for module in MODULES)


def test_the_architecture_names_every_package() -> None:
    packages = ARCHITECTURE.split("```")[1]
    places = {module.split("/")[1] + ("/" if module.count("/") > 1 else "") for module in MODULES}
    assert "registry.py" in places
    assert "models/" in places
    assert [place for place in sorted(places) if not re.search(rf"\b{re.escape(place)}", packages)] == []


CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


RENAMED = {old.split(".")[-1]: new.split(".")[-1] for old, new in KEYS.items()}  # a renamed group does not rename its settings
RENAMED |= {option: new for (_, option), new in OPTIONS.items()}


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, new in RENAMED.items() if old != new])
def test_the_changelog_lists_every_renamed_setting_and_option(old: str, new: str) -> None:
    rows = [line for line in CHANGELOG.splitlines() if line.startswith("| ")]
    assert any(old in row and new in row for row in rows)
