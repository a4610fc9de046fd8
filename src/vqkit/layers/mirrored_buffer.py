"""A buffer of one number whose value is also kept on the host."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import nn

Number = TypeVar("Number", bound=int)


class MirroredBuffer(Generic[Number]):
    """Registers a buffer [] with a module, and reads and writes its value without waiting for a GPU.

    The buffer is what is saved, and what moves between devices. Its value is read once, and again after a state was loaded:
    whoever changes the buffer in another way must do so before the first `read`.
    """

    def __init__(self, module: nn.Module, name: str, value: Number) -> None:
        module.register_buffer(name, torch.tensor(value))
        # mypy: the method of torch has no annotations.
        module.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call]
        self._module = module
        self._name = name
        self._type = type(value)
        self._value: Number | None = None

    def read(self) -> Number:
        """The value. The first call, and the first one after a state was loaded, waits for the buffer's device."""
        if self._value is None:
            self._value = self._type(self._module.get_buffer(self._name).item())
        return self._value

    def write(self, value: Number) -> None:
        """Change the value, on the host and on the device."""
        self._module.get_buffer(self._name).fill_(value)
        self._value = value

    def _forget(self, module: nn.Module, incompatible_keys: object) -> None:
        del module, incompatible_keys
        self._value = None
