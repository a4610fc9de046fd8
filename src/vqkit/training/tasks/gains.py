"""How far to trust the corrections of the linear guess: fitted on validation images after training.

A correction that was learned on few images, for all sets of kept components at once, can do harm to some of them. The gain g of a
component and a number of kept ones minimises the squared error of guess + g * correction over the missing pixels d = truth - guess:

    g = sum(d * correction) / sum(correction^2), within [0, 1]

Where few of the validation masks show a case, its gain is drawn towards that of the component over all cases.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.config import HolesConfig
from vqkit.data.loading import all_batches
from vqkit.data.subsets import Subset, evenly_spaced
from vqkit.interfaces import Autoencoder, Batch, Split
from vqkit.models.context import ContextBranch
from vqkit.training.tasks.masks import fixed_observed

MASKED_IMAGES = 512
"""Masked images that gains are fitted on: where there are fewer validation images, each has several masks."""
_SHRINKAGE = 4.0
"""Weight of the component's gain over all cases, in images of average correction."""


def branches_with_gains(model: Autoencoder) -> list[ContextBranch]:
    """The parts of a model that correct a linear guess."""
    return [module for module in model.modules() if isinstance(module, ContextBranch) and module.start is not None]


@torch.no_grad()
def fit_gains(model: Autoencoder, validation: Split, holes: HolesConfig, seed: int, device: torch.device) -> None:
    """Fit the gains of a model in evaluation mode. Nothing happens to a model without a linear guess.

    `holes`: what is hidden in training. A model that learned to fill in components is judged on boxes as well: asked to fill in
    those, it starts from a smooth continuation, which it has not learned to correct.
    """
    branches = branches_with_gains(model)
    if not branches:
        return
    components = len(model.spec.components)
    sums = torch.zeros(3, components, components + 1, dtype=torch.float64, device=device)
    chosen = Subset(validation, evenly_spaced(len(validation), MASKED_IMAGES))
    kinds = [holes, holes.model_copy(update={"kind": "boxes"})] if holes.kind == "components" else [holes]
    with torch.autocast(device.type, enabled=False):  # gains do not depend on the precision of the training
        for kind in kinds:
            for repeat in range(math.ceil(MASKED_IMAGES / len(chosen))):
                first = repeat * len(chosen)
                for batch in all_batches(chosen, 64):
                    on_device = batch.to(device, model.spec)
                    sums += _sums(model, branches, on_device, fixed_observed(on_device, kind, seed, first))
                    first += len(batch.images)
    gains = gains_of(sums)
    for branch in branches:
        branch.gain.copy_(gains)


def gains_of(sums: Tensor) -> Tensor:
    """Gains float32 [C, C + 1] of the sums [3, C, C + 1] of d * correction, of correction^2, and of images."""
    products, squares, images = sums
    of_component = _ratio(products.sum(dim=1), squares.sum(dim=1))[:, None]
    weight = _SHRINKAGE * (squares.sum(dim=1) / images.sum(dim=1).clamp_min(1))[:, None]
    return _ratio(products + weight * of_component, squares + weight).float()


def _sums(model: Autoencoder, branches: list[ContextBranch], batch: Batch, observed: Tensor) -> Tensor:
    """The sums of `gains_of` over a batch on the device, by component and number of kept ones."""
    unknown = model.spec.unknown_conditions(len(observed), observed.device)
    answers = []
    for gain in (0.0, 1.0):
        for branch in branches:
            branch.gain.fill_(gain)
        answers.append(model.complete(batch.images, observed, unknown).double())
    guess, corrected = answers
    missing = batch.observed & ~observed & ~model.spec.binary.to(observed.device)[:, None, None]
    correction = torch.where(missing, corrected - guess, 0)
    products = (correction * torch.where(missing, batch.images - guess, 0)).sum(dim=(2, 3))
    rows = torch.stack([products, correction.square().sum(dim=(2, 3)), missing.flatten(2).any(dim=2).double()])
    kept = observed.flatten(2).any(dim=2).sum(dim=1)
    result = torch.zeros(*rows.shape[::2], len(model.spec.components) + 1, dtype=torch.float64, device=rows.device)
    return result.index_add(2, kept, rows.movedim(1, 2))


def _ratio(products: Tensor, squares: Tensor) -> Tensor:
    """The gain within [0, 1]; 1 where there is no correction to judge."""
    return torch.where(squares > 0, products / squares.clamp_min(1e-30), 1.0).clamp(0, 1)
