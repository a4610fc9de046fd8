"""Exclude methods from `torch.compile`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def never_compiled(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Exclude a function from `torch.compile`: one that decides on the host, and would be recompiled at every step.

    `torch.compiler.disable` takes a second to import, so that it is used only while compiling.
    """

    @functools.wraps(method)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        if torch.compiler.is_compiling():
            disable: Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]] = torch.compiler.disable
            return disable(method)(*arguments, **keywords)
        return method(*arguments, **keywords)

    return call
