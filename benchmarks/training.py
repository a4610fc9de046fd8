"""Training steps against pythae's trainer, and their cost a pixel: `python benchmarks/training.py [--seconds N] [--threads N]`.

- The loop: pythae's ResNet VQ-VAE for CIFAR (3 x 32 x 32, 512 codes of 16 numbers, EMA), trained by pythae's `BaseTrainer` and by
  vqkit's `Trainer`, which has vqkit's EMA quantizer between the same two networks; the same loss, batches of 64 images in
  memory. vqkit's in float32, and with the precision that it chooses by itself (bf16 where the processor has it).
- Pixels: the default `vqvae` on squares of 32 to 256 pixels, as many images as make 65,536 pixels, float32 and default precision.

Data are random images. A turn of either is a few steps: batches drawn, forward, backward, optimizer, the means of the losses.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.peers import peer
from common.report import Report, Table, Target, arguments
from common.timing import interleaved, ratio
from configurations import synthetic_images
from vqkit.config import MaskingConfig, NamedOptions, RunConfig
from vqkit.core.precision import bf16_is_fast
from vqkit.data.splits import ArraySplit
from vqkit.image_io.values import channel_names
from vqkit.interfaces import Batch, DataSpec, ShownImages, StepOutput
from vqkit.interfaces.tasks import Task, TrainingState
from vqkit.quantizers.ema import EMACodebook, EMAOptions
from vqkit.registry import MODELS
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.trainer import Trainer

NETWORKS = peer("pythae.models.nn.benchmarks.cifar", "pythae")
MODELS_OF_PEER = NETWORKS and peer("pythae.models", "pythae")
TRAINERS = NETWORKS and peer("pythae.trainers", "pythae")

BATCH, STEPS, CODES, DIM = 64, 3, 512, 16
SIZES = (32, 64, 128, 256)
PIXELS = 2**16


def squares(size: int) -> DataSpec:
    return DataSpec.uniform("squares", channel_names(3), size, size, "intensity")


def images(spec: DataSpec, count: int) -> Tensor:
    """Random images, uint8 [count, C, H, W]."""
    return synthetic_images(spec, count).mul(255).round().to(torch.uint8)


def trainer(task: Task, spec: DataSpec, count: int, batch: int, precision: str, folder: Path) -> Callable[[], None]:
    """A call that does one pass over `count` random images with vqkit's trainer."""
    settings = {"batch_size": batch, "precision": precision, "steps": 10**6, "device": "cpu"}
    config = RunConfig.model_validate({"model": {"name": "vqvae"}, "data": {"name": "tyre"}, "training": settings})
    split = ArraySplit(spec, images(spec, count))
    built = Trainer(config, folder, task, split, split, torch.device("cpu"))

    def steps() -> None:
        for each in built.loader.epoch(0, 0):
            built._train_step(task, each.to(built.device, spec))

    return steps


class SharedNetwork(Task):
    """pythae's encoder and decoder, and its loss, with vqkit's quantizer between them."""

    spec = squares(32)
    progress_metrics = ()

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.model: Any = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.model["quantizer"] = EMACodebook(EMAOptions(num_codes=CODES, dim=DIM))
        self.model.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch, state: TrainingState) -> StepOutput:
        del state
        pixels = batch.images.contiguous(memory_format=torch.channels_last)
        output = self.model["quantizer"](self.model["encoder"](pixels).embedding)
        restored = self.model["decoder"](output.features).reconstruction
        error = F.mse_loss(restored, pixels, reduction="none").flatten(1).sum(1).mean()
        loss = error + 0.25 * output.commitment_loss
        return StepOutput(loss, {"loss": loss.detach(), "recon": error.detach()}, {})

    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        raise NotImplementedError

    def log_images(self, batch: Batch) -> dict[str, ShownImages]:
        raise NotImplementedError

    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        raise NotImplementedError


def peers_trainer(folder: Path) -> tuple[Callable[[], None], Any]:
    """A call that does one pass over as many images with pythae's trainer, and the settings of its networks."""
    logging.disable(logging.WARNING)
    config = MODELS_OF_PEER.VQVAEConfig(input_dim=(3, 32, 32), latent_dim=DIM, num_embeddings=CODES, use_ema=True)
    encoder, decoder = NETWORKS.Encoder_ResNet_VQVAE_CIFAR(config), NETWORKS.Decoder_ResNet_VQVAE_CIFAR(config)
    model = MODELS_OF_PEER.VQVAE(config, encoder, decoder)
    settings = TRAINERS.BaseTrainerConfig(
        output_dir=str(folder), per_device_train_batch_size=BATCH, optimizer_cls="AdamW", no_cuda=True, learning_rate=1e-4
    )
    pixels = peer("pythae.data.datasets", "pythae").BaseDataset(
        synthetic_images(squares(32), STEPS * BATCH), torch.ones(STEPS * BATCH)
    )
    built = TRAINERS.BaseTrainer(model, pixels, training_config=settings)
    built.prepare_training()
    built.callback_handler.callbacks = []  # no progress bar
    return lambda: built.train_step(1), config


def loop_table(seconds: float, folder: Path) -> tuple[Table, list[Target]]:
    """Both trainers on the same network."""
    calls: dict[str, Callable[[], object]] = {}
    precisions = {"float32": "fp32", "default": "auto"}
    if TRAINERS is not None:
        calls["pythae"], config = peers_trainer(folder)
        for name, precision in precisions.items():
            torch.manual_seed(0)
            task = SharedNetwork(NETWORKS.Encoder_ResNet_VQVAE_CIFAR(config), NETWORKS.Decoder_ResNet_VQVAE_CIFAR(config))
            calls[name] = trainer(task, SharedNetwork.spec, STEPS * BATCH, BATCH, precision, folder)
    times = interleaved(calls, seconds) if calls else {}
    speed = {name: round(1e3 * STEPS * BATCH / value, 1) for name, value in times.items()}
    rows: list[list[Any]] = [["pythae's trainer, float32", speed.get("pythae"), 1.0 if speed else None]]
    ratios = {name: ratio(times, "pythae", name) if times else None for name in precisions}
    rows += [[f"vqkit's trainer, {name}", speed.get(name), ratios[name]] for name in precisions]
    used = "bf16" if bf16_is_fast(torch.device("cpu")) else "float32"
    table = Table(
        "The training loop, on pythae's network",
        ("loop", "images per second", "relative to pythae's"),
        rows,
        f"ResNet VQ-VAE for CIFAR, 512 codes, batches of {BATCH}. The default precision is {used} on this machine.",
    )
    targets = [
        Target("training of pythae's network: vqkit's speed over pythae's, float32", 1.0, ratios["float32"]),
        Target("the same with the default precision", 1.5, ratios["default"]),
    ]
    return table, targets


def pixels_table(seconds: float, folder: Path) -> Table:
    """The default model on squares of several sizes, with and without attention."""
    calls: dict[str, Callable[[], object]] = {}
    variants = {"float32": ("fp32", True), "default": ("auto", True), "default, no attention": ("auto", False)}
    for size in SIZES:
        spec = squares(size)
        batch = PIXELS // size**2
        for name, (precision, attention) in variants.items():
            torch.manual_seed(0)
            model = MODELS.build("vqvae", {"attention": attention}, spec).to(memory_format=torch.channels_last)
            task = AutoencoderTask(model, MaskingConfig(kind="boxes"), 0)
            calls[f"{size} {name}"] = trainer(task, spec, batch, batch, precision, folder)
    times = interleaved(calls, seconds, least=2)
    rows: list[list[Any]] = [
        [f"{size} x {size}", PIXELS // size**2, *(round(1e6 * times[f"{size} {name}"] / PIXELS) for name in variants)]
        for size in SIZES
    ]
    columns = ("image", "batch", *(f"{name}, ns a pixel" for name in variants))
    note = (
        "One training step of the default `vqvae` (stride 4): self-attention compares all positions of the code grid with all, so "
    )
    note += "its share grows with the image."
    return Table("Growth with the pixels of an image", columns, rows, note)


def main() -> None:
    given = arguments(__doc__, 40).parse_args()
    about = "Training steps: batches drawn, forward, backward, optimizer, means of the losses; random images in memory."
    report = Report("training", "Training", about, given, ["pythae"])
    with tempfile.TemporaryDirectory() as folder:
        table, report.targets = loop_table(given.seconds, Path(folder))
        print(table.rows, file=sys.stderr)
        report.tables = [table, pixels_table(given.seconds, Path(folder))]
    report.write()


if __name__ == "__main__":
    main()
