"""The contracts between the packages of vqkit. Read this first.

`components`: what the values of a component mean. `data`: what an image is, data sets and their batches. `models`: autoencoders,
tokenizers and quantizers. `likelihoods`: of an image given logits. `priors`: models of codes, and settings of sampling. `tasks`:
what is trained, and what a training step gives back. `picture_losses`: losses added to those of a model. `methods`: self-supervised
pretraining. The names used most can be imported from here.

Shapes, everywhere: B images, C components (or colour channels), H x W pixels, D condition values or code dimensions,
K codes, h x w the grid of codes. `observed` is True where a pixel is known.
"""

from __future__ import annotations

from vqkit.interfaces.components import ComponentSpec
from vqkit.interfaces.data import (
    SPLITS,
    Batch,
    Codes,
    ConditionSpec,
    DataSpec,
    ImageDataset,
    Split,
    SplitName,
    check_images,
    fully_observed,
    where_present,
)
from vqkit.interfaces.likelihoods import Likelihood
from vqkit.interfaces.models import Autoencoder, Context, EncoderPart, Quantized, Quantizer, Reconstruction, Tokenizer
from vqkit.interfaces.priors import CodeSpec, Conditioning, Prior
from vqkit.interfaces.tasks import OptimizerGroup, ShownImages, StepOutput

__all__ = [
    "SPLITS",
    "Autoencoder",
    "Batch",
    "CodeSpec",
    "Codes",
    "ComponentSpec",
    "ConditionSpec",
    "Conditioning",
    "Context",
    "DataSpec",
    "EncoderPart",
    "ImageDataset",
    "Likelihood",
    "OptimizerGroup",
    "Prior",
    "Quantized",
    "Quantizer",
    "Reconstruction",
    "ShownImages",
    "Split",
    "SplitName",
    "StepOutput",
    "Tokenizer",
    "check_images",
    "fully_observed",
    "where_present",
]
