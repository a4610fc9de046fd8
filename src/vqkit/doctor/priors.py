"""Checks of a prior: that it never sees ahead, that its ways to sample agree, and what its conditions do.

Shapes: B samples, K codes, h x w a level's grid of P = h * w positions.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.config import ConditioningConfig
from vqkit.doctor.checks import Verdict, failed, ok, skipped, warning
from vqkit.doctor.pictures import hidden_part
from vqkit.inference.conditioning import condition_kinds, conditioning_for, observed_maps
from vqkit.interfaces import Batch, Codes, CodeSpec, Conditioning, Prior, Tokenizer, fully_observed
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.interfaces.tasks import TrainingState
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.sampling import choose, guide, gumbel_noise
from vqkit.storage.checkpoints import Loaded, digest
from vqkit.training.tasks.prior import PriorTask
from vqkit.training.tasks.task import resolve_mask_kind

TOLERANCE = 1e-5
"""Largest difference between logits that should be the same, as a share of the largest of them (at least 1): float32 rounding."""
MOST_POSITIONS = 64
"""Positions of a level that are changed in turn; on a finer grid they are spread evenly over it."""
AT_ONCE = 16
"""Grids in one pass."""
STRONG = 3.0
"""A guidance scale at which guidance cannot be overlooked."""
SEED = 7


class Given(NamedTuple):
    """A prior in evaluation mode, codes int64 [B, h, w] of each level, and what it is told of the B images; all on one device."""

    prior: AutoregressivePrior
    codes: Codes
    told: Conditioning

    def part(self, chosen: slice) -> Given:
        """Only some of the samples."""
        return Given(self.prior, tuple(level[chosen] for level in self.codes), self.told.map(lambda tensor: tensor[chosen]))


def with_codes(tokenizer: Tokenizer, batch: Batch) -> Batch:
    """A batch on the device, images float [B, C, H, W] in [0, 1], with the codes of its images."""
    with torch.no_grad():
        return batch._replace(codes=tokenizer.encode(batch.images, fully_observed(batch.images)))


def all_told(spec: CodeSpec, tokenizer: Tokenizer, batch: Batch) -> Conditioning:
    """All that a prior with this `spec` can be told of a batch's images, of which a part is hidden."""
    maps: tuple[Tensor, ...] = ()
    if spec.observed_channels:
        maps = observed_maps(tokenizer, batch.images, hidden_part(batch.images, tokenizer.spec))
    return conditioning_for(spec, batch.conditions, batch.labels, maps)


@torch.inference_mode()
def causality(given: Given) -> Verdict:
    """Whether changing a code moves no logits at or before its position, but some later ones (van den Oord et al. 2016).

    A prior that sees the code it is to predict has a splendid loss and draws nonsense.
    """
    changed, places = 0, 0
    for level, codes in enumerate(given.codes):
        height, width = codes.shape[1:]
        positions = _spread(height * width, MOST_POSITIONS)
        for part in torch.split(torch.tensor(positions), AT_ONCE):
            moved, tolerance = _moved_by(given, level, part)
            if not bool(moved.isfinite().all()):
                return failed("its logits are no finite numbers")
            for position, row in zip(part.tolist(), moved, strict=True):
                wrong = _wrong_influence(row, position, width, tolerance)
                if wrong:
                    place = f"row {position // width}, column {position % width} of level {given.prior.spec.level_names[level]}"
                    return failed(f"the code at {place} {wrong}")
        changed, places = changed + len(positions), places + height * width
    of = "all" if changed == places else f"{changed} of"
    return ok(f"{of} {places} codes changed in turn: none moved logits at or before it, each moved later ones")


@torch.inference_mode()
def cached_logits(given: Given) -> Verdict:
    """Whether the logits of cached sampling, code by code, are those of a full pass (Ramachandran et al. 2017)."""
    worst = 0.0
    for level, codes in enumerate(given.codes):
        logits = given.prior.logits(level, given.codes[: level + 1], given.told).flatten(2).float()
        stepper = given.prior.stepper(level, given.codes[:level], given.told)
        previous: Tensor | None = None
        steps = []
        for column in codes.flatten(1).T:
            steps.append(stepper.step(previous))
            previous = column
        difference = float((torch.stack(steps, dim=2) - logits).abs().max()) / _scale(logits)
        if not difference <= TOLERANCE:
            name = given.prior.spec.level_names[level]
            return failed(f"cached logits of level {name} differ from a full pass by {difference:.1e} of the largest one")
        worst = max(worst, difference)
    return ok(f"cached logits are those of a full pass within {worst:.0e}")


def same_draws(given: Given, methods: tuple[SamplingMethod, ...]) -> Verdict:
    """Whether each of the methods draws what cached sampling draws, with guidance as well where the prior is told anything."""
    count = len(given.codes[0])
    for scale in (1.0, STRONG) if given.prior.spec.is_conditional else (1.0,):
        cached = given.prior.sample(count, given.told, Sampling(seed=SEED, guidance_scale=scale))
        for method in methods:
            other = given.prior.sample(count, given.told, Sampling(seed=SEED, guidance_scale=scale, method=method))
            different = _different(cached, other)
            if different:
                return failed(f"{method} sampling with guidance {scale:g} draws {different} codes that cached sampling does not")
    return ok(f"{count} samples: cached and {', '.join(methods)} sampling draw the same codes")


def seeds(given: Given) -> Verdict:
    """Whether a sample is a function of the seed and its number: drawn again, or in smaller batches, it is the same."""
    count = len(given.codes[0])
    together = given.prior.sample(count, given.told, Sampling(seed=SEED))
    if _different(together, given.prior.sample(count, given.told, Sampling(seed=SEED))):
        return failed("the same seed draws other samples the second time")
    alone = [
        given.prior.sample(1, given.part(slice(number, number + 1)).told, Sampling(seed=SEED), first=number)
        for number in range(count)
    ]
    different = _different(together, tuple(torch.cat(level) for level in zip(*alone, strict=True)))
    if different:
        return failed(f"{different} codes are others when the samples are drawn one by one")
    if not _different(together, given.prior.sample(count, given.told, Sampling(seed=SEED + 1))):
        return failed("another seed draws the same samples")
    return ok(f"{count} samples: the same again, and one by one; others with another seed")


@torch.inference_mode()
def guidance(given: Given) -> Verdict:
    """Whether guidance 1 is no guidance, more is as its formula says, and there is one null condition (Ho and Salimans 2022)."""
    if not given.prior.spec.is_conditional:
        return skipped("the prior is told nothing")
    count = len(given.codes[0])
    untold = given.told._replace(dropped=torch.ones_like(given.told.dropped))
    nothing = Conditioning.unconditional(count, given.prior.spec, given.codes[0].device)
    effect = 0.0
    for level in range(len(given.codes)):
        known, dropped, none = (_logits(given, level, given.codes, each) for each in (given.told, untold, nothing))
        if not float((dropped - none).abs().max()) <= TOLERANCE * _scale(none):
            return failed("what was dropped still moves the logits: there is more than one null condition")
        effect = max(effect, float((known - dropped).abs().max()) / _scale(known))
    for scale in (1.0, STRONG):
        sampling = Sampling(seed=SEED, guidance_scale=scale)
        drawn = given.prior.sample(count, given.told, sampling)
        for level, codes in enumerate(drawn):
            # Drawn codes follow from the logits that they themselves lead to, whichever way they were computed.
            logits = _logits(given, level, drawn, given.told)
            if scale != 1:
                logits = guide(logits, _logits(given, level, drawn, untold), scale)
            noise = gumbel_noise(sampling.seed, level, 0, count, codes[0].numel(), logits.shape[2]).to(codes.device)
            different = int((choose(logits, noise, sampling) != codes.flatten(1)).sum())
            if different:
                return failed(f"with guidance {scale:g}, {different} of {codes.numel()} codes are not those that the logits choose")
    if not effect > TOLERANCE:
        return warning("guidance 1 is no guidance, but the conditions change nothing: the prior has not learned from them")
    return ok(f"guidance 1 draws from the conditional logits alone, {STRONG:g} as its formula says")


def frozen_tokenizer(prior: Prior, tokenizer: Loaded, batch: Batch) -> Verdict:
    """Whether a training step of the prior, on a copy of it, leaves the tokenizer as it was. `batch` as for `with_codes`."""
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
        return failed(f"a training step of the prior moved the tokenizer: its digest was {before[:12]} and is {after[:12]} now")
    if any(parameter.grad is not None for parameter in tokenizer.model.parameters()):
        return failed("a training step of the prior gives the tokenizer gradients")
    if digest(task.model.state_dict()) == digest(prior.state_dict()):
        return failed("a training step of the prior changes nothing in it")
    return ok(f"a training step moves the prior and leaves the tokenizer {before[:12]} as it was")


def likelihood(nll: float, unigram: float, uniform: float) -> Verdict:
    """Whether held-out codes are more probable under the prior than under their own frequencies; all in nats a code."""
    found = f"{nll:.3f} nats a code on held-out images; unigram entropy {unigram:.3f}, uniform {uniform:.3f}"
    return ok(found) if nll < unigram else failed(f"{found}: the prior knows less than the codes' frequencies")


def _moved_by(given: Given, level: int, positions: Tensor) -> tuple[Tensor, float]:
    """How far the logits move at each position when one code is changed: [n, P] for n changed positions; and what is rounding."""
    count = len(positions)
    one = given.part(slice(1))
    told = one.told.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
    coarser = tuple(codes.expand(count, -1, -1) for codes in one.codes[:level])
    same = one.codes[level].expand(count, -1, -1)
    other = same.flatten(1).clone()
    size = given.prior.spec.cardinalities[level]
    numbers = torch.arange(count)
    other[numbers, positions] = (other[numbers, positions] + size // 2) % size
    # Batches of one size, so that both passes round alike.
    before = given.prior.logits(level, (*coarser, same), told).float()
    after = given.prior.logits(level, (*coarser, other.view_as(same)), told).float()
    return (after - before).abs().amax(dim=1).flatten(1).cpu(), TOLERANCE * _scale(before)


def _wrong_influence(moved: Tensor, position: int, width: int, tolerance: float) -> str:
    """What is wrong with how far the logits [P] of a grid moved when the code at `position` was changed, if anything."""
    before, after = moved[: position + 1], moved[position + 1 :]
    farthest = float(before.max())
    if farthest > tolerance:
        where = int(before.argmax())
        what = "its own logits" if where == position else f"logits at row {where // width}, column {where % width}"
        return f"moves {what} by {farthest:.2g}: the prior sees ahead"
    if len(after) and float(after.max()) == 0:
        return "moves no later logits: the prior does not see it"
    return ""


def _logits(given: Given, level: int, codes: Codes, told: Conditioning) -> Tensor:
    """Logits [B, P, K] of a full pass."""
    return given.prior.logits(level, codes[: level + 1], told).flatten(2).transpose(1, 2).float()


def _scale(logits: Tensor) -> float:
    return max(1.0, float(logits.abs().max()))


def _different(first: Codes, second: Codes) -> int:
    """In how many places codes differ."""
    return sum(int((one != other).sum()) for one, other in zip(first, second, strict=True))


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` positions, from the first to the last, evenly spread."""
    if count <= most:
        return [*range(count)]
    return sorted({round(number * (count - 1) / (most - 1)) for number in range(most)})
