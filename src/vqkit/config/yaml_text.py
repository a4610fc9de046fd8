"""YAML as it is read and written here: the core schema of YAML 1.2, with three rules more.

Of YAML 1.1, which PyYAML reads, 010 is 8, 1:30 is 90, and yes, no, on and off are booleans; in the core schema of 1.2 only decimal,
octal (0o17) and hexadecimal (0x1f) numbers are numbers, and only true and false are booleans. Beyond that: an integer that begins
with 0 is text, which a setting that is a number reads as a decimal one, so that a component may be called 01; a number remembers
how it was written, for the same reason; and a key that is there twice is an error.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import BaseModel

from vqkit.errors import ConfigError

_INT = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_ANY_NUMBER = re.compile(r"^[-+]?[0-9][0-9_:]*$")
_YES_OR_NO = re.compile(r"^[yYnN]$")
_MERGE = re.compile(r"^<<$")
_TAG = "tag:yaml.org,2002:"
_DIGITS = "-+0123456789."


class WrittenInt(int):
    """An integer that was written in another way than Python writes it, such as 0x1f; as text it is what was written."""

    def __new__(cls, text: str) -> WrittenInt:
        """Raises `ValueError` when the text is no integer."""
        number = super().__new__(cls, int(text, 0))
        number._text = text
        return number

    _text: str

    def __str__(self) -> str:
        return self._text


class WrittenFloat(float):
    """A number that was written in another way than Python writes it, such as 1.10; as text it is what was written."""

    def __new__(cls, text: str) -> WrittenFloat:
        """Raises `ValueError` when the text is no number."""
        number = super().__new__(cls, text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        number._text = text
        return number

    _text: str

    def __str__(self) -> str:
        return self._text


class _DuplicateKey(yaml.YAMLError):
    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(key)
        self.key, self.first, self.second = key, first, second


class _Loader(yaml.SafeLoader):
    """Reads the core schema, and `<<` for merging mappings."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping. Raises `_DuplicateKey` for a key that is there twice."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise _DuplicateKey(key.value, lines[key.value], line)
                lines[key.value] = line
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are text as it was written: the names of settings, or of components."""
        self.flatten_mapping(node)
        mapping = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "keys must be text", key.start_mark)
            mapping[key.value] = self.construct_object(value, deep=deep)
        return mapping

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """An integer, which remembers how it was written."""
        number = WrittenInt(node.value)
        return int(number) if int.__repr__(number) == node.value else number

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A floating-point number, which remembers how it was written."""
        number = WrittenFloat(node.value)
        return float(number) if float.__repr__(number) == node.value else number


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would read as something else."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("int", _INT, _DIGITS),
    ("float", _FLOAT, _DIGITS),
    ("bool", _BOOL, "tTfF"),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("merge", _MERGE, "<"),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_tag}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"{_TAG}{_tag}", _pattern, list(_first))
_Dumper.add_implicit_resolver(f"{_TAG}int", _ANY_NUMBER, list(_DIGITS))
_Dumper.add_implicit_resolver(f"{_TAG}bool", _YES_OR_NO, list("yYnN"))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_number)


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML safely. Raises `ConfigError` naming `source` and the line when it is not YAML, or has a key twice."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader of another schema
    except _DuplicateKey as error:
        where = f"{source}, line {error.second}" if error.second > error.first else source
        line = f" in line {error.first}" if error.second > error.first else ""
        raise ConfigError(f"{where} sets '{error.key}', which is set{line} already.", "Keep one of the two.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer of too many digits
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{source}{line} is not valid YAML.", "Check indentation, colons and quotes there.") from None


def dump_yaml(settings: BaseModel) -> str:
    """The settings as YAML, in the order of their definition; texts are read as texts by YAML 1.1 and by 1.2."""
    return yaml.dump(settings.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
