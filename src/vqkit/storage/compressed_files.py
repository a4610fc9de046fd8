"""The container of compressed images (docs/compression.md): parts of a batch each, a directory, and a digest of all of it.

    offset          bytes  content
    0               8      89 56 51 4b 43 0d 0a 1a: "VQKC" between bytes that text transfers change
    8               2      version, 1; all numbers little-endian
    10                     parts, one after the other, a batch of images each
    ...                    directory: JSON, deflated (zlib)
    end - 36        4      length of the directory in bytes
    end - 32        32     SHA-256 of everything before it

`vqkit.inference.codec` says what a part holds. The digest is verified before anything else is believed, and every number is
compared with the length of the file before anything is allocated: a file that is damaged, cut or forged is refused.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vqkit.core.atomic import write_atomically
from vqkit.core.shard_records import check_digest, is_index, read_index
from vqkit.errors import CheckpointError, DataError

INDEX_KIND = "compressed images"
"""The kind of an index of compressed files."""
MAGIC = b"\x89VQKC\r\n\x1a"
VERSION = 1
MOST_IMAGES = 1024
"""Images of a part."""
_BEGIN = len(MAGIC) + 2
_DIGEST = hashlib.sha256().digest_size
_END = 4 + _DIGEST
_MOST_TEXT = 2**28
"""Longest directory, inflated: names of some million images."""
_BLOCK = 2**20


class Part(NamedTuple):
    """A batch of images: their names, and the bytes that hold them."""

    names: tuple[str, ...]
    content: bytes


@dataclass(frozen=True)
class Directory:
    """What a file says of itself.

    `prior`, `tokenizer`: digests of the models without which it cannot be read; `version`: of vqkit; `device`: on which it was
    written, cpu or cuda; `draw_steps`: see `vqkit.inference.codec.code_walk`; `lossless`: whether what codes leave out is there;
    `counts`, `sizes`: images and bytes of each part; `names`: of all images.
    """

    prior: str
    tokenizer: str
    version: str
    device: str
    draw_steps: int | None
    lossless: bool
    counts: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


class CompressedFile(NamedTuple):
    """A verified file: where it is, and its directory."""

    path: Path
    directory: Directory

    def parts(self) -> Iterator[Part]:
        """The parts, one at a time."""
        first = 0
        with self.path.open("rb") as file:
            file.seek(_BEGIN)
            for count, size in zip(self.directory.counts, self.directory.sizes, strict=True):
                content = file.read(size)
                if len(content) != size:
                    raise _damaged(self.path, "it was cut while it was read")
                yield Part(self.directory.names[first : first + count], content)
                first += count


def write_compressed(path: Path, directory: Directory, parts: Iterable[Part]) -> int:
    """Write a file, atomically, part by part; return its length. What the directory says of parts is what they are.

    Raises `OSError` when it cannot be written, and what the iteration raises.
    """
    names: list[str] = []
    counts: list[int] = []
    sizes: list[int] = []
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        digest = hashlib.sha256()

        def put(content: bytes) -> None:
            file.write(content)
            digest.update(content)

        put(MAGIC + VERSION.to_bytes(2, "little"))
        for part in parts:
            put(part.content)
            names += part.names
            counts.append(len(part.names))
            sizes.append(len(part.content))
        filled = replace(directory, counts=tuple(counts), sizes=tuple(sizes), names=tuple(names))
        packed = zlib.compress(json.dumps(asdict(filled), separators=(",", ":")).encode(), 9)
        put(packed + len(packed).to_bytes(4, "little"))
        file.write(digest.digest())
        return file.tell()


def open_compressed(path: Path) -> CompressedFile:
    """Verify a file and read its directory. Raises `DataError` when it is missing, damaged, or something else."""
    if not path.is_file():
        raise DataError(f"There is no compressed file at {path}.", "Write one with: vqkit compress IMAGES --run PRIOR --out FILE")
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        start = file.read(_BEGIN)
        if start[: len(MAGIC)] != MAGIC:
            raise DataError(f"{path} is no file of vqkit compress, or its first bytes are damaged.", "Name a file written by it.")
        if length < _BEGIN + _END:
            raise _damaged(path, "it ends too early")
        _check_digest(file, length, path)
        version = int.from_bytes(start[len(MAGIC) :], "little")
        if version != VERSION:
            raise DataError(
                f"{path} has version {version} of the format; this version of vqkit reads version {VERSION}.",
                "Read it with the version of vqkit that wrote it.",
            )
        file.seek(length - _END)
        size = int.from_bytes(file.read(4), "little")
        body = length - _END - size
        if body < _BEGIN:
            raise _damaged(path, f"its directory of {size} bytes is longer than the file")
        file.seek(body)
        return CompressedFile(path, _directory(file.read(size), body - _BEGIN, path))


def open_compressed_shards(path: Path) -> list[CompressedFile]:
    """The file at a path, or all that an index of shards names, in order. Raises `DataError` as `open_compressed` does."""
    if not is_index(path):
        return [open_compressed(path)]
    index = read_index(path, INDEX_KIND)
    return [open_compressed(check_digest(index, number)) for number in range(len(index.shards))]


def check_models(directory: Directory, prior: str, tokenizer: str, path: Path, run: Path) -> None:
    """Raise `CheckpointError` unless the file was written with the prior and the tokenizer that have these digests."""
    if directory.prior != prior:
        raise CheckpointError(
            f"{path} was compressed with the prior {directory.prior[:12]}, not with {prior[:12]} in {run}.",
            "Name the run that compressed it with --run.",
        )
    if directory.tokenizer != tokenizer:
        raise CheckpointError(
            f"{path} was compressed with the tokenizer {directory.tokenizer[:12]}, not with {tokenizer[:12]}.",
            "Name the tokenizer that compressed it with --tokenizer.",
        )


def _check_digest(file: BinaryIO, length: int, path: Path) -> None:
    """Raise `DataError` unless the file ends with the digest of what comes before; read block by block."""
    digest = hashlib.sha256()
    file.seek(0)
    left = length - _DIGEST
    while left:
        block = file.read(min(_BLOCK, left))
        if not block:
            raise _damaged(path, "it was cut while it was read")
        digest.update(block)
        left -= len(block)
    if file.read(_DIGEST) != digest.digest():
        raise _damaged(path, "its checksum does not match")


def _directory(packed: bytes, available: int, path: Path) -> Directory:
    """The directory, inflated to a bounded length and checked against the `available` bytes of parts."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, _MOST_TEXT)
        if not inflate.eof or inflate.unused_data:
            raise _damaged(path, "its directory is cut, or inflates without end")
        given = json.loads(text)
        directory = Directory(**{**given, **{name: tuple(given[name]) for name in ("counts", "sizes", "names")}})
    except (zlib.error, ValueError, TypeError, KeyError, RecursionError):
        raise _damaged(path, "its directory cannot be read") from None
    _check_types(directory, path)
    _check_numbers(directory, available, path)
    return directory


def _check_types(directory: Directory, path: Path) -> None:
    texts: list[Any] = [directory.prior, directory.tokenizer, directory.version, *directory.names]
    numbers: list[Any] = [*directory.counts, *directory.sizes, 1 if directory.draw_steps is None else directory.draw_steps]
    right = (
        all(type(each) is str for each in texts)
        and all(type(each) is int for each in numbers)
        and type(directory.lossless) is bool
        and directory.device in ("cpu", "cuda")
    )
    if not right:
        raise _damaged(path, "its directory holds values of a wrong type")


def _check_numbers(directory: Directory, available: int, path: Path) -> None:
    """Refuse parts that are not there, batches that are too large, and names that would lead out of the output directory."""
    from vqkit.interfaces.names import shown, wrong_name  # the package needs torch, which the command line does not load for --help

    counts, sizes, names = directory.counts, directory.sizes, directory.names
    fits = (
        len(counts) == len(sizes)
        and all(1 <= count <= MOST_IMAGES for count in counts)
        and all(size >= 0 for size in sizes)
        and (directory.draw_steps is None or directory.draw_steps >= 1)
    )
    if not fits or sum(sizes) != available:
        raise _damaged(path, f"the parts of which its directory speaks are not the {available} bytes that there are")
    if sum(counts) != len(names):
        raise _damaged(path, f"it has {len(names)} names for {sum(counts)} images")
    for name in names:
        fault = wrong_name(name)
        if fault is not None:
            raise _damaged(path, f"it names an image {shown(name)}, which {fault}")


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}.", "Copy it again, or compress the images again.")
