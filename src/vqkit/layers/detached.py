"""Applying a network without training it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call


def with_detached_parameters(network: nn.Module, inputs: Tensor) -> Tensor:
    """`network(inputs)` with a gradient to the inputs and none to the network's parameters."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    result: Tensor = functional_call(network, parameters, (inputs,))
    return result
