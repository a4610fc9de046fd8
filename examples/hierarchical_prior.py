"""Train a VQ-VAE-2 with two levels of codes, and a prior over both in a custom loop: p(top) and p(bottom | top).

    python examples/hierarchical_prior.py [STEPS]

A few minutes with the default of 300 steps each. `vqkit train-prior --prior hierarchical` does the second half with checkpoints,
conditions and held-out metrics; this example shows the underlying functions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import vqkit
from vqkit.data.opening import open_dataset
from vqkit.image_io.pictures import composite, rows_figure, save_picture
from vqkit.inference.conditioning import code_spec
from vqkit.models.vqvae2 import VQVAE2
from vqkit.priors.hierarchical import HierarchicalOptions, HierarchicalPixelCNN
from vqkit.training.run import train

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
settings = {
    "model": {"name": "vqvae2", "hidden": 32, "inner": 32, "quantizer": {"num_codes": 128}},
    "data": {"name": "tyre", "num_train": 2000, "num_val": 64, "num_test": 64},
    "masking": {"warmup_epochs": 2},
    "training": {"steps": steps},
}
vqvae2 = vqkit.load(train(None, settings, [], Path("runs/example-vqvae2"), "auto").run, device="cpu").tokenizer
assert isinstance(vqvae2, VQVAE2)

# Levels may have different settings. The bottom level is conditioned on the top level.
options = HierarchicalOptions(channels=(48, 32), layers=(6, 4), attention=(1, 0))
prior = HierarchicalPixelCNN(options, code_spec(vqvae2, ()))
optimizer = torch.optim.Adam(prior.parameters(), lr=2e-3)

sections = open_dataset("tyre").split("train")
for step in range(steps):
    images = sections.batch(torch.arange(32 * step, 32 * step + 32) % len(sections)).images / 255
    codes = vqvae2.get_code_indices(images)
    losses = prior.loss_function(codes["indices_top"], codes["indices_bottom"])
    optimizer.zero_grad()
    losses["total_loss"].backward()
    optimizer.step()
    if step % 50 == 0 or step == steps - 1:
        figures = ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
        sys.stdout.write(f"step {step}: nats per code: {figures}\n")

# Sample new sections in one call; a lower temperature for the top gives more typical layouts.
prior.eval()
samples = prior.sample_with_vqvae2(vqvae2, batch_size=8, temperature=(0.9, 1.0))

# The same step by step: codes, their quantised features, pixels.
z_top, z_bottom = prior.sample(batch_size=8, temperature=(0.9, 1.0))
with torch.no_grad():
    quantized = [quantizer.decode(indices) for quantizer, indices in zip(vqvae2.quantizers, (z_top, z_bottom), strict=True)]
    unknown = vqvae2.spec.unknown_conditions(8)
    step_by_step = vqvae2.mean(vqvae2.logits(quantized, unknown))

# One top with eight bottoms shows the variation that the bottom level contributes.
one_top = z_top[:1].expand_as(z_top)
with torch.no_grad():
    mixed = vqvae2.decode((one_top, z_bottom), unknown)
rows = [("samples", composite(samples, vqvae2.spec)), ("first top", composite(mixed, vqvae2.spec))]
save_picture(rows_figure(rows), Path("hierarchical.png"))
grids = " and ".join(f"{height} x {width}" for height, width in vqvae2.code_shapes)
sys.stdout.write(f"{grids} codes; step by step the same: {torch.equal(step_by_step, samples)}; see hierarchical.png\n")
