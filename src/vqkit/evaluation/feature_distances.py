"""FID and LPIPS between images and their reconstructions: distances between features of networks trained on photographs.

torchmetrics computes both. FID's network comes with the extra `vqkit[fid]`; the weights of both are downloaded at their first use.
Networks and weights are loaded when a meter is made, so what is missing is reported before anything is measured.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.core.torchvision_import import import_torchvision
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec

SMALLEST_SIDE = 31
"""Pixels per side below which a feature map of AlexNet, the network of LPIPS, is empty."""
_NO_WEIGHTS = (OSError, RuntimeError, EOFError, http.client.HTTPException)


class FeatureDistances:
    """FID and LPIPS over a data set, whichever are requested, over all processes.

    FID (Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", section 3): the Frechet distance between Gaussians
    fitted to the features of all images and of all reconstructions, rounded to 8 bits. LPIPS (Zhang et al. 2018, "The Unreasonable
    Effectiveness of Deep Features", section 3, AlexNet): a distance of each image to its reconstruction, averaged over images.

    Raises `DataError` for images that do not fit the networks, and `ConfigError` when a network or its weights are not available.
    """

    def __init__(self, spec: DataSpec, count: int, fid: bool, lpips: bool, device: torch.device) -> None:
        if fid or lpips:
            _check_images(spec, count, fid, lpips)
        self._fid = fid_metric().to(device) if fid else None
        self._lpips = lpips_metric().to(device) if lpips else None

    def add(self, images: Tensor, reconstructions: Tensor) -> None:
        """Add images, float [B, C, H, W] in unit values, of which what lies beyond 0 to 1 is clipped, and their reconstructions."""
        if (self._fid is None and self._lpips is None) or not len(images):
            return
        originals, answers = (_three_channels(each) for each in (images, reconstructions))
        if self._fid is not None:
            self._fid.update(_to_bytes(originals), real=True)
            self._fid.update(_to_bytes(answers), real=False)
        if self._lpips is not None:
            self._lpips.update(answers, originals)

    def result(self) -> dict[str, float]:
        """`fid` and `lpips`, those that were requested. Every process must call it, once."""
        metrics = {"fid": self._fid, "lpips": self._lpips}
        return {name: float(metric.compute()) for name, metric in metrics.items() if metric is not None}


def fid_metric() -> Any:
    """torchmetrics' FID with the network that all published numbers use. Raises `ConfigError` when it is not available."""
    import_torchvision()  # torchmetrics and torch-fidelity import it
    from torchmetrics.image.fid import FrechetInceptionDistance

    try:
        return _with_weights("FID", lambda: FrechetInceptionDistance(feature=2048))
    except ModuleNotFoundError:
        raise ConfigError("FID needs torch-fidelity, which is not installed.", "Install it: pip install 'vqkit[fid]'") from None


def lpips_metric() -> Any:
    """torchmetrics' LPIPS on AlexNet for images in [0, 1]. Raises `ConfigError` when its weights are not available."""
    import_torchvision()  # torchmetrics imports it, and LPIPS takes its AlexNet
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return _with_weights("LPIPS", lambda: LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True))


def _with_weights(metric: str, build: Callable[[], Any]) -> Any:
    """Call `build`, which downloads weights. Raises `ConfigError` when they are not cached and cannot be downloaded."""
    try:
        return build()
    except _NO_WEIGHTS as error:
        reason = str(getattr(error, "reason", error)).strip().splitlines() or [type(error).__name__]
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ConfigError(
            f"The weights of the network behind {metric} are not available: {reason[0].rstrip('.')}.",
            f"Run it once with a network connection, or copy {folder} from a machine where it ran.",
        ) from error


def _check_images(spec: DataSpec, count: int, fid: bool, lpips: bool) -> None:
    if not spec.is_colour and len(spec.components) != 1:
        raise DataError(
            f"FID and LPIPS are defined for colour and grey images; the data set '{spec.name}' has "
            f"{len(spec.components)} components ({', '.join(spec.components[:8])}).",
            "Leave out --fid and --lpips; IoU and SSIM measure such data.",
        )
    if fid and count < 2:
        raise DataError("FID compares distributions, and there is only one image.", "Measure at least two; thousands are usual.")
    if lpips and min(spec.height, spec.width) < SMALLEST_SIDE:
        raise DataError(
            f"LPIPS needs images of at least {SMALLEST_SIDE} pixels per side, not {spec.height} x {spec.width} (height x width).",
            "Leave out --lpips, or use larger images.",
        )


def _three_channels(images: Tensor) -> Tensor:
    """Images [B, 1 or 3, H, W] as red, green and blue float32 in [0, 1]; grey is repeated."""
    return images.float().clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
