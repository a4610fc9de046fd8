"""Encode images as codes and decode them again.

    python examples/codes.py RUN

RUN is a run of `vqkit train-vqvae` on the built-in tyre sections, such as runs/latest.
"""

from __future__ import annotations

import sys

import torch

import vqkit
from vqkit.data.opening import open_dataset

model = vqkit.load(sys.argv[1])
images = open_dataset("tyre").split("test").batch(torch.arange(4)).images

(codes,) = model.encode(images)
decoded = model.decode((codes,))
bits = codes[0].numel() * torch.tensor(model.model.cardinalities[0]).log2().item()
agreement = (decoded == images).float().mean().item()
sys.stdout.write(f"{tuple(images[0].shape)} pixels -> {tuple(codes[0].shape)} codes = {bits:.0f} bits an image; ")
sys.stdout.write(f"{100 * agreement:.1f} % of the pixels come back unchanged\n")
