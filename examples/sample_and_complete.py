"""Train a small model and two small priors over its codes, sample new sections by width, and complete one in several ways.

    python examples/sample_and_complete.py [STEPS]

A few minutes with the default of 400 steps each; the defaults of the command line train longer and give better results.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import vqkit
from vqkit.config import PriorRunConfig
from vqkit.data.opening import open_dataset
from vqkit.image_io.pictures import composite, rows_figure, save_picture
from vqkit.training.run import train

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 400
tokenizer = {
    "model": {"name": "vqvae", "hidden": 32, "inner": 32, "quantizer": {"num_codes": 128}},
    "data": {"name": "tyre", "num_train": 2000, "num_val": 64, "num_test": 64},
    "masking": {"warmup_epochs": 2},
    "training": {"steps": steps},
}
run = train(None, tokenizer, [], Path("runs/example-tokenizer"), "auto").run


def train_prior(conditioning: str) -> Path:
    settings = {
        "prior": {"name": "pixelcnn", "channels": 32, "layers": 4},
        "tokenizer": {"run": str(run)},
        "conditioning": {"condition_on": [conditioning]},
        "training": {"steps": steps, "learning_rate": 2e-3},
    }
    return train(None, settings, [], Path(f"runs/example-prior-{conditioning}"), "auto", PriorRunConfig).run


# New sections: a row uses the same random noise, only the width changes.
sampler = vqkit.load_sampler(train_prior("metadata"))
widths = [42, 46, 50, 54]
sampling = vqkit.Sampling(guidance_scale=2, seed=1)
columns = [sampler.sample(3, {"width_px": width}, sampling=sampling).images for width in widths]
spec = sampler.spec
samples = [torch.stack(row) for row in zip(*columns, strict=True)]
rows = [(f"sample {number}", composite(spec.to_unit(images), spec)) for number, images in enumerate(samples)]
save_picture(rows_figure(rows, titles=[f"width_px {width}" for width in widths]), Path("sweep.png"))

# Only the carcass of a section is observed: sample plausible completions.
completer = vqkit.load_sampler(train_prior("observed"))
truth = open_dataset("tyre").split("test").batch(torch.arange(2)).images
observed = torch.zeros(truth.shape, dtype=torch.bool)
observed[:, 0] = True
completions = completer.complete(truth, observed, 6, sampling=sampling)
rows = [(f"section {number}", composite(spec.to_unit(answers), spec)) for number, answers in enumerate(completions.images)]
save_picture(rows_figure(rows, titles=[f"{rank}." for rank in range(1, 7)]), Path("completions.png"))

kept = torch.equal(completions.images[:, :, 0], truth[:, None, 0].expand(-1, 6, -1, -1))
differ = (completions.uncertainty > 0).float().mean().item()
sys.stdout.write(f"kept parts unchanged: {kept}; completions differ in {100 * differ:.1f} % of the values; ")
sys.stdout.write("see sweep.png and completions.png\n")
