"""MultiVae beside vqkit: `python benchmarks/multivae_peer.py DATA --run RUN --minutes M [--trial-minutes T] [--out FILE]`.

MultiVae (Senellart et al. 2025, "MultiVae: A Python package for Multimodal Variational Autoencoders") is a public library for
missing modalities. Each component is a modality with a convolutional encoder and decoder, float unit values and a normal
likelihood. Its models and settings in `CANDIDATES` are tried for T minutes each; the one with the least mean squared error over all
questions on validation images goes on for M minutes altogether. Then it and the model of RUN (a run of train-vqvae on DATA) answer
the same questions on the same test images: each component kept alone, and left out alone. What is compared is the error on what is
missing (pooled over images); a ratio above 1 says how many times larger that of MultiVae is.

Training minutes are CPU minutes of one thread. Needs `pip install multivae`.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from vqkit.core.torchvision_import import import_torchvision

import_torchvision()  # MultiVae imports it too, and cannot do so beside a CPU-only build of torch

import torch  # noqa: E402
from multivae.data.datasets.base import MultimodalBaseDataset  # noqa: E402
from multivae.models import MVAE, MVTCAE, MoPoE, MoPoEConfig, MVAEConfig, MVTCAEConfig  # noqa: E402
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from common.machine import describe_machine, describe_versions, publish  # noqa: E402
from vqkit.data.opening import open_dataset  # noqa: E402
from vqkit.interfaces import DataSpec, Split  # noqa: E402
from vqkit.storage.checkpoints import load_model  # noqa: E402


class Candidate(NamedTuple):
    """A model of MultiVae: its name there, latent dimensions, standard deviation of the likelihood."""

    model: str
    latent: int
    deviation: float


CANDIDATES = tuple(Candidate(model, 128, deviation) for model in ("MVTCAE", "MoPoE", "MVAE") for deviation in (0.1, 0.3))
CONFIGURATIONS = {"MVTCAE": (MVTCAE, MVTCAEConfig), "MoPoE": (MoPoE, MoPoEConfig), "MVAE": (MVAE, MVAEConfig)}
BATCH, WIDTH = 64, 32


class Encoder(BaseEncoder):
    """Three convolutions of stride 2, then mean and log-variance."""

    def __init__(self, latent: int, height: int, width: int) -> None:
        super().__init__()
        self.latent_dim = latent
        channels = [1, WIDTH, 2 * WIDTH, 4 * WIDTH]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * (height // 8) * (width // 8), 2 * latent))

    def forward(self, x: Tensor) -> ModelOutput:
        """[B, 1, H, W] to mean and log-variance [B, latent]."""
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """The mirror image of the encoder."""

    def __init__(self, latent: int, height: int, width: int) -> None:
        super().__init__()
        channels = [4 * WIDTH, 2 * WIDTH, WIDTH, 1]
        rows, columns = height // 8, width // 8
        layers: list[nn.Module] = [nn.Linear(latent, channels[0] * rows * columns), nn.Unflatten(1, (channels[0], rows, columns))]
        for before, after in pairwise(channels):
            layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> ModelOutput:
        """[B, latent] to [B, 1, H, W]."""
        return ModelOutput(reconstruction=self.layers(z))


class Trained:
    """A model of MultiVae in training, with the CPU seconds that it took."""

    def __init__(self, candidate: Candidate, spec: DataSpec, training: Split) -> None:
        self.candidate, self.names, self.seconds = candidate, spec.components, 0.0
        kind, configuration = CONFIGURATIONS[candidate.model]
        torch.manual_seed(0)
        size = candidate.latent, spec.height, spec.width
        settings = configuration(
            n_modalities=len(self.names),
            latent_dim=candidate.latent,
            input_dims=dict.fromkeys(self.names, (1, spec.height, spec.width)),
            decoders_dist=dict.fromkeys(self.names, "normal"),
            decoder_dist_params={name: {"scale": candidate.deviation} for name in self.names},
        )
        self.model = kind(
            settings, encoders={name: Encoder(*size) for name in self.names}, decoders={name: Decoder(*size) for name in self.names}
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.spec, self.training = spec, training
        self.generator = torch.Generator().manual_seed(0)

    def train(self, seconds: float) -> None:
        """Go on until `seconds` of CPU time were spent altogether."""
        self.model.train()
        while self.seconds < seconds:
            start = time.process_time()
            numbers = torch.randint(len(self.training), (BATCH,), generator=self.generator)
            images = self.training.batch(numbers).to(torch.device("cpu"), self.spec).images
            if bool(torch.rand((), generator=self.generator) < 0.5):
                images = images.flip(3)
            loss = self.model(self.modalities(images), epoch=100).loss
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1000)
            self.optimizer.step()
            self.seconds += time.process_time() - start

    @torch.no_grad()
    def predict(self, images: Tensor, kept: list[str]) -> Tensor:
        """Expected values [B, C, H, W], from the mean of the latent given the kept components."""
        self.model.eval()
        drawn = self.model.encode(self.modalities(images), cond_mod=kept, N=1, return_mean=True)
        decoded = self.model.decode(drawn)
        return torch.cat([decoded[name].reshape(len(images), 1, *images.shape[2:]) for name in self.names], dim=1)

    def modalities(self, images: Tensor) -> MultimodalBaseDataset:
        """Images [B, C, H, W] as MultiVae takes them."""
        return MultimodalBaseDataset(data={name: images[:, [number]] for number, name in enumerate(self.names)})


def squared_errors(predict: Any, split: Split, spec: DataSpec, questions: list[list[str]]) -> list[float]:
    """The mean squared error of each question over all missing pixels of a split."""
    sums, counts = [0.0] * len(questions), [0] * len(questions)
    for numbers in torch.split(torch.arange(len(split)), BATCH):
        images = split.batch(numbers).to(torch.device("cpu"), spec).images
        for number, kept in enumerate(questions):
            missing = [place for place, name in enumerate(spec.components) if name not in kept]
            error = predict(images, kept)[:, missing] - images[:, missing]
            sums[number] += float(error.double().square().sum())
            counts[number] += error.numel()
    return [total / count for total, count in zip(sums, counts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--run", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--trial-minutes", type=float, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(arguments.run)
    model, spec = loaded.model.eval(), loaded.model.spec
    dataset = open_dataset(loaded.data)
    training, validation, test = (dataset.split(name) for name in ("train", "val", "test"))
    names = list(spec.components)
    questions = [[name] for name in names] + [[other for other in names if other != name] for name in names]
    tried = []
    for candidate in CANDIDATES:
        trained = Trained(candidate, spec, training)
        trained.train(60 * arguments.trial_minutes)
        errors = squared_errors(trained.predict, validation, spec, questions)
        tried.append((sum(errors) / len(errors), trained))
    _, best = min(tried, key=lambda each: each[0])
    best.train(60 * arguments.minutes)

    @torch.no_grad()
    def ours(images: Tensor, kept: list[str]) -> Tensor:
        observed = torch.tensor([name in kept for name in names])[None, :, None, None].expand_as(images)
        return model.complete(images, observed, spec.unknown_conditions(len(images)))

    theirs, own = (squared_errors(predict, test, spec, questions) for predict in (best.predict, ours))
    rows = [
        {
            "kept": kept,
            "multivae_psnr": -10 * math.log10(their),
            "vqkit_psnr": -10 * math.log10(our),
            "ratio_of_errors": their / our,
        }
        for kept, their, our in zip(questions, theirs, own, strict=True)
    ]
    content = {
        "machine": describe_machine(),
        "versions": describe_versions("multivae"),
        "chosen": best.candidate._asdict(),
        "cpu_minutes": best.seconds / 60,
        "tried_on_validation": [{**each.candidate._asdict(), "mse": error} for error, each in tried],
        "questions": rows,
    }
    publish(content, arguments.out)


if __name__ == "__main__":
    main()
