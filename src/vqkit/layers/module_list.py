"""`torch.nn.ModuleList` for modules of one class, which a type checker knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class TypedModuleList(nn.ModuleList, Generic[Module]):
    """A `ModuleList` whose items have the type `Module`. At run time it behaves as its base does, with the same state dict.

    The methods below exist for type checkers alone: `torch.compile` treats the base's own methods specially.
    """

    if TYPE_CHECKING:

        def __init__(self, modules: Iterable[Module] | None = None) -> None: ...

        @overload
        def __getitem__(self, idx: slice) -> TypedModuleList[Module]: ...
        @overload
        def __getitem__(self, idx: int) -> Module: ...
        def __getitem__(self, idx: int | slice) -> Module | TypedModuleList[Module]: ...

        def __iter__(self) -> Iterator[Module]: ...
