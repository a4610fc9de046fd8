from __future__ import annotations

import torch
from torch import nn

from vqkit.layers.module_list import TypedModuleList


def layers() -> TypedModuleList[nn.Linear]:
    torch.manual_seed(0)
    return TypedModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])


def test_it_has_the_state_dict_of_a_plain_module_list() -> None:
    torch.manual_seed(0)
    plain = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])
    assert list(layers().state_dict()) == list(plain.state_dict())
    plain.load_state_dict(layers().state_dict())


def test_items_and_slices_keep_the_type_of_the_modules() -> None:
    typed = layers()
    assert [layer.in_features for layer in typed] == [2, 3]
    assert typed[-1].out_features == 4
    assert [layer.out_features for layer in typed[:1]] == [3]


def test_torch_handles_it_as_a_module_list() -> None:
    assert TypedModuleList.__iter__ is nn.ModuleList.__iter__, "torch.compile looks for the base's own methods"
    assert TypedModuleList.__getitem__ is nn.ModuleList.__getitem__
