"""Train a small model from Python, mask everything but the carcass, and fill in the rest.

    python examples/fill_in.py [STEPS]

Half a minute with the default of 300 steps; the defaults of the command line train longer and give better results.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import vqkit
from vqkit.data.opening import open_dataset
from vqkit.image_io.pictures import composite, rows_figure, save_picture
from vqkit.training.run import train

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
settings = {
    "model": {"name": "vqvae", "hidden": 32, "inner": 32},
    "data": {"name": "tyre", "num_train": 2000, "num_val": 64, "num_test": 64},
    "masking": {"warmup_epochs": 2},
    "training": {"steps": steps},
}
run = train(None, settings, [], Path("runs/example"), "auto").run

model = vqkit.load(run)
truth = open_dataset("tyre").split("test").batch(torch.arange(8)).images
filled = model.inpaint(truth, keep=["group_nc"])

given = torch.zeros_like(truth)
given[:, 0] = truth[:, 0]
rows = [
    (name, composite(model.spec.to_unit(images), model.spec))
    for name, images in (("given", given), ("filled in", filled), ("truth", truth))
]
save_picture(rows_figure(rows), Path("fill_in.png"))
sys.stdout.write(f"kept parts unchanged: {torch.equal(filled[:, 0], truth[:, 0])}; see fill_in.png\n")
