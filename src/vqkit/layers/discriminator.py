"""A discriminator of patches (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", 3.2.2).

A small convolutional network that classifies each patch of an image as real or fake. Where we depart from the paper:

- Group normalisation in place of batch normalisation. With batch statistics, two processes with half a batch each would differ
  from one with the whole batch, and the logits of an image would depend on the rest of its batch.
- The two last convolutions are 3 x 3 and keep the grid, where the paper's are 4 x 4: so images of 16 x 16 are large enough, too.
- As many downsamplings, at most three, as leave at least 4 patches in each direction. The receptive field of a logit is 54 x 54
  pixels in a large image (70 x 70 in the paper), and 26 x 26 or less in an image smaller than 32 x 32.

Shapes: B images, C components, H x W pixels, h x w patches.
"""

from __future__ import annotations

from torch import Tensor, nn

_MAX_DOWNSAMPLINGS = 3
_MIN_PATCHES = 4
_GROUPS = 8


class PatchDiscriminator(nn.Module):
    """A logit for each patch of an image. `size`: (H, W) of the images; `channels`: of the first layer, a multiple of 8."""

    def __init__(self, components: int, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(components, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(_downsamplings(size) - 1):
            layers += _normalised(nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False))
            channels *= 2
        layers += _normalised(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False))
        self.layers = nn.Sequential(*layers, nn.Conv2d(2 * channels, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 [B, 1, h, w] of images [B, C, H, W] in [0, 1]: positive where they look real."""
        logits: Tensor = self.layers(2 * images - 1)
        return logits.float()


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.GroupNorm(_GROUPS, convolution.out_channels), nn.LeakyReLU(0.2)]


def _downsamplings(size: tuple[int, int]) -> int:
    """As many as leave enough patches along the shorter side; at least one."""
    fitting = [count for count in range(1, _MAX_DOWNSAMPLINGS + 1) if min(size) >> count >= _MIN_PATCHES]
    return len(fitting) or 1
