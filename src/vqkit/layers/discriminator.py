"""A discriminator of patches (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", 3.2.2).

A small convolutional network that says of each patch of a picture whether it is real. Where we depart from the paper:

- Group normalisation in place of batch normalisation. With statistics over the batch, two processes with half of a batch each
  would not be one with the whole of it, and the judgement of a picture would depend on those beside it.
- The two last convolutions are 3 x 3 and keep the grid, where the paper's are 4 x 4: so pictures of 16 x 16 can be judged too.
- As many halvings, three at most, as leave at least 4 judgements in each direction. A judgement sees 54 x 54 pixels of a large
  picture (70 x 70 in the paper), and 26 x 26 or less where a picture is smaller than 32 x 32.

Shapes: B images, C components, H x W pixels, h x w judgements.
"""

from __future__ import annotations

from torch import Tensor, nn

_MOST_HALVINGS = 3
_FEWEST_JUDGEMENTS = 4
_GROUPS = 8


class PatchDiscriminator(nn.Module):
    """How real each patch of pictures looks. `size` (H, W) of the pictures; `channels` of the first layer, a multiple of 8."""

    def __init__(self, components: int, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(components, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(_halvings(size) - 1):
            layers += _normalised(nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False))
            channels *= 2
        layers += _normalised(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False))
        self.layers = nn.Sequential(*layers, nn.Conv2d(2 * channels, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Judgements float32 [B, 1, h, w] of images [B, C, H, W] in [0, 1]: positive where they look real."""
        judgements: Tensor = self.layers(2 * images - 1)
        return judgements.float()


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.GroupNorm(_GROUPS, convolution.out_channels), nn.LeakyReLU(0.2)]


def _halvings(size: tuple[int, int]) -> int:
    """As many as leave a few judgements in the shorter direction; at least one."""
    fitting = [count for count in range(1, _MOST_HALVINGS + 1) if min(size) >> count >= _FEWEST_JUDGEMENTS]
    return len(fitting) or 1
