"""Seeded changes of files: of bytes, of words of a text, and of the JSON headers of safetensors files."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from vqkit.storage.headers import sealed

Mutation = Callable[[bytes, random.Random], bytes]

_WORD = re.compile(rb"[A-Za-z0-9_.+-]+")
_WORDS: list[bytes] = [
    *(
        str(number).encode()
        for number in (0, -1, 1, 7, 255, 2**31, 2**63, 10**30, "1e309", "1e-3", "nan", "inf", "-inf", "0x10", "010")
    ),
    *(
        b"",
        b"null",
        b"true",
        b"on",
        b"~",
        b"[]",
        b"{}",
        b"[[[",
        b"&a",
        b"*a",
        b"!!python/object/apply:os.system",
        b"<<",
        b"'",
        b'"',
        b":",
    ),
    *(
        b"../../escape",
        b"/tmp/escape",
        b"..",
        b".",
        b"a" * 300,
        b"b/" * 2000,
        b"\0",
        b"\xff\xfe",
        "ä€😀\u202e".encode(),
        b"\x1b[31m",
    ),
]
_VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 17, 10**9, 2**53, 10**30, -(2**40), 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "..", "../../escape", "/tmp/escape", "a" * 300, "\0", "\ud800", "vqvae", "binary", "float64"),
    *([], [1], [[]], [None] * 3, [10**6, 10**6], {}, {"name": "x"}, [{}] * 4),
]


def any_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few changes at random places, more of them where a header may be."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        size = max(1, len(changed))
        start = draw.randrange(min(size, draw.choice((16, 128, 1024, size))))
        kind = draw.randrange(7)
        if kind == 0:
            changed[start : start + 1] = bytes([draw.randrange(256)])
        elif kind == 1 and start < len(changed):
            changed[start] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del changed[start:]
        elif kind == 3:
            del changed[start : start + draw.randrange(1, 64)]
        elif kind == 4:
            changed[start:start] = draw.randbytes(draw.randrange(1, 64))
        elif kind == 5:
            width = draw.choice((2, 4, 8))
            number = draw.choice(
                (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, 65536 % 2 ** (8 * width))
            )
            changed[start : start + width] = number.to_bytes(width, draw.choice(("little", "big")))
        else:
            other = draw.randrange(size)
            changed[start : start + 32] = changed[other : other + 32]
    return bytes(changed)


def any_text(content: bytes, draw: random.Random) -> bytes:
    """Words and lines of a text, or any of its bytes."""
    if draw.random() < 0.2:
        return any_bytes(content, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        words = list(_WORD.finditer(content))
        lines = content.split(b"\n")
        kind = draw.randrange(6)
        if kind < 4 and words:
            word = draw.choice(words)
            replaced = draw.choice(words).group() if kind == 3 else draw.choice(_WORDS)
            content = content[: word.start()] + replaced + content[word.end() :]
        elif kind == 4:
            lines.insert(draw.randrange(len(lines) + 1), draw.choice((draw.choice(lines), draw.choice(_WORDS), b"[" * 5000)))
            content = b"\n".join(lines)
        else:
            del lines[draw.randrange(len(lines))]
            content = b"\n".join(lines)
    return content


def any_json(content: bytes, draw: random.Random) -> bytes:
    """A value somewhere in a JSON document, or any of its text."""
    if draw.random() < 0.3:
        return any_text(content, draw)
    return json.dumps(_changed(json.loads(content), draw)).encode()


def any_safetensors(content: bytes, draw: random.Random) -> bytes:
    """The header of a safetensors file: what it says of tensors, and what vqkit says there, with right digests; or any byte."""
    if draw.random() < 0.25:
        return any_bytes(content, draw)
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    said = header.get("__metadata__", {})
    if "vqkit" in said and draw.random() < 0.8:
        meaning = json.loads(said["vqkit"])
        digest = meaning.pop("digest", "")
        meaning.pop("header_digest", None)
        said["vqkit"] = sealed(_changed(meaning, draw), digest) if draw.random() < 0.9 else json.dumps(_changed(meaning, draw))
    elif "vqkit_spec" in said and draw.random() < 0.8:
        said["vqkit_spec"] = json.dumps(_changed(json.loads(said["vqkit_spec"]), draw))
        for name in ("vqkit_spec_digest", "vqkit_digests"):
            said.pop(name, None)
    else:
        said.pop("vqkit_digests", None)
        header = _changed(header, draw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def _changed(tree: Any, draw: random.Random) -> Any:
    """The tree with one to three of its values changed, left out, or moved."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        _collect(tree, places)
        if not places:
            return tree
        parent, key = draw.choice(places)
        kind = draw.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            other, place = draw.choice(places)
            value = other[place]
            parent[key] = json.loads(json.dumps(value))
        elif kind == 2 and isinstance(parent, dict):
            parent[draw.choice(("x", "name", "", "../a", "kind"))] = parent.pop(key)
        elif kind == 3 and isinstance(parent[key], int):
            parent[key] = parent[key] + draw.choice((-1, 1, 2, 64)) if draw.random() < 0.5 else parent[key] * draw.choice((2, 1000))
        elif kind == 4 and isinstance(parent[key], list) and parent[key]:
            parent[key] = parent[key] * draw.choice((2, 100))
        else:
            parent[key] = draw.choice(_VALUES)
    return tree


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    """Every place in a tree of JSON, as its container and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        places.append((tree, key))
        _collect(tree[key], places)
