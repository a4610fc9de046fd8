"""What stays outside of `torch.compile`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def never_compiled(method: Function) -> Function:
    """Leave a method out of `torch.compile`: one that counts on the host, for which every step would be compiled anew.

    `torch.compiler.disable` costs seconds when it is imported, which nobody should pay who does not compile.
    """

    @functools.wraps(method)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if torch.compiler.is_compiling():
            disable: Callable[[Function], Function] = torch.compiler.disable
            return disable(method)(*arguments, **keywords)
        return method(*arguments, **keywords)

    return cast(Function, call)
