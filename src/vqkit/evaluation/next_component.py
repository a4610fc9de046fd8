"""Which component of an image should be measured next, so that least is left to guess?

`choose_components` answers it for a data set, from held-out images; `choose_for_image` for one image of which some components are
known, from completions that a prior draws of it: each is taken for the truth in turn. Both search in the same way: the component
whose measurement leaves the smallest error is taken, then the best one beside it, up to a budget (a greedy search). An exhaustive
search over all keep-sets shows what that order loses. `keep_set_errors` defines the error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.data.opening import typed_as
from vqkit.errors import ConfigError
from vqkit.evaluation.held_out import batches_with_positions, data_settings, open_split
from vqkit.evaluation.keep_set_errors import KeepSet, KeepSetError, KeepSetErrors
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.inference.pipeline import Conditions, Pipeline
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.storage.checkpoints import Loaded, load_model

IMAGES_MEASURED = 256
"""Held-out images that errors are measured on, unless a limit is given."""
COMPLETIONS = 32
"""Completions of one image that errors are measured on, unless another number is given."""
EXHAUSTIVE_COMPONENTS = 5
"""Missing components up to which all keep-sets are tried without being asked for."""
MOST_KEEP_SETS = 2048
"""Keep-sets that an exhaustive search may try."""
METRICS = {"binary": "1 - IoU", "intensity": "MSE / variance", "mixed": "1 - IoU or MSE / variance"}
"""The error of one component, by the kind of values."""
_CHUNK_PIXELS = 2**22
"""Pixels of the completions of one image that are filled in at once, all components together."""


@dataclass(frozen=True, kw_only=True)
class ChoiceRequest:
    """What to choose from. Raises `ConfigError` for a number that is too small."""

    known: Sequence[str] = ()
    """Names of the components that are known already."""
    budget: int | None = None
    """Number of components that can be measured. Default, and at most: all that are missing."""
    exhaustive: bool | None = None
    """Also try every keep-set. Default: if at most `EXHAUSTIVE_COMPONENTS` components are missing."""
    batch_size: int = 64
    """Images that go through the model at once. It does not change the results."""

    def __post_init__(self) -> None:
        for name in ("budget", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.", f"Give {name} a larger number.")


@dataclass(frozen=True)
class Step:
    """One step of the greedy search: `component` is measured, which leaves `after` of the error `before`.

    `before` is None where nothing was known. `candidates`: the error after measuring each component that was still missing.
    """

    component: str
    before: float | None
    after: float
    candidates: dict[str, float]


@dataclass(frozen=True)
class Choice:
    """The order in which to measure components, and what is left to guess after each.

    `source`: what the errors were measured on, in words: `images` images or completions; `origin`: the data, or the prior with its
    settings; `metric`: the error of one component. `start`: the errors when only what is `known` was measured, None where that is
    nothing. `steps`: the greedy order, one for each of the `budget` components; `best`: the best keep-set of each size, beside
    `known`, by exhaustive search, None where there was none. `keep_sets`: all that were measured. `notes`: sentences on what was
    left out.
    """

    run: str
    digest: str
    source: str
    origin: dict[str, Any]
    images: int
    metric: str
    known: tuple[str, ...]
    missing: tuple[str, ...]
    start: KeepSetError | None
    steps: tuple[Step, ...]
    best: tuple[KeepSetError, ...] | None
    keep_sets: tuple[KeepSetError, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> tuple[KeepSetError, ...]:
        """The errors after each step of the greedy order."""
        found = {frozenset(each.keep): each for each in self.keep_sets}
        order = [step.component for step in self.steps]
        return tuple(found[frozenset((*self.known, *order[: number + 1]))] for number in range(len(order)))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def choose_components(
    run: str | Path | Loaded | None = None,
    request: ChoiceRequest | None = None,
    data: str | NamedOptions | None = None,
    split: str = "val",
    limit: int | None = IMAGES_MEASURED,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Choice:
    """The order in which to measure the components of images like those of a split, of which `limit` are looked at (None: all).

        choose_components("runs/tyres", ChoiceRequest(known=["group_nc"], budget=2)).steps[0].component

    `run`: what `load_model` takes, or its result (then `device` is where that model is). Validation images are the default, because
    an order that was chosen on test images would be too good for them.

    Raises `CheckpointError` for a run that cannot be loaded, `ConfigError` for an unknown split or component, for nothing to choose
    from and for too many keep-sets, and `DataError` for data that do not fit the model or that do not show how components differ.
    """
    request = ChoiceRequest() if request is None else request
    loaded = run if isinstance(run, Loaded) else load_model(run, device)
    known = known_components(loaded.model.spec, request)
    images = open_split(loaded, data, split, limit)

    def batches() -> Iterator[Batch]:
        return (batch for _, batch in batches_with_positions(images, request.batch_size, "read"))

    errors = KeepSetErrors(Pipeline(loaded, device, "fp32"), batches, known, len(images), progress=progress)
    settings = data_settings(loaded, data)
    steps, best = _search(errors, loaded.model.spec, known, request)
    source = f"images of {typed_as(settings)}, {split} split"
    about = _Source(str(loaded.path), loaded.digest, source, {"data": settings, "split": split})
    left_out = len(images) - errors.images
    notes = [f"{left_out} of {len(images)} images do not hold all components, and were left out."] if left_out else []
    return _choice(about, errors, loaded.model.spec, known, request, steps, best, notes)


def choose_for_image(
    sampler: Sampler,
    image: Tensor,
    observed: Tensor,
    request: ChoiceRequest,
    num_samples: int = COMPLETIONS,
    conditions: Conditions | None = None,
    sampling: Sampling | None = None,
    name: str = "image",
    progress: Progress = no_progress,
) -> Choice:
    """The order in which to measure the missing components of one image.

    `num_samples` completions are drawn of it. Each is taken for the truth: a candidate is measured on it, the rest is filled in by
    one pass of the tokenizer, and that is compared with the completion; errors are averaged over completions. So what a measurement
    brings is judged by the spread of the prior's answers, and is right as far as these are.

    `image` [C, H, W], stored; `observed` bool [C, H, W]: where it is known, of the components in `request.known` alone;
    `sampling`: by default with the temperature that was fitted for the prior (`vqkit evaluate --calibrate`), if any. Raises
    as `Sampler.complete` and `choose_components` do.
    """
    spec = sampler.spec
    known = known_components(spec, request)
    sampling = sampler.completion_sampling() if sampling is None else sampling
    with progress("drawn", num_samples) as advance:
        drawn = sampler.complete(
            image[None], observed[None], num_samples, conditions, sampling, request.batch_size, advance
        ).images[0]
    chosen = torch.zeros(len(spec.components), dtype=torch.bool)
    chosen[list(known)] = True
    # A gap in a known component stays one: it cannot be looked at, and is not what is to be measured.
    present = observed | ~chosen[:, None, None]
    size = min(request.batch_size, max(1, _CHUNK_PIXELS // image.numel()))

    def batches() -> Iterator[Batch]:
        for part in torch.split(drawn, size):
            unknown = spec.unknown_conditions(len(part))
            yield Batch(part, unknown, torch.full((len(part),), -1), present=present.expand(part.shape))

    errors = KeepSetErrors(sampler.pipeline, batches, known, num_samples, conditions, progress)
    steps, best = _search(errors, spec, known, request)
    pipeline = sampler.pipeline
    about = _Source(str(pipeline.path), pipeline.digest, f"completions of {name}", sampler.origin(sampling))
    fitted = sampler.calibration is not None and sampler.calibration.fits(sampling)
    notes = [f"Completions are drawn at the temperature {sampling.temperature:g}, fitted on validation images."] if fitted else []
    return _choice(about, errors, spec, known, request, steps, best, notes)


def known_components(spec: DataSpec, request: ChoiceRequest) -> KeepSet:
    """Positions of the components that are known at the start.

    Raises `ConfigError` for an unknown name, where there is nothing to choose from, and for an exhaustive search over too many
    keep-sets.
    """
    known = tuple(sorted(set(spec.component_indices(spec.named_components(request.known)))))
    count = len(spec.components)
    if count == 1:
        raise ConfigError(
            f"The images of this model have one component, {spec.components[0]}: there is nothing to choose from.",
            "Name a model of images with several components with --run.",
        )
    if len(known) == count:
        raise ConfigError(
            f"All {count} components are known, so there is nothing left to measure.", "Name fewer of them with --known."
        )
    sets = sum(math.comb(count - len(known), size) for size in range(1, budget_of(request, count - len(known)) + 1))
    if request.exhaustive and sets > MOST_KEEP_SETS:
        raise ConfigError(
            f"An exhaustive search would try {sets} keep-sets; at most {MOST_KEEP_SETS} are tried.",
            "Give a smaller --budget, or leave out --exhaustive.",
        )
    return known


def budget_of(request: ChoiceRequest, missing: int) -> int:
    """How many components are measured, of so many that are missing: the budget, but not more."""
    return missing if request.budget is None else min(request.budget, missing)


class _Source(NamedTuple):
    """What a choice was measured on: the first fields of `Choice`."""

    run: str
    digest: str
    source: str
    origin: dict[str, Any]


def _search(
    errors: KeepSetErrors, spec: DataSpec, known: KeepSet, request: ChoiceRequest
) -> tuple[list[Step], list[KeepSetError] | None]:
    """The greedy order, and the best keep-set of each size where all are tried."""
    missing = tuple(position for position in range(len(spec.components)) if position not in known)
    budget = budget_of(request, len(missing))
    steps = greedy_order(errors, spec, known, missing, budget)
    is_exhaustive = len(missing) <= EXHAUSTIVE_COMPONENTS if request.exhaustive is None else request.exhaustive
    return steps, best_keep_sets(errors, known, missing, budget) if is_exhaustive else None


def greedy_order(errors: KeepSetErrors, spec: DataSpec, known: KeepSet, missing: KeepSet, budget: int) -> list[Step]:
    """The `budget` components that leave the smallest error when each is measured after those before it; the first of equals."""
    steps: list[Step] = []
    left, kept = list(missing), known
    before = errors.measure([known])[0].error if known else None
    while len(steps) < budget:
        after = [
            found.error for found in errors.measure([_with(kept, each) for each in left], f"step {len(steps) + 1} of {budget}")
        ]
        best = min(range(len(left)), key=lambda number: after[number])
        candidates = {spec.components[position]: error for position, error in zip(left, after, strict=True)}
        steps.append(Step(spec.components[left[best]], before, after[best], candidates))
        kept, before = _with(kept, left.pop(best)), after[best]
    return steps


def best_keep_sets(errors: KeepSetErrors, known: KeepSet, missing: KeepSet, budget: int) -> list[KeepSetError]:
    """The keep-set with the smallest error of each number of components beside those that are known, from 1 to `budget`."""
    sizes = [[_with(known, *more) for more in itertools.combinations(missing, size)] for size in range(1, budget + 1)]
    errors.measure([kept for sets in sizes for kept in sets], "all keep-sets")
    return [min(errors.measure(sets), key=lambda found: found.error) for sets in sizes]


def _with(kept: KeepSet, *more: int) -> KeepSet:
    return tuple(sorted((*kept, *more)))


def _choice(
    about: _Source,
    errors: KeepSetErrors,
    spec: DataSpec,
    known: KeepSet,
    request: ChoiceRequest,
    steps: Sequence[Step],
    best: Sequence[KeepSetError] | None,
    notes: Sequence[str],
) -> Choice:
    names = tuple(spec.components[position] for position in known)
    constant = errors.constant
    if request.budget is not None and request.budget > len(steps):
        what = "1 component is" if len(steps) == 1 else f"{len(steps)} components are"
        notes = [*notes, f"Only {what} missing: a budget of {request.budget} measures all of them."]
    if constant:
        verb = "is" if len(constant) == 1 else "are"
        notes = [*notes, f"{', '.join(constant)} {verb} constant in these images, and left out of the error."]
    return Choice(
        **about._asdict(),
        images=errors.images,
        metric=METRICS[spec.value_kind],
        known=names,
        missing=tuple(name for name in spec.components if name not in names),
        start=errors.measure([known])[0] if known else None,
        steps=tuple(steps),
        best=None if best is None else tuple(best),
        keep_sets=tuple(errors.measured),
        notes=tuple(notes),
    )
