"""Features of VGG-16 (Simonyan & Zisserman 2015), trained on ImageNet, for perceptual distances.

The weights are torchvision's, from its cache or downloaded, or come from a .safetensors file, which needs no internet access.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.core.torchvision_import import import_torchvision
from vqkit.errors import ConfigError

SMALLEST_SIDE = 16
"""Pixels; the network downsamples an image four times before its last features."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_HINT = (
    "Name a file of the weights with --set loss.perceptual_weights=FILE.safetensors; docs/sharp_pictures.md says how to make one."
)


class VGGFeatures:
    """The five feature maps of VGG-16 before each downsampling (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3).

    Frozen, and not a module, so that it is neither trained nor saved. `weights` are named as in the network's `features`
    (`0.weight`, ...) or in the whole network (`features.0.weight`, ...). Raises `ConfigError`, naming their `source`, when they
    belong to another network, or when torchvision, which defines the network, cannot be imported.
    """

    def __init__(self, weights: Mapping[str, Tensor], source: str, device: torch.device) -> None:
        import_torchvision()
        from torchvision.models.vgg import cfgs, make_layers

        with torch.device("meta"):  # the initial weights would be replaced at once
            layers = make_layers(cfgs["D"])
        inner = {name.removeprefix("features."): value for name, value in weights.items() if name.startswith("features.")}
        try:
            layers.load_state_dict({name: value.float() for name, value in (inner or weights).items()}, assign=True)
        except RuntimeError:
            raise ConfigError(f"{source} does not hold the features of VGG-16.", _HINT) from None
        layers.requires_grad_(False).to(device, memory_format=torch.channels_last)
        self._blocks: list[nn.Sequential] = []
        block: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                self._blocks.append(nn.Sequential(*block))
                block = []
            block.append(layer)
        self._mean, self._std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (_MEAN, _STD))

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Features [B, D, h, w], finest first, of images [B, C, H, W] in [0, 1]: colour (C = 3), or grey (C = 1), repeated to 3."""
        hidden = (images.expand(-1, 3, -1, -1) - self._mean) / self._std
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        maps = []
        for block in self._blocks:
            hidden = block(hidden)
            maps.append(hidden)
        return maps


def load_vgg(path: str | None, device: torch.device) -> VGGFeatures:
    """The features with the weights of a .safetensors file, or with torchvision's own.

    Raises `ConfigError` when the weights cannot be loaded or belong to another network.
    """
    if path is None:
        return VGGFeatures(_torchvision_weights(), "torchvision's download", device)
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"There is no file {path}, which loss.perceptual_weights names.", _HINT)
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"The weights in {path} cannot be read: {error}.", _HINT) from None
    return VGGFeatures(weights, path, device)


def _torchvision_weights() -> dict[str, Tensor]:
    """torchvision's weights, from its cache, or downloaded by one process while the others wait."""
    weights = _fetch() if distributed.is_main() else {}
    distributed.barrier()
    return weights or _fetch()


def _fetch() -> dict[str, Tensor]:
    import_torchvision()
    from torchvision.models import VGG16_Weights

    try:
        with redirect_stdout(sys.stderr):  # torch prints the progress of the download
            weights: dict[str, Tensor] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"loss.perceptual needs torchvision's weights of VGG-16, which are not in {torch.hub.get_dir()} and cannot be "
            f"downloaded: {getattr(error, 'reason', error)}.",
            _HINT,
        ) from error
    except Exception as error:  # torch raises errors of many types for a damaged file
        raise ConfigError(
            f"torchvision's weights of VGG-16 in {torch.hub.get_dir()} are damaged.", f"Remove them and try again. {_HINT}"
        ) from error
    return weights
