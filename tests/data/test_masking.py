from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.config import HolesConfig, MaskingConfig
from vqkit.data.masking import (
    BOX_SIDE,
    PIXEL_KINDS,
    keep_sets,
    mask_components,
    mask_probability,
    observed_components,
    sample_observed,
    sample_pixels,
)
from vqkit.layers.encoder_input import observed_pixels

KINDS = ("components", *PIXEL_KINDS, "mixed", "components-or-boxes")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestSchedule:
    def test_the_masked_share_grows_linearly_and_then_stays(self) -> None:
        config = MaskingConfig(max_probability=0.8, warmup_epochs=20)
        assert [mask_probability(config, epoch) for epoch in (0, 5, 10, 20, 300)] == pytest.approx([0, 0.2, 0.4, 0.8, 0.8])

    def test_without_warm_up_it_is_whole_from_the_start(self) -> None:
        assert mask_probability(MaskingConfig(max_probability=0.7, warmup_epochs=0), 0) == 0.7

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_is_hidden_at_probability_zero(self, kind: str) -> None:
        assert sample_observed((16, 3, 8, 8), 0.0, MaskingConfig(kind=kind), seeded()).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_sample_has_a_hole_at_probability_one(self, kind: str) -> None:
        observed = sample_observed((64, 3, 16, 16), 1.0, MaskingConfig(kind=kind), seeded())
        assert not observed.flatten(1).all(dim=1).any()
        assert observed.flatten(1).any(dim=1).all()

    def test_the_share_of_masked_samples_is_the_probability(self) -> None:
        observed = sample_observed((4000, 5, 4, 4), 0.7, MaskingConfig(), seeded())
        whole = observed.flatten(1).all(dim=1).double().mean()
        assert float(whole) == pytest.approx(0.3, abs=0.03)  # four standard deviations


class TestKeepSets:
    def test_their_size_is_uniform_from_one_to_all_but_one(self) -> None:
        sizes = keep_sets(12_000, 5, "any", seeded()).sum(dim=1).bincount(minlength=6)
        assert sizes[0] == sizes[5] == 0
        assert sizes[1:5].tolist() == pytest.approx([3000] * 4, abs=200)

    def test_sets_of_a_size_are_equally_likely(self) -> None:
        kept = keep_sets(18_000, 4, "any", seeded())
        pairs = kept[kept.sum(dim=1) == 2]
        counts = [int((pairs[:, list(pair)].all(dim=1)).sum()) for pair in itertools.combinations(range(4), 2)]
        assert sum(counts) == len(pairs)
        assert counts == pytest.approx([1000] * 6, abs=130)

    def test_one_keeps_exactly_one_uniformly(self) -> None:
        kept = keep_sets(10_000, 5, "one", seeded())
        assert (kept.sum(dim=1) == 1).all()
        assert kept.sum(dim=0).tolist() == pytest.approx([2000] * 5, abs=160)

    @pytest.mark.parametrize("keep", ["any", "one"])
    def test_a_single_component_is_always_kept(self, keep: str) -> None:
        assert keep_sets(9, 1, keep, seeded()).all()

    def test_a_component_is_hidden_in_all_its_pixels(self) -> None:
        observed = sample_observed((32, 4, 6, 5), 1.0, MaskingConfig(kind="components"), seeded())
        assert torch.equal(observed.flatten(2).all(dim=2), observed.flatten(2).any(dim=2))


@settings(deadline=None)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 4),
    height=st.integers(2, 33),
    width=st.integers(2, 33),
    kind=st.sampled_from(KINDS),
    probability=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_probability(
    batch: int, channels: int, height: int, width: int, kind: str, probability: float, seed: int
) -> None:
    shape = (batch, channels, height, width)
    observed = sample_observed(shape, probability, MaskingConfig(kind=kind), seeded(seed))
    assert observed.shape == shape
    assert observed.dtype == torch.bool
    assert torch.equal(observed, sample_observed(shape, probability, MaskingConfig(kind=kind), seeded(seed)))
    if kind not in ("components", "components-or-boxes"):
        assert torch.equal(observed, observed[:, :1].expand(shape))  # a hole is one for all channels


class TestPixelHoles:
    def boxes(self, height: int, width: int) -> Tensor:
        return ~sample_pixels((500, 3, height, width), "boxes", seeded())[:, 0]

    @pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (7, 40)])
    def test_a_box_is_a_rectangle_with_sides_in_range(self, height: int, width: int) -> None:
        hole = self.boxes(height, width)
        rows, columns = hole.any(dim=2), hole.any(dim=1)
        assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
        for touched, length in ((rows, height), (columns, width)):
            sides = touched.sum(dim=1)
            assert int(sides.min()) >= max(1, round(BOX_SIDE[0] * length))
            assert int(sides.max()) <= max(1, round(BOX_SIDE[1] * length))
            starts = touched.int().diff(dim=1, prepend=torch.zeros(len(touched), 1, dtype=torch.int)).eq(1).sum(dim=1)
            assert (starts == 1).all()  # contiguous

    def test_boxes_reach_every_border_and_both_extreme_sides(self) -> None:
        hole = self.boxes(40, 40)
        assert all(bool(hole[:, edge].any()) and bool(hole[:, :, edge].any()) for edge in (0, -1))
        sides = hole.any(dim=2).sum(dim=1)
        assert (int(sides.min()), int(sides.max())) == (6, 14)

    def test_a_half_is_one_of_four(self) -> None:
        observed = sample_pixels((400, 1, 8, 6), "half", seeded())[:, 0]
        halves = [torch.ones(8, 6, dtype=torch.bool) for _ in range(4)]
        halves[0][:4] = halves[1][4:] = halves[2][:, :3] = halves[3][:, 3:] = False
        counts = [int((observed == half).flatten(1).all(dim=1).sum()) for half in halves]
        assert sum(counts) == 400
        assert min(counts) > 60

    def test_an_odd_size_keeps_the_middle(self) -> None:
        observed = sample_pixels((100, 1, 5, 5), "half", seeded())
        assert observed[:, 0, 2, 2].all()
        assert (observed.flatten(1).sum(dim=1) == 15).all()

    def test_a_stroke_is_connected_and_of_moderate_size(self) -> None:
        hole = ~sample_pixels((50, 1, 32, 32), "free-form", seeded())[:, 0]
        share = hole.double().mean(dim=(1, 2))
        assert float(share.min()) > 0
        assert 0.03 < float(share.mean()) < 0.4
        for each in hole:
            assert reached_from_first(each) == int(each.sum())

    def test_components_or_boxes_hides_either_in_half_of_the_samples(self) -> None:
        observed = sample_observed((400, 4, 16, 16), 1.0, MaskingConfig(kind="components-or-boxes"), seeded())
        whole = (observed.flatten(2).all(dim=2) | ~observed.flatten(2).any(dim=2)).all(dim=1)  # each channel all or nothing
        boxes = (observed == observed[:, :1]).flatten(1).all(dim=1)
        assert torch.equal(whole, ~boxes)
        assert 150 < int(whole.sum()) < 250
        assert len(set(observed[whole].flatten(2).any(dim=2).sum(dim=1).tolist())) == 3

    def test_mixed_draws_every_kind_for_some_sample(self) -> None:
        observed = sample_pixels((300, 2, 16, 16), "mixed", seeded())
        each = torch.stack([sample_pixels((300, 2, 16, 16), kind, generator) for kind, generator in self.replayed()])
        equal = (each == observed).flatten(2).all(dim=2)
        assert equal.any(dim=0).all()
        assert (equal.sum(dim=1) > 50).all()

    def replayed(self) -> list[tuple[str, torch.Generator]]:
        """Each kind with the generator in the state in which `mixed` uses it."""
        generator = seeded()
        torch.randint(3, (300,), generator=generator)
        states = []
        for kind in PIXEL_KINDS:
            copy = torch.Generator()
            copy.set_state(generator.get_state())
            states.append((kind, copy))
            sample_pixels((300, 2, 16, 16), kind, generator)
        return states


def reached_from_first(hole: Tensor) -> int:
    """How many pixels of the hole [H, W] can be walked to from its first one, diagonals included."""
    remaining = {(int(row), int(column)) for row, column in hole.nonzero()}
    queue = [min(remaining)]
    remaining.discard(queue[0])
    reached = 1
    while queue:
        row, column = queue.pop()
        for step in itertools.product((-1, 0, 1), repeat=2):
            neighbour = (row + step[0], column + step[1])
            if neighbour in remaining:
                remaining.discard(neighbour)
                queue.append(neighbour)
                reached += 1
    return reached


class TestMaskComponents:
    """The component-masking study's own operation."""

    def test_masked_samples_keep_one_component_and_others_are_untouched(self) -> None:
        images = torch.rand(400, 5, 4, 3) + 0.1
        masked = mask_components(images, 0.5, seeded())
        alive = masked.flatten(2).ne(0).all(dim=2)
        assert torch.equal(masked, images * alive[:, :, None, None])
        assert set(alive.sum(dim=1).tolist()) == {1, 5}
        assert int((alive.sum(dim=1) == 1).sum()) == pytest.approx(200, abs=40)

    def test_no_generator_is_needed(self) -> None:
        masked = mask_components(torch.ones(64, 5, 2, 2), 1.0)
        assert (masked.sum(dim=(1, 2, 3)) == 4).all()


def test_observed_components_are_true_where_kept() -> None:
    observed = observed_components([0, 2], (2, 3, 4, 5))
    assert observed.shape == (2, 3, 4, 5)
    assert observed[:, [0, 2]].all()
    assert not observed[:, 1].any()


def test_what_is_seen_tells_missing_from_empty_and_full() -> None:
    images = torch.tensor([0.0, 1.0, 0.25, 0.0, 1.0, 0.5]).view(1, 2, 1, 3)
    observed = torch.tensor([True, True, True, False, False, True]).view(1, 2, 1, 3)
    assert observed_pixels(images, observed).flatten().tolist() == [-1, 1, -0.5, 0, 0, 0, 1, 1, 1, 0, 0, 1]
    assert observed_pixels(images, observed).shape == (1, 4, 1, 3)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_observed((8, 3, 8, 8), 0.5, MaskingConfig(kind="mixed"), seeded())
    mask_components(torch.ones(8, 3, 8, 8), 0.5, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_only_components_that_an_image_holds_are_kept_and_one_stays_hidden() -> None:
    held = torch.tensor([[True, True, False, True], [False, True, False, False], [True, True, True, True]]).repeat(400, 1)
    for keep in ("any", "one"):
        kept = keep_sets(1200, 4, keep, torch.Generator().manual_seed(0), held)
        assert not bool((kept & ~held).any())
        counts = kept.sum(dim=1).view(400, 3)
        assert set(counts[:, 1].tolist()) == {1}  # the only one there is
        assert set(counts[:, 0].tolist()) == ({1, 2} if keep == "any" else {1})
        assert set(counts[:, 2].tolist()) == ({1, 2, 3} if keep == "any" else {1})
    shares = keep_sets(1200, 4, "one", torch.Generator().manual_seed(1), held)[0::3].float().mean(dim=0)
    assert shares.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.08)


def test_with_gaps_the_masked_share_is_that_of_complete_images_as_far_as_it_goes() -> None:
    generator = torch.Generator().manual_seed(0)
    held = torch.ones(4000, 3, dtype=torch.bool)
    held[1000:, 1:] = False  # three quarters have nothing to hide
    for probability, expected in ((0.1, 0.1), (0.2, 0.2), (0.7, 0.25)):
        observed = sample_observed((4000, 3, 2, 2), probability, HolesConfig(kind="components"), generator, held)
        hidden = (held[:, :, None, None] & ~observed).flatten(1).any(dim=1)
        assert float(hidden.float().mean()) == pytest.approx(expected, abs=0.02)
        assert not bool(hidden[1000:].any())
    # Holes can be made in every image.
    observed = sample_observed((4000, 3, 8, 8), 0.5, HolesConfig(kind="boxes"), generator, held)
    assert float((~observed).flatten(1).any(dim=1).float().mean()) == pytest.approx(0.5, abs=0.03)
