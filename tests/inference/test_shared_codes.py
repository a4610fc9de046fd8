"""Codes that the tiles of a large image share: what each draw sees, what it costs, and on what it does not depend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from small_priors import random_conditioning, same_codes, small_prior, small_spec
from vqkit.errors import ConfigError
from vqkit.inference import shared_codes
from vqkit.inference.code_windows import NOBODY, CodeWindows
from vqkit.inference.shared_codes import DrawnCodes, SharedCodesSampler
from vqkit.interfaces import CodeSpec, Conditioning
from vqkit.interfaces.priors import Sampling
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.orders import Order, drawn_after, fixed_order, ranks_of

SPEC = small_spec("observed", (4, 4), codes=9, levels=2)
WINDOWS = CodeWindows(26, 37, (16, 16), SPEC.shapes, 8)
"""Tiles of 16 x 16 pixels, with a code for 8 x 8 pixels and one for 4 x 4."""
EVERY = range(WINDOWS.tiles.count)


def masked(spec: CodeSpec = SPEC) -> MaskedPrior:
    prior = small_prior("masked", spec)
    assert isinstance(prior, MaskedPrior)
    return prior


def condition(images: Sequence[int], tiles: Sequence[int]) -> Conditioning:
    """Of its own for every tile of every image."""
    each = [random_conditioning(SPEC, 1, 100 * image + tile) for image, tile in zip(images, tiles, strict=True)]
    return Conditioning(
        torch.cat([one.values for one in each]),
        torch.cat([one.labels for one in each]),
        tuple(torch.cat(level) for level in zip(*(one.observed for one in each), strict=True)),
        torch.cat([one.dropped for one in each]),
    )


FIVE_STEPS = Sampling(seed=3, draw_steps=5)


def draw(active: Sequence[Sequence[int]] = (EVERY,), each: int = 1, sampling: Sampling = FIVE_STEPS, **others: Any) -> DrawnCodes:
    return SharedCodesSampler(masked(), WINDOWS, active, condition, each, sampling, **others).draw()


def costs(codes: tuple[Tensor, ...], level: int, steps: Tensor) -> Tensor:
    """The cost of every code of a level of one image [1, H, W], by a full pass over each window for each step [H, W]."""
    prior, owners = masked(), WINDOWS.owners(level, EVERY)
    halton = ranks_of(fixed_order("halton", *SPEC.shapes[level]))
    found = torch.full(owners.shape, torch.nan)
    for tile in EVERY:
        place = WINDOWS.place(level, tile)
        window = tuple(WINDOWS.cut(each, own, [0], [tile]) for each, own in enumerate(codes[: level + 1]))
        for step in range(int(steps.max()) + 1):
            known = (steps[place] < step).flatten()
            ranks = ranks_of((halton + 100 * ~known).argsort())
            logits = prior.logits(level, window, condition([0], [tile]), Order(ranks[None], (~known).long()[None]))
            cost = F.cross_entropy(logits, window[level], reduction="none")[0]
            here = (owners[place] == tile) & (steps[place] == step)
            found[place] = torch.where(here, cost, found[place])
    return found


@torch.no_grad()
def test_a_code_counts_once_given_all_that_was_drawn_before_it_around_it() -> None:
    drawn = draw()
    total = torch.zeros(())
    for level, (rows, columns) in enumerate(SPEC.shapes):
        after = torch.tensor(drawn_after(rows * columns, 5))
        ranks = ranks_of(fixed_order("halton", rows, columns)).view(rows, columns)
        steps = WINDOWS.repeated(level, torch.searchsorted(after, ranks, right=True))
        total += costs(drawn.codes, level, steps).sum()
    torch.testing.assert_close(drawn.nll, total[None], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("order", ["halton", "random", "raster"])
def test_the_last_step_sees_finished_neighbours_on_all_sides(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Tensor, Tensor, Tensor]] = []
    logits_given = MaskedPrior.logits_given

    def recorded(self: MaskedPrior, level: int, codes: tuple[Tensor, ...], known: Tensor, positions: Tensor, own: Tensor) -> Tensor:
        asked.append((level, codes[level], known, positions))
        return logits_given(self, level, codes, known, positions, own)

    monkeypatch.setattr(MaskedPrior, "logits_given", recorded)
    drawn = draw(sampling=Sampling(seed=3, draw_steps=5, order=order))
    level, codes, known, positions = asked[-1]
    assert level == 1
    count = drawn_after(16, 5)[-1] - drawn_after(16, 5)[-2]
    assert known.flatten(1).sum(dim=1).tolist() == [16 - count] * len(known), "all that is not drawn now, also right and below"
    finished = {str(WINDOWS.cut(1, drawn.codes[1] + 1, [0], [tile])[0].masked_fill(~seen, 0)) for tile in EVERY for seen in known}
    for window, seen in zip(codes, known, strict=True):
        assert str((window + 1).masked_fill(~seen, 0)) in finished
    assert not bool(known.flatten(1).gather(1, positions[:, :1]).any())


@pytest.mark.parametrize("side", ["above", "left", "below", "right"])
def test_a_neighbour_on_any_side_changes_what_is_expected_last(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that belongs to another tile is replaced before the last step."""
    windows = CodeWindows(48, 48, (16, 16), ((4, 4),), 8)
    middle, everywhere = windows.tiles.count // 2, range(windows.tiles.count)
    owned = windows.owners(0, everywhere) == middle
    rows, columns = (int(axis.min()) for axis in owned.nonzero().T)
    beside = {"above": (rows - 1, columns), "left": (rows, columns - 1), "below": (rows + 2, columns), "right": (rows, columns + 2)}
    row, column = beside[side]
    assert not bool(owned[row, column])
    last: list[Tensor] = []
    logits = SharedCodesSampler._logits

    def recorded(sampler: Any, state: Any, step: Any, pairs: Any, positions: Tensor, sampling: Any) -> tuple[Tensor, Tensor]:
        found = logits(sampler, state, step, pairs, positions, sampling)
        if step.number == 1:
            known = step.known.clone()
            known[0, row, column] = True
            for change in (0, 4):
                codes = state.codes[0].clone()
                codes[0, row, column] = (codes[0, row, column] + change) % 9
                changed = state._replace(codes=(codes,)), step._replace(known=known)
                last.append(logits(sampler, *changed, [(0, middle)], positions[:1], sampling)[0])
        return found

    monkeypatch.setattr(SharedCodesSampler, "_logits", recorded)
    spec = small_spec("observed", (4, 4), codes=9)

    def given(images: Sequence[int], tiles: Sequence[int]) -> Conditioning:
        return random_conditioning(spec, len(tiles))

    SharedCodesSampler(masked(spec), windows, [everywhere], given, 1, Sampling(draw_steps=2)).draw()
    assert len(last) == 2
    assert float((last[0] - last[1]).abs().max()) > 1e-3


def test_a_single_tile_costs_what_its_steps_cost() -> None:
    windows = CodeWindows(16, 16, (16, 16), SPEC.shapes, 8)
    sampling = Sampling(seed=3, draw_steps=5)
    drawn = SharedCodesSampler(masked(), windows, [[0]], condition, 1, sampling).draw()
    with torch.no_grad():
        expected = sum(level.sum() for level in masked().steps_nll(drawn.codes, condition([0], [0]), sampling))
    torch.testing.assert_close(drawn.nll[0], expected, rtol=1e-5, atol=1e-4)


SETTINGS = [
    {},
    {"order": "random"},
    {"revisions": 2},
    {"guidance_scale": 2.0},
    {"temperature": (0.5, 1.0), "top_k": 4},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_answer_depends_on_its_number_and_on_no_others_nor_on_batches(settings: dict[str, Any]) -> None:
    sampling = Sampling(seed=3, draw_steps=4, **settings)
    active = [EVERY, EVERY[:2], [], EVERY]
    whole = draw(active, 3, sampling)
    assert len(torch.unique(whole.codes[1][:3], dim=0)) == 3
    small = draw(active, 3, sampling, batch_size=2)
    assert same_codes(whole.codes, small.codes)
    torch.testing.assert_close(whole.nll, small.nll)
    again = draw(active[:2], 3, sampling)
    assert same_codes(again.codes, tuple(level[:6] for level in whole.codes))
    later = draw(active[:1], 2, sampling, first=1)
    assert same_codes(later.codes, tuple(level[1:3] for level in whole.codes))
    other = draw(active[:1], 2, Sampling(seed=4, draw_steps=4, **settings), first=1)
    assert not same_codes(later.codes, other.codes)


def test_settings_change_answers() -> None:
    answers = [draw(sampling=Sampling(seed=3, draw_steps=4, **settings)).codes for settings in SETTINGS]  # type: ignore[arg-type]
    assert all(not same_codes(answers[0], answer) for answer in answers[1:])


def test_only_codes_of_active_tiles_are_drawn() -> None:
    drawn = draw([[0], []], sampling=Sampling(seed=3))
    for level, codes in enumerate(drawn.codes):
        needed = WINDOWS.owners(level, [0]) != NOBODY
        assert not bool(codes[0][~needed].any()) and not bool(codes[1].any())
        assert bool(codes[0][needed].any())
    assert drawn.nll[1] == 0 < drawn.nll[0]


def test_features_that_are_not_held_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int]] = []

    def counted(images: Sequence[int], tiles: Sequence[int]) -> Conditioning:
        computed.extend(zip(images, tiles, strict=True))
        return condition(images, tiles)

    def run() -> DrawnCodes:
        computed.clear()
        return SharedCodesSampler(masked(), WINDOWS, [EVERY], counted, 2, Sampling(seed=3)).draw()

    held = run()
    assert sorted(computed) == sorted([(0, tile) for tile in EVERY] * 2), "once for each level"
    monkeypatch.setattr(shared_codes, "_HELD_BYTES", 0)
    assert same_codes(held.codes, run().codes)
    assert len(computed) > 2 * len(EVERY)


def test_progress_adds_up_to_the_answers() -> None:
    for active in ([EVERY, EVERY[:1], []], [[]]):
        done: list[float] = []
        sampler = SharedCodesSampler(masked(), WINDOWS, active, condition, 2, Sampling(revisions=2), batch_size=3)
        sampler.draw(done.append)
        assert sum(done) == pytest.approx(2 * len(active)) and min(done) >= 0


def test_the_confidence_order_and_methods_of_raster_priors_are_refused() -> None:
    with pytest.raises(ConfigError, match="confidence differs from tile to tile"):
        draw(sampling=Sampling(order="confidence"))
    with pytest.raises(ConfigError, match="always with caches"):
        draw(sampling=Sampling(method="naive"))
