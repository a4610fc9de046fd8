"""A network that is asked, and does not learn from it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call


def frozen(network: nn.Module, inputs: Tensor) -> Tensor:
    """What a network makes of `inputs`, with a gradient to these and none to its parameters."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    result: Tensor = functional_call(network, parameters, (inputs,))
    return result
