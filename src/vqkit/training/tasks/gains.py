"""How far to trust the corrections of the linear guess: fitted on validation images after training.

A correction that was learned on few images, for all sets of kept components at once, can do harm to some of them, and be too timid
for others. The gain g of a component in a case (`ContextBranch.cases`: how many others are kept, or how far into a hole a pixel
is) minimises the squared error of guess + g * correction over the missing pixels, d = truth - guess:

    g = sum(d * correction) / sum(correction^2), within [0, 2]

Every component is hidden equally often beside every number of kept ones. Where few of the masks show a case all the same, its gain
is drawn towards that of the component over all cases.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vqkit.config import HolesConfig
from vqkit.core.randomness import generator_for
from vqkit.data.subsets import evenly_spaced
from vqkit.interfaces import Autoencoder, Batch, Split
from vqkit.models.context import ContextBranch
from vqkit.training.tasks.masks import fixed_observed

MASKED_IMAGES = 512
"""Masked images that gains are fitted on, at least: where there are fewer validation images, each has several masks."""
_LEAST_OF_EACH = 16
"""How often each component is hidden beside each number of kept ones."""
_MOST = 2.0
"""The largest gain: a correction that serves many questions may be half of what one of them needs."""
_AT_ONCE = 64
"""Images in a batch."""
_SHRINKAGE = 4.0
"""Weight of the component's gain over all cases, in images of the case."""


def branches_with_gains(model: Autoencoder) -> list[ContextBranch]:
    """The parts of a model that correct a linear guess."""
    return [module for module in model.modules() if isinstance(module, ContextBranch) and module.start is not None]


def sees_context(model: Autoencoder) -> bool:
    """Whether anything in a model is shown what is observed, beside its encoder."""
    return any(isinstance(module, ContextBranch) for module in model.modules())


@torch.no_grad()
def fit_gains(model: Autoencoder, validation: Split, holes: HolesConfig, seed: int, device: torch.device) -> None:
    """Fit the gains of a model in evaluation mode. Nothing happens to a model without a linear guess.

    `holes`: what is hidden in training. A model that learned to fill in components is judged on boxes as well: asked to fill in
    those, it starts from an interpolation that it has not learned to correct.
    """
    branches = branches_with_gains(model)
    if not branches:
        return
    components = len(model.spec.components)
    sums = torch.zeros(3, *branches[0].gain.shape, dtype=torch.float64, device=device)
    with torch.autocast(device.type, enabled=False):  # gains do not depend on the precision of the training
        if holes.kind in ("components", "components-or-boxes") and components > 1:
            masks = balanced_keep_sets(components, generator_for(seed, "gains"))
            for batch, kept in _masked(validation, masks):
                on_device = batch.to(device, model.spec)
                sums += _sums(model, branches, on_device, on_device.observed & kept.to(device)[:, :, None, None])
            holes = holes.model_copy(update={"kind": "boxes"})
        for batch, numbers in _masked(validation, torch.arange(MASKED_IMAGES)):
            on_device = batch.to(device, model.spec)
            sums += _sums(model, branches, on_device, fixed_observed(on_device, holes, seed, int(numbers[0])))
    gains = gains_of(sums)
    for branch in branches:
        branch.gain.copy_(gains)


def balanced_keep_sets(components: int, generator: torch.Generator) -> Tensor:
    """Sets of kept components, bool [N, C], in random order: each component is missing from as many of each size, or nearly.

    For each size the components are dealt into groups that are hidden together, over and over.
    """
    deals = [-(-components // (components - kept)) for kept in range(1, components)]
    rounds = max(_LEAST_OF_EACH, -(-MASKED_IMAGES // sum(deals)))
    rows = []
    for kept, groups in zip(range(1, components), deals, strict=True):
        hidden = components - kept
        for _ in range(rounds):
            order = torch.randperm(components, generator=generator)
            for group in range(groups):
                row = torch.ones(components, dtype=torch.bool)
                row[order[(torch.arange(hidden) + group * hidden) % components]] = False
                rows.append(row)
    return torch.stack(rows)[torch.randperm(len(rows), generator=generator)]


def _masked(validation: Split, masks: Tensor) -> Iterator[tuple[Batch, Tensor]]:
    """Batches of validation images, evenly spaced and over and over, each image with one of the `masks` [N, ...]."""
    chosen = evenly_spaced(len(validation), len(masks))
    for part in torch.split(torch.arange(len(masks)), _AT_ONCE):
        yield validation.batch(chosen[part % len(chosen)]), masks[part]


def gains_of(sums: Tensor) -> Tensor:
    """Gains float32 [C, cases] of the sums [3, C, cases] of d * correction, of correction^2, and of images."""
    products, squares, images = sums
    of_component = _ratio(products.sum(dim=1), squares.sum(dim=1))[:, None].expand_as(squares)
    weight = _SHRINKAGE * squares / images.clamp_min(1)
    return torch.where(squares > 0, _ratio(products + weight * of_component, squares + weight), of_component).float()


def _sums(model: Autoencoder, branches: list[ContextBranch], batch: Batch, observed: Tensor) -> Tensor:
    """The sums of `gains_of` over a batch on the device, by component and case."""
    unknown = model.spec.unknown_conditions(len(observed), observed.device)
    answers = []
    for gain in (0.0, 1.0):
        for branch in branches:
            branch.gain.fill_(gain)
        answers.append(model.complete(batch.images, observed, unknown).double())
    guess, corrected = answers
    missing = batch.observed & ~observed & ~model.spec.binary.to(observed.device)[:, None, None]
    correction = torch.where(missing, corrected - guess, 0)
    summed = correction * torch.where(missing, batch.images - guess, 0), correction.square()
    cases = branches[0].cases(observed)
    result = []
    for case in range(branches[0].gain.shape[1]):
        here = missing & (cases == case)
        rows = [torch.where(here, each, 0).sum(dim=(0, 2, 3)) for each in summed]
        result.append(torch.stack([*rows, here.flatten(2).any(dim=2).sum(dim=0)]))
    return torch.stack(result, dim=2)


def _ratio(products: Tensor, squares: Tensor) -> Tensor:
    """The gain within its limits; 1 where there is no correction to judge."""
    return torch.where(squares > 0, products / squares.clamp_min(1e-30), 1.0).clamp(0, _MOST)
