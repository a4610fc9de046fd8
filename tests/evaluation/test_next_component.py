"""Which component to measure next: errors against plain loops, and the search against one by hand."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from painting import FIELDS, SHAPES, sampler, sections
from vqkit.config import NamedOptions, Settings
from vqkit.data.splits import ArraySplit
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation import next_component
from vqkit.evaluation.keep_set_errors import KeepSet, KeepSetErrors
from vqkit.evaluation.next_component import (
    ChoiceRequest,
    best_keep_sets,
    choose_components,
    choose_for_image,
    greedy_order,
)
from vqkit.inference.calibration import Calibration
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import fill_missing
from vqkit.inference.sampler import Completions, Sampler
from vqkit.interfaces import Autoencoder, Batch, DataSpec, Reconstruction
from vqkit.interfaces.priors import DEFAULT_SAMPLING
from vqkit.storage.checkpoints import Loaded

STAINS = DataSpec.uniform("stains", ("a", "twin", "b", "both", "alone"), 8, 8, "intensity")
"""`twin` is a copy of `a`, `both` the mean of `a` and `b`; `alone` is noise."""


class Lines(Autoencoder):
    """A model that knows how components hang together.

    `rules`: for each component, ways to compute it, each a weight for each component that it takes; the first of which everything
    is observed is used, and `otherwise` where there is none.
    """

    Options = Settings

    def __init__(self, spec: DataSpec, rules: dict[int, list[dict[int, float]]], otherwise: float = 0.5) -> None:
        super().__init__(Settings(), spec)
        self.rules, self.otherwise, self.passes = rules, otherwise, 0

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        self.passes += 1
        answer = torch.full_like(images, self.otherwise)
        for component, ways in self.rules.items():
            for way in reversed(ways):
                known = observed[:, list(way)].all(dim=1)
                value = sum((weight * images[:, source] for source, weight in way.items()), torch.zeros(()))
                answer[:, component] = torch.where(known, value, answer[:, component])
        return Reconstruction(answer, torch.zeros(()))

    def mean(self, logits: Tensor) -> Tensor:
        return logits


RULES = {
    0: [{1: 1.0}, {2: -1.0, 3: 2.0}],
    1: [{0: 1.0}, {2: -1.0, 3: 2.0}],
    2: [{0: -1.0, 3: 2.0}, {1: -1.0, 3: 2.0}],
    3: [{0: 0.5, 2: 0.5}, {1: 0.5, 2: 0.5}, {0: 0.5, 2: 0.0}, {1: 0.5, 2: 0.0}, {0: 0.6}, {1: 0.6}, {2: 0.6}],
}
MIXED_RULES = {0: [{2: 0.9}], 1: [{0: 1.2}, {2: 0.8}], 2: [{0: 0.7, 1: 0.1}, {0: 0.4}]}


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape)))


def stains(count: int = 6) -> ArraySplit:
    a, b, alone = (random(3, count, 8, 8) * 255).round()
    return ArraySplit(STAINS, torch.stack([a, a, b, ((a + b) / 2).floor(), alone], dim=1).to(torch.uint8))


def fields(count: int = 9, garbage: int = 0) -> ArraySplit:
    """Images of `FIELDS`, of which three lack a component altogether and two a corner."""
    drawn = torch.Generator().manual_seed(0)
    heat = torch.randint(900, 5200, (count, 16, 12), generator=drawn)
    forest = 255 * (torch.rand(count, 16, 12, generator=drawn) < 0.4).long()
    rain = torch.randint(0, 900, (count, 16, 12), generator=drawn)
    present = torch.ones(count, 3, 16, 12, dtype=torch.bool)
    present[[1, 4], 2] = False
    present[3] = False
    present[[0, 7], :, :5, :4] = False
    present[5, 1, 3] = False
    images = torch.where(present, torch.stack([heat, forest, rain], dim=1), garbage)
    return ArraySplit(FIELDS, images.to(torch.uint16), present=present)


def loaded(model: Autoencoder) -> Loaded:
    return Loaded(model.eval(), Path("runs/lines/model.safetensors"), "d" * 64, NamedOptions(name="tyre"), {})


def keep_set_errors(model: Autoencoder, images: ArraySplit, known: KeepSet, size: int = 4) -> KeepSetErrors:
    def batches() -> Iterator[Batch]:
        return (images.batch(part) for part in torch.split(torch.arange(len(images)), size))

    return KeepSetErrors(Pipeline(loaded(model), torch.device("cpu"), "fp32"), batches, known, len(images))


def by_hand(model: Autoencoder, images: ArraySplit, known: KeepSet, kept: KeepSet) -> dict[str, tuple[float, float]]:
    """Of each component that is missing: its error, and its IoU or its RMSE in stored values, from one image after the other."""
    spec, shapes, squares, stored_squares, values = images.spec, {}, {}, {}, {}
    for number in range(len(images)):
        batch = images.batch(torch.tensor([number]))
        present = batch.observed
        if not bool(present.flatten(2).any(2).all()):
            continue
        unit = spec.to_unit(batch.images).masked_fill(~present, 0)
        observed = present.clone()
        observed[:, [each for each in range(len(spec.components)) if each not in kept]] = False
        expected = model.reconstruct(unit * observed, observed, torch.zeros(1, 0))
        final = fill_missing(expected, unit, observed, spec)
        for position, each in enumerate(spec.component_specs):
            where = present[0, position]
            values.setdefault(position, []).append(unit[0, position][where].double())
            if position in kept or position in known:
                continue
            if each.kind == "binary":
                one, other = final[0, position][where] >= 0.5, unit[0, position][where] >= 0.5
                shapes.setdefault(position, []).append(float((one & other).sum() / (one | other).sum()))
            else:
                squares.setdefault(position, []).append((expected - unit)[0, position][where].double().square())
                written = spec.from_unit(expected)[0, position][where].double() - batch.images[0, position][where].double()
                stored_squares.setdefault(position, []).append(written.square())
    result = {}
    for position, found in shapes.items():
        iou = sum(found) / len(found)
        result[spec.components[position]] = 1 - iou, iou
    for position, found in squares.items():
        variance = torch.cat(values[position]).var(unbiased=False)
        rmse = math.sqrt(float(torch.cat(stored_squares[position]).mean()))
        result[spec.components[position]] = float(torch.cat(found).mean() / variance), rmse
    return result


@pytest.mark.parametrize("known", [(), (0,), (1,), (0, 2)])
def test_errors_are_those_of_every_image_that_holds_all_components(known: KeepSet) -> None:
    model = Lines(FIELDS, MIXED_RULES)
    for garbage in (0, 60000):
        images = fields(garbage=garbage)
        errors = keep_set_errors(model, images, known)
        missing = [each for each in range(3) if each not in known]
        for size in range(0 if known else 1, len(missing)):
            for more in itertools.combinations(missing, size):
                kept = tuple(sorted((*known, *more)))
                (found,) = errors.measure([kept])
                expected = by_hand(model, images, known, kept)
                assert found.keep == tuple(FIELDS.components[each] for each in kept)
                assert list(found.components) == sorted(expected, key=FIELDS.components.index)
                for name, (error, figure) in expected.items():
                    each = found.components[name]
                    assert each.error == pytest.approx(error, rel=1e-5)
                    assert each.iou == (pytest.approx(figure) if name == "forest" else None)
                    assert each.rmse == (None if name == "forest" else pytest.approx(figure, rel=1e-5))
                assert found.error == pytest.approx(sum(error for error, _ in expected.values()) / len(missing), rel=1e-5)
        assert errors.images == 6


def test_errors_do_not_depend_on_the_batches_and_are_measured_once() -> None:
    model, images = Lines(STAINS, RULES), stains()
    errors = keep_set_errors(model, images, (0,), size=3)
    first = errors.measure([(0, 2), (0, 3), (0, 2)])
    assert model.passes == 2 * 2
    assert errors.measure([(0, 3), (0, 2)]) == [first[1], first[0]]
    assert errors.measure([(0, 1, 2, 3, 4)])[0].error == 0
    assert model.passes == 2 * 2
    whole = keep_set_errors(model, images, (0,), size=6).measure([(0, 2)])[0]
    assert whole.error == pytest.approx(first[0].error, rel=1e-6)
    assert [each.keep for each in errors.measured] == [("a", "b"), ("a", "both"), STAINS.components]


def test_constant_components_are_left_out_of_the_error() -> None:
    images = stains()
    flat = images.batch(torch.arange(6)).images.clone()
    flat[:, 4] = 7
    errors = keep_set_errors(Lines(STAINS, RULES), ArraySplit(STAINS, flat), ())
    (found,) = errors.measure([(0,)])
    assert errors.constant == ("alone",)
    assert list(found.components) == ["twin", "b", "both"]
    assert found.error == pytest.approx(sum(each.error for each in found.components.values()) / 4)
    flat[:, 1:] = 7
    with pytest.raises(DataError, match="twin, b, both, alone are constant in these images; nothing else is missing"):
        keep_set_errors(Lines(STAINS, RULES), ArraySplit(STAINS, flat), (0,)).measure([(0, 1)])


def test_images_that_never_hold_everything_are_refused() -> None:
    images = fields()
    present = images.batch(torch.arange(9)).observed.clone()
    present[::2, 0], present[1::2, 2] = False, False
    gaps = ArraySplit(FIELDS, images.batch(torch.arange(9)).images, present=present)
    with pytest.raises(DataError, match="None of the images holds all components"):
        keep_set_errors(Lines(FIELDS, {}), gaps, ()).measure([(0,)])


class Table:
    """Errors of keep-sets that are given in advance."""

    def __init__(self, errors: dict[KeepSet, float]) -> None:
        self.errors = errors

    def measure(self, keep_sets: Sequence[KeepSet], what: str = "") -> list[Any]:
        return [SimpleNamespace(keep=kept, error=self.errors[kept]) for kept in keep_sets]


def every_set(count: int) -> list[KeepSet]:
    return [kept for size in range(count + 1) for kept in itertools.combinations(range(count), size)]


@pytest.mark.parametrize("known", [(), (3,), (0, 4)])
def test_the_search_against_every_order_and_every_set(known: KeepSet) -> None:
    generator = torch.Generator().manual_seed(len(known))
    table = {kept: float(torch.rand((), generator=generator)) for kept in every_set(5)}
    errors, missing = cast(KeepSetErrors, Table(table)), tuple(each for each in range(5) if each not in known)
    steps = greedy_order(errors, STAINS, known, missing, len(missing))
    kept = set(known)
    for number, step in enumerate(steps):
        left = {STAINS.components[each]: table[tuple(sorted({*kept, each}))] for each in missing if each not in kept}
        assert step.candidates == left
        assert step.after == left[step.component] == min(left.values())
        assert step.before == (table[tuple(sorted(kept))] if kept else None)
        assert step.before is None or number == 0 or step.before == steps[number - 1].after
        kept.add(STAINS.components.index(step.component))
    best = best_keep_sets(errors, known, missing, len(missing))
    for size, found in enumerate(best, start=1):
        sets = [each for each in table if set(known) <= set(each) and len(each) == len(known) + size]
        assert found.error == min(table[each] for each in sets) == table[cast(KeepSet, found.keep)]


def test_a_greedy_order_may_miss_the_best_pair() -> None:
    table = dict.fromkeys(every_set(3), 0.5) | {(0,): 0.3, (1,): 0.4, (2,): 0.4, (1, 2): 0.0, (0, 1): 0.2, (0, 2): 0.25}
    errors = cast(KeepSetErrors, Table(table))
    three = DataSpec.uniform("three", ("x", "y", "z"), 8, 8, "intensity")
    assert [step.component for step in greedy_order(errors, three, (), (0, 1, 2), 2)] == ["x", "y"]
    assert [cast(object, each.keep) for each in best_keep_sets(errors, (), (0, 1, 2), 2)] == [(0,), (1, 2)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> ArraySplit:
    """The images that are looked at, whatever is asked for."""
    images = stains()
    monkeypatch.setattr(next_component, "open_split", lambda *arguments: images)
    return images


def test_a_copy_is_measured_last(measured: ArraySplit) -> None:
    model = Lines(STAINS, RULES)
    choice = choose_components(loaded(model), ChoiceRequest(batch_size=4))
    order = [step.component for step in choice.steps]
    assert order[-1] in ("a", "twin") and set(order) == set(STAINS.components)
    assert choice.steps[-2].after == 0 == choice.steps[-1].after
    from_a = choose_components(loaded(model), ChoiceRequest(known=["a"]))
    assert [step.component for step in from_a.steps] == ["b", "alone", "both", "twin"]
    assert from_a.steps[0].candidates["twin"] == from_a.steps[0].before
    assert from_a.best is not None and [each.error for each in from_a.best] == [step.after for step in from_a.steps]


def test_a_choice_says_what_it_was_measured_on(measured: ArraySplit) -> None:
    model = Lines(STAINS, RULES)
    choice = choose_components(loaded(model), ChoiceRequest(known=["b"], budget=2, exhaustive=False))
    assert (choice.known, choice.missing) == (("b",), ("a", "twin", "both", "alone"))
    assert choice.best is None and len(choice.steps) == 2 and choice.images == 6
    assert choice.metric == "MSE / variance" and choice.source == "images of tyre, val split"
    assert choice.start is not None and choice.steps[0].before == choice.start.error
    assert [each.error for each in choice.chosen] == [step.after for step in choice.steps]
    assert json.loads(json.dumps(choice.to_json()))["steps"][0]["component"] == choice.steps[0].component
    more = choose_components(loaded(model), ChoiceRequest(known=["b"], budget=9))
    assert len(more.steps) == 4 and more.best is not None and len(more.keep_sets) == 16
    assert more.notes == ("Only 4 components are missing: a budget of 9 measures all of them.",)


def test_what_cannot_be_chosen_is_refused(measured: ArraySplit) -> None:
    run = loaded(Lines(STAINS, RULES))
    with pytest.raises(ConfigError, match="There is no component 'tvin'"):
        choose_components(run, ChoiceRequest(known=["tvin"]))
    with pytest.raises(ConfigError, match="All 5 components are known, so there is nothing left to measure"):
        choose_components(run, ChoiceRequest(known=STAINS.components))
    with pytest.raises(ConfigError, match="budget is 0; it must be at least 1"):
        ChoiceRequest(budget=0)
    grey = DataSpec.uniform("digits", ("grey",), 8, 8, "intensity")
    with pytest.raises(ConfigError, match="have one component, grey: there is nothing to choose from"):
        choose_components(loaded(Lines(grey, {})))
    many = DataSpec.uniform("many", tuple(f"band{number}" for number in range(13)), 8, 8, "intensity")
    with pytest.raises(ConfigError, match=r"would try 8191 keep-sets; at most 2048 are tried\. Give a smaller --budget"):
        choose_components(loaded(Lines(many, {})), ChoiceRequest(exhaustive=True))


def test_images_with_gaps_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_component, "open_split", lambda *arguments: fields())
    choice = choose_components(loaded(Lines(FIELDS, MIXED_RULES)), ChoiceRequest(budget=1))
    assert choice.images == 6 and choice.notes == ("3 of 9 images do not hold all components, and were left out.",)
    assert choice.metric == "1 - IoU or MSE / variance"


class Answering(Sampler):
    """A prior whose answers are given in advance, of the model `Lines`."""

    def __init__(self, model: Autoencoder, answers: Tensor) -> None:
        like = sampler("observed")
        super().__init__(like.prior, Pipeline(loaded(model), torch.device("cpu"), "fp32"), Path("runs/prior"))
        self.answers = answers

    def complete(self, images: Tensor, observed: Tensor, num_samples: int, *rest: Any, **named: Any) -> Completions:
        drawn = torch.where(observed[:, None], images[:, None], self.answers[None, :num_samples])
        nothing = torch.zeros(1, num_samples)
        return Completions(images=drawn, nll=nothing, expected_error=nothing, uncertainty=torch.zeros(images.shape), codes=())


def test_for_one_image_every_answer_is_the_truth_in_turn() -> None:
    model, images = Lines(FIELDS, MIXED_RULES), fields()
    answers = images.batch(torch.tensor([0, 2, 5, 6, 8])).images
    image, observed = answers[0], torch.zeros(3, 16, 12, dtype=torch.bool)
    observed[0, 2:] = True
    choice = choose_for_image(Answering(model, answers), image, observed, ChoiceRequest(known=["heat"]), 5, name="field.tif")
    truth = torch.where(observed, image.long(), answers.long())
    present = torch.ones(5, 3, 16, 12, dtype=torch.bool)
    present[:, 0] = observed[0]
    split = ArraySplit(FIELDS, truth.to(torch.uint16), present=present)
    for found in choice.keep_sets:
        kept = tuple(FIELDS.components.index(name) for name in found.keep)
        expected = by_hand(model, split, (0,), kept)
        assert {name: each.error for name, each in found.components.items()} == pytest.approx(
            {name: error for name, (error, _) in expected.items()}, rel=1e-5
        )
    assert choice.source == "completions of field.tif" and choice.images == 5
    assert len(choice.keep_sets) == 4 and {step.component for step in choice.steps} == {"forest", "rain"}


def test_what_all_answers_agree_on_need_not_be_measured() -> None:
    split = stains(8)
    answers = split.batch(torch.arange(8)).images.clone()
    answers[:, 2] = answers[0, 0]
    answers[:, 3] = answers[:, 4]
    observed = torch.zeros(5, 8, 8, dtype=torch.bool)
    observed[0] = True
    model = Lines(STAINS, {2: [{0: 1.0}], 3: [{4: 1.0}], 4: [{3: 1.0}]})
    choice = choose_for_image(Answering(model, answers), answers[0], observed, ChoiceRequest(known=["a"]), 8)
    assert [step.component for step in choice.steps] == ["both", "twin", "b", "alone"]
    assert choice.start is not None and choice.start.components["b"].error == 0
    assert choice.steps[0].candidates["b"] == choice.steps[0].before


def test_one_image_with_a_prior_that_draws() -> None:
    ready, image = sampler("observed"), sections(1)[0]
    observed = torch.zeros(3, 8, 12, dtype=torch.bool)
    observed[0] = True
    request = ChoiceRequest(known=["carcass"])
    choice = choose_for_image(ready, image, observed, request, 6)
    assert choice == choose_for_image(ready, image, observed, replace(request, batch_size=2), 6)
    assert choice != choose_for_image(ready, image, observed, request, 6, sampling=replace(DEFAULT_SAMPLING, seed=1))
    assert choice.notes == () and choice.origin["sampling"]["temperature"] == 1
    ready.calibration = Calibration("p", "t", 1, 2, 0.9, (), 1.4, {})
    fitted = choose_for_image(ready, image, observed, request, 6)
    assert fitted.notes == ("Completions are drawn at the temperature 1.4, fitted on validation images.",)
    assert fitted == choose_for_image(ready, image, observed, request, 6, sampling=replace(DEFAULT_SAMPLING, temperature=1.4))
    assert choose_for_image(ready, image, observed, request, 6, sampling=DEFAULT_SAMPLING) == choice
    assert choice.images == 6 and choice.missing == SHAPES.components[1:] and choice.origin["prior"] == str(ready.path)


def test_an_image_larger_than_the_tile_is_chosen_for_tile_by_tile() -> None:
    ready, image = sampler("observed"), torch.cat([torch.cat([sections(1, seed)[0] for seed in (0, 1)], dim=2)] * 2, dim=1)
    observed = torch.zeros(3, 16, 24, dtype=torch.bool)
    observed[1] = True
    choice = choose_for_image(ready, image, observed, ChoiceRequest(known=["belt"]), 3)
    drawn = ready.complete(image[None], observed[None], 3).images[0]
    kept = observed.clone()
    kept[0] = True
    unit, known = SHAPES.to_unit(drawn), kept.expand(drawn.shape)
    final = fill_missing(ready.pipeline.fill_unit(unit, known), unit, known, SHAPES) >= 0.5
    truth, tread = unit >= 0.5, 2
    iou = [float((one & other).sum() / (one | other).sum()) for one, other in zip(final[:, tread], truth[:, tread], strict=True)]
    found = next(each for each in choice.keep_sets if each.keep == ("carcass", "belt"))
    assert found.components["tread"].iou == pytest.approx(sum(iou) / 3)
