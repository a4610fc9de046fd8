"""Files of arrays: `.npy` (one array), `.npz` and `.safetensors` (several by name). Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqkit.errors import DataError, reason_of
from vqkit.image_io.array_headers import PARSING, check_archive, check_array_file

Arrays = Mapping[str, NDArray[Any]]


_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # an archive that is encrypted, or compressed in a way that Python does not know
    SafetensorError,
)


@contextmanager
def array_errors(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file of arrays inside the block is a `DataError` that names it."""
    try:
        yield
    except PermissionError:
        raise DataError(f"The file {path} may not be read.", "Change its permissions.") from None
    except _DAMAGED as error:
        hint = "It is damaged, or holds Python objects that would have to be unpickled, which vqkit never does. Save plain numbers."
        raise DataError(f"{path} cannot be read as {path.suffix[1:] or 'an array'}: {reason_of(str(error))}.", hint) from None


def map_array(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """The array of a `.npy` file, memory-mapped: read-only, or (`c`) copied where it is written to. Raises `DataError`."""
    with array_errors(path):
        check_array_file(path)
        with PARSING:
            array = np.load(path, mmap_mode=mode, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive named .npy")
    return array


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays in a file by name, memory-mapped where the format allows it, and a safetensors file's metadata.

    Raises `DataError` for a file that is damaged or may not be read.
    """
    if path.suffix.lower() == ".npy":
        return {path.stem: map_array(path, "c")}, {}
    with array_errors(path):
        if path.suffix.lower() == ".npz":
            check_archive(path)
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}, {}
        with safe_open(path, framework="pt") as file:
            return {name: _as_numpy(file.get_tensor(name)) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no mapping


def _as_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array; of bfloat16, which NumPy has not, as float32, which holds every value of it."""
    array: NDArray[Any] = (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
