"""The default batch of a training set that is smaller than it: the whole set."""

from __future__ import annotations

from pathlib import Path

from vqkit.config import AnyRunConfig
from vqkit.core import distributed
from vqkit.training.data_identity import recorded_images


def with_fitting_batch(config: AnyRunConfig, images: int) -> AnyRunConfig:
    """The configuration with a batch size that `images` training images allow, where nobody has asked for one.

    The default becomes the largest number of images that processes and passes can share equally; a batch size that was given
    stays as it is.
    """
    training = config.training
    if "batch_size" in training.model_fields_set or training.batch_size <= images:
        return config
    parts = distributed.world_size() * training.accumulate
    return _with_batch(config, images // parts * parts) if images >= max(parts, 2) else config


def keep_fitting_batch(run: Path, config: AnyRunConfig, earlier: int) -> AnyRunConfig:
    """The configuration with the batch size `earlier` of the run in this directory, where nobody has asked for another.

    Only if its training images are fewer than the default, so that the default could not be trained with.
    """
    training = config.training
    if "batch_size" in training.model_fields_set or earlier >= training.batch_size:
        return config
    images = recorded_images(run)
    return config if images is None or images >= training.batch_size else _with_batch(config, earlier)


def _with_batch(config: AnyRunConfig, size: int) -> AnyRunConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"batch_size": size})})
