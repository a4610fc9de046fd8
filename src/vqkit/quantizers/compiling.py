"""What stays outside of `torch.compile`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def never_compiled(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Leave a method out of `torch.compile`: one that counts on the host, for which every step would be compiled anew.

    `torch.compiler.disable` costs seconds when it is imported, which nobody should pay who does not compile.
    """

    @functools.wraps(method)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        if torch.compiler.is_compiling():
            disable: Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]] = torch.compiler.disable
            return disable(method)(*arguments, **keywords)
        return method(*arguments, **keywords)

    return call
