"""Checks of a prior: causality, agreement of the sampling methods, the effect of conditions, and a training step.

Priors in raster order and those in any order are checked alike, the latter in the Halton order, one code a step.

Shapes: B samples, K codes, h x w the grid of a level with P = h * w positions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.config import ConditioningConfig
from vqkit.data.subsets import evenly_spaced
from vqkit.doctor.checks import Outcome, failed, ok, skipped, warning
from vqkit.doctor.images import observed_mask
from vqkit.inference.conditioning import condition_kinds, conditioning_for, observed_maps
from vqkit.interfaces import Batch, Codes, CodeSpec, Conditioning, Prior, Tokenizer
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.interfaces.tasks import TrainingState
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.codes_so_far import CodesSoFar
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.sampling import choose, guide, gumbel_noise
from vqkit.storage.checkpoints import Loaded, digest
from vqkit.training.tasks.masks import resolve_mask_kind
from vqkit.training.tasks.prior import PriorTask

TOLERANCE = 1e-5
"""Largest difference between logits that should be equal, relative to the largest of them (at least 1): float32 rounding."""
MAX_POSITIONS = 64
"""Number of positions of a level whose code is changed; on a larger grid they are evenly spaced."""
BATCH_SIZE = 16
"""Changed positions in one forward pass."""
GUIDANCE_SCALE = 3.0
"""A guidance scale whose effect exceeds the tolerance."""
SEED = 7


class PriorCase(NamedTuple):
    """A prior in evaluation mode, codes int64 [B, h, w] of each level, and their conditioning; all on one device."""

    prior: AutoregressivePrior | MaskedPrior
    codes: Codes
    conditioning: Conditioning

    def select(self, samples: slice) -> PriorCase:
        """The same prior with some of the samples."""
        codes = tuple(level[samples] for level in self.codes)
        return PriorCase(self.prior, codes, self.conditioning.map(lambda tensor: tensor[samples]))

    def logits(self, level: int, codes: Codes, conditioning: Conditioning | None = None) -> Tensor:
        """Logits float32 [B, P, K] of a full pass over codes, with the conditioning of this case unless another is given."""
        logits = self.prior.logits(level, codes[: level + 1], self.conditioning if conditioning is None else conditioning)
        return logits.flatten(2).transpose(1, 2).float()

    def sample(self, sampling: Sampling) -> Codes:
        """As many samples as there are codes, with the conditioning of this case."""
        return self.prior.sample(len(self.codes[0]), self.conditioning, self.one_by_one(sampling))

    def one_by_one(self, sampling: Sampling) -> Sampling:
        """The settings with which every code is drawn from the logits that `logits` gives."""
        if isinstance(self.prior, AutoregressivePrior):
            return sampling
        return replace(sampling, draw_steps=max(height * width for height, width in self.prior.spec.shapes))

    def order(self, level: int) -> Tensor:
        """The positions of a level in the order in which they are drawn, int64 [P]."""
        if isinstance(self.prior, AutoregressivePrior):
            return torch.arange(self.codes[level][0].numel())
        return self.prior.order(level).ranks[0].argsort()

    def cached_logits(self, level: int) -> Tensor:
        """Logits float32 [B, P, K] as sampling computes them, code by code."""
        flat, coarser = self.codes[level].flatten(1), self.codes[:level]
        order = self.order(level).to(flat.device)
        if isinstance(self.prior, AutoregressivePrior):
            stepper = self.prior.stepper(level, coarser, self.conditioning)
            return torch.stack([stepper.step(flat[:, number - 1] if number else None) for number in range(len(order))], dim=1)
        state = CodesSoFar(self.prior.networks[level], self.prior.condition_features(level, coarser, self.conditioning), len(flat))
        logits = []
        for position in torch.split(order.expand(len(flat), -1), 1, dim=1):
            logits.append(state.logits(position))
            state.add(flat.gather(1, position), position, torch.ones_like(position, dtype=torch.bool))
        return torch.cat(logits, dim=1)[:, order.argsort()]


def with_codes(tokenizer: Tokenizer, batch: Batch) -> Batch:
    """A batch on the device, with images float [B, C, H, W] in [0, 1], and with the codes of these images."""
    with torch.no_grad():
        return batch._replace(codes=tokenizer.encode(batch.images, batch.observed))


def full_conditioning(spec: CodeSpec, tokenizer: Tokenizer, batch: Batch) -> Conditioning:
    """The conditioning of a batch on everything that `spec` lists; of its images, a part is observed."""
    maps: tuple[Tensor, ...] = ()
    if spec.observed_channels:
        maps = observed_maps(tokenizer, batch.images, observed_mask(batch, tokenizer.spec))
    return conditioning_for(spec, batch.conditions, batch.labels, maps)


@torch.inference_mode()
def causality(case: PriorCase) -> Outcome:
    """Whether changing a code changes no logits at or before its position, but some later ones (van den Oord et al. 2016).

    A prior whose logits depend on the code to be predicted has a low loss, and its samples are useless.
    """
    changed, total = 0, 0
    for level, codes in enumerate(case.codes):
        height, width = codes.shape[1:]
        positions = evenly_spaced(height * width, MAX_POSITIONS)
        for part in torch.split(positions, BATCH_SIZE):
            changes, tolerance = _logit_changes(case, level, part)
            if not bool(changes.isfinite().all()):
                return failed("the logits are not finite")
            for position, row in zip(part.tolist(), changes, strict=True):
                violation = _causality_violation(row, position, case.order(level), width, tolerance)
                if violation:
                    place = f"row {position // width}, column {position % width} of level {case.prior.spec.level_names[level]}"
                    return failed(f"the code at {place} {violation}")
        changed, total = changed + len(positions), total + height * width
    number = "all" if changed == total else f"{changed} of"
    return ok(f"{number} {total} codes changed one at a time: each changes only logits at later positions")


@torch.inference_mode()
def cached_logits(case: PriorCase) -> Outcome:
    """Whether the logits of cached sampling, code by code, equal those of a full pass (Ramachandran et al. 2017)."""
    largest = 0.0
    for level in range(len(case.codes)):
        logits = case.logits(level, case.codes)
        difference = float((case.cached_logits(level) - logits).abs().max()) / _scale(logits)
        if not difference <= TOLERANCE:
            name = case.prior.spec.level_names[level]
            return failed(f"cached logits of level {name} differ from a full pass by {difference:.1e} of the largest logit")
        largest = max(largest, difference)
    return ok(f"cached logits equal those of a full pass up to {largest:.0e}")


def same_draws(case: PriorCase, methods: tuple[SamplingMethod, ...]) -> Outcome:
    """Whether each of the methods draws the same codes as cached sampling; for a conditional prior, also with guidance.

    A prior in any order has one method.
    """
    if not isinstance(case.prior, AutoregressivePrior):
        return skipped("a prior that draws in any order always does it with caches")
    for scale in (1.0, GUIDANCE_SCALE) if case.prior.spec.is_conditional else (1.0,):
        cached = case.sample(Sampling(seed=SEED, guidance_scale=scale))
        for method in methods:
            other = case.sample(Sampling(seed=SEED, guidance_scale=scale, method=method))
            different = _count_differences(cached, other)
            if different:
                return failed(f"{method} sampling with guidance scale {scale:g} differs from cached sampling in {different} codes")
    return ok(f"{len(case.codes[0])} samples: cached and {', '.join(methods)} sampling draw the same codes")


def seeds(case: PriorCase) -> Outcome:
    """Whether a sample depends only on the seed and its number: repeated, or in another batch, it is the same."""
    count = len(case.codes[0])
    batched = case.sample(Sampling(seed=SEED))
    if _count_differences(batched, case.sample(Sampling(seed=SEED))):
        return failed("drawing again with the same seed gives different samples")
    single = [
        case.prior.sample(
            1, case.select(slice(number, number + 1)).conditioning, case.one_by_one(Sampling(seed=SEED)), first=number
        )
        for number in range(count)
    ]
    different = _count_differences(batched, tuple(torch.cat(level) for level in zip(*single, strict=True)))
    if different:
        return failed(f"{different} codes differ when the samples are drawn one at a time")
    if not _count_differences(batched, case.sample(Sampling(seed=SEED + 1))):
        return failed("another seed draws the same samples")
    return ok(f"{count} samples: the same when repeated and when drawn one at a time, different with another seed")


@torch.inference_mode()
def guidance(case: PriorCase) -> Outcome:
    """Whether guidance follows its formula, with no effect at scale 1, and one null condition (Ho and Salimans 2022)."""
    if not case.prior.spec.is_conditional:
        return skipped("the prior is unconditional")
    dropped = case.conditioning._replace(dropped=torch.ones_like(case.conditioning.dropped))
    unconditional = Conditioning.unconditional(len(case.codes[0]), case.prior.spec, case.codes[0].device)
    effect = 0.0
    for level in range(len(case.codes)):
        with_conditions, without = case.logits(level, case.codes), case.logits(level, case.codes, dropped)
        null = case.logits(level, case.codes, unconditional)
        if not float((without - null).abs().max()) <= TOLERANCE * _scale(null):
            return failed("dropped conditions change the logits: there is more than one null condition")
        effect = max(effect, float((with_conditions - without).abs().max()) / _scale(with_conditions))
    for scale in (1.0, GUIDANCE_SCALE):
        different = _guidance_errors(case, dropped, Sampling(seed=SEED, guidance_scale=scale))
        if different:
            return failed(f"with guidance scale {scale:g}, {different} codes are not those that the guided logits give")
    if not effect > TOLERANCE:
        return warning("guidance is correct, but the conditions change no logits: the prior has not learned to use them")
    return ok(f"scale 1 samples from the conditional logits, scale {GUIDANCE_SCALE:g} from the guided ones")


def frozen_tokenizer(prior: Prior, tokenizer: Loaded, batch: Batch) -> Outcome:
    """Whether a training step of a copy of the prior leaves the tokenizer unchanged. `batch` as for `with_codes`."""
    before = digest(tokenizer.model.state_dict())
    kinds = ConditioningConfig(condition_on=condition_kinds(prior.spec))
    task = PriorTask(copy.deepcopy(prior), tokenizer, resolve_mask_kind(kinds, tokenizer.model.spec), {}, SEED).train()
    optimizer = torch.optim.AdamW([*task.parameters()], lr=1e-3, weight_decay=0)
    loss = task(with_codes(task.tokenizer, batch), TrainingState(0, 0.0)).loss
    loss.backward()
    optimizer.step()
    after = digest(tokenizer.model.state_dict())
    if not math.isfinite(float(loss.detach())):
        return failed(f"the loss of a training step is {float(loss.detach())}")
    if after != before:
        return failed(f"a training step of the prior changes the tokenizer: digest {before[:12]} before, {after[:12]} after")
    if any(parameter.grad is not None for parameter in tokenizer.model.parameters()):
        return failed("a training step of the prior gives the tokenizer gradients")
    if digest(task.model.state_dict()) == digest(prior.state_dict()):
        return failed("a training step does not change the prior")
    return ok(f"a training step changes the prior and leaves the tokenizer unchanged (digest {before[:12]})")


def likelihood(nll: float, unigram: float, uniform: float) -> Outcome:
    """Whether held-out codes are more probable under the prior than under their own frequencies; all in nats per code."""
    message = f"{nll:.3f} nats per code on held-out images; unigram entropy {unigram:.3f}, uniform {uniform:.3f}"
    return ok(message) if nll < unigram else failed(f"{message}: the prior is no better than the frequencies of the codes")


def _logit_changes(case: PriorCase, level: int, positions: Tensor) -> tuple[Tensor, float]:
    """Change of the logits at each position when the code at one of n `positions` is changed: [n, P]; and the tolerance."""
    count = len(positions)
    first = case.select(slice(1))
    conditioning = first.conditioning.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
    coarser = tuple(codes.expand(count, -1, -1) for codes in first.codes[:level])
    unchanged = first.codes[level].expand(count, -1, -1)
    changed = unchanged.flatten(1).clone()
    size = case.prior.spec.cardinalities[level]
    numbers = torch.arange(count)
    changed[numbers, positions] = (changed[numbers, positions] + size // 2) % size
    # Two batches of the same size, so that both passes round alike.
    before = case.logits(level, (*coarser, unchanged), conditioning)
    after = case.logits(level, (*coarser, changed.view_as(unchanged)), conditioning)
    return (after - before).abs().amax(dim=2).cpu(), TOLERANCE * _scale(before)


def _causality_violation(changes: Tensor, position: int, order: Tensor, width: int, tolerance: float) -> str:
    """How the changes [P] of the logits violate causality when the code at `position` was changed; empty if they do not."""
    rank = int((order == position).nonzero())
    earlier, later = order[: rank + 1], order[rank + 1 :]
    before, after = changes[earlier], changes[later]
    largest = float(before.max())
    if largest > tolerance:
        where = int(earlier[before.argmax()])
        what = "its own logits" if where == position else f"logits at row {where // width}, column {where % width}"
        return f"changes {what} by {largest:.2g}: the prior is not causal"
    if len(after) and float(after.max()) == 0:
        return "changes no later logits: the prior ignores it"
    return ""


def _guidance_errors(case: PriorCase, dropped: Conditioning, sampling: Sampling) -> int:
    """Number of sampled codes that differ from those that the guided logits of a full pass over these samples give."""
    errors = 0
    samples = case.sample(sampling)
    for level, codes in enumerate(samples):
        logits = case.logits(level, samples)
        if sampling.guidance_scale != 1:
            logits = guide(logits, case.logits(level, samples, dropped), sampling.guidance_scale)
        noise = gumbel_noise(sampling.seed, level, 0, len(codes), codes[0].numel(), logits.shape[2]).to(codes.device)
        errors += int((choose(logits, noise, sampling) != codes.flatten(1)).sum())
    return errors


def _scale(logits: Tensor) -> float:
    return max(1.0, float(logits.abs().max()))


def _count_differences(first: Codes, second: Codes) -> int:
    """Number of positions at which codes differ."""
    return sum(int((one != other).sum()) for one, other in zip(first, second, strict=True))
