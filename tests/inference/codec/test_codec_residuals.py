from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from painting import FIELDS, noise
from vqkit.errors import DataError
from vqkit.inference.codec.integer_fitting import fit_means, fit_scales, fit_shares, shares_of
from vqkit.inference.codec.integer_residuals import Parameters
from vqkit.inference.codec.integer_tables import EDGES, KERNELS, Expected, IntegerTable
from vqkit.inference.codec.range_coding import DamagedStreamError, SymbolDecoder, SymbolEncoder
from vqkit.inference.codec.residuals import ResidualCodec, check_components
from vqkit.inference.codec.wavefront import EARLIER, Wavefront
from vqkit.interfaces import ComponentSpec, DataSpec


def smooth(count: int, channels: int, high: int, seed: int = 0, size: tuple[int, int] = (16, 12)) -> NDArray[Any]:
    """Images of a few waves, from 0 to `high`, [count, channels, H, W]."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    phase = noise(count, channels, 2, high=6, dtype="float64", seed=seed)[..., None, None]
    waves = np.sin(rows / 3 + phase[:, :, 0]) + np.cos(columns / 4 + phase[:, :, 1])
    return np.rint((waves + 2) / 4 * high).astype(np.int64)


def spec_of(dtype: str, channels: int = 2, size: tuple[int, int] = (16, 12)) -> DataSpec:
    high = float(np.iinfo(dtype).max)
    specs = tuple(ComponentSpec(f"c{number}", dtype=dtype, high=high, maximum=high) for number in range(channels))
    return DataSpec("numbers", specs, *size)


def round_trip(spec: DataSpec, batches: list[tuple[Tensor, Tensor]]) -> float:
    """The bits of images given their guesses, batch by batch, after they have been decoded to the same values."""
    writing, reading, bits = ResidualCodec(spec), ResidualCodec(spec), 0.0
    for images, guess in batches:
        encoder = SymbolEncoder()
        parameters = writing.encode(images, guess, encoder)
        stream = encoder.stream()
        assert encoder.bits <= 8 * len(stream) <= encoder.bits + 64
        decoded = reading.decode(guess, SymbolDecoder(stream), parameters)
        assert torch.equal(decoded, images) and decoded.dtype == images.dtype
        bits += encoder.bits
    return bits


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255), ("int8", 100), ("uint16", 65535), ("int16", 3000)])
def test_integers_come_back_and_cost_less_than_their_noise_in_full(dtype: str, high: int) -> None:
    clean = smooth(6, 2, high)
    spread = max(2, high // 500)
    rough = clean + noise(*clean.shape, low=-spread, high=spread + 1, dtype="int64", seed=3)
    images = torch.from_numpy(np.clip(rough, 0, high)).to(getattr(torch, dtype))
    guess = torch.from_numpy(clean).to(images.dtype)
    bits = round_trip(spec_of(dtype), [(images[:4], guess[:4]), (images[4:], guess[4:])])
    values = images.numel()
    # Uniform noise of 2 n + 1 values costs its logarithm at the least; a mixture of normals is some tenths of a bit off.
    assert math.log2(2 * spread + 1) - 0.1 < bits / values < math.log2(2 * spread + 1) + 0.6


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_any_values_come_back_whatever_the_guess(dtype: str) -> None:
    limits = np.iinfo(dtype)
    shape = (3, 2, 16, 12)
    wild = torch.from_numpy(noise(*shape, low=limits.min, high=limits.max + 1, dtype=dtype))
    other = torch.from_numpy(noise(*shape, low=limits.min, high=limits.max + 1, dtype=dtype, seed=1))
    flat = torch.full_like(wild, limits.max)
    one_odd = flat.clone()
    one_odd[1, 0, 5, 5] = limits.min
    spec = spec_of(dtype)
    for images, guess in ((wild, other), (wild, flat), (flat, wild), (one_odd, flat)):
        round_trip(spec, [(images, guess)])
    assert round_trip(spec, [(flat, flat)]) < 1


def test_a_component_like_another_costs_little() -> None:
    first = noise(8, 1, 16, 12, high=256, dtype="int64")
    twice = torch.from_numpy(np.concatenate([first, first // 2 + 20], axis=1)).to(torch.uint8)
    guess = torch.full_like(twice, 100)
    alone = round_trip(spec_of("uint8", 1), [(twice[:, :1], guess[:, :1])])
    assert round_trip(spec_of("uint8"), [(twice, guess)]) < 1.4 * alone


def test_binary_and_mixed_components_come_back() -> None:
    shape = (4, 16, 12)
    numbers = [noise(*shape, high=900, dtype="uint16", seed=seed) for seed in (0, 1)]
    disc = (smooth(4, 1, 100)[:, 0] > 50) * 255
    images = np.stack([numbers[0] + 2000, disc, numbers[1]], axis=1).astype(np.uint16)
    guess = images.copy()
    guess[:, 1, 3:5, 4] = 255 - guess[:, 1, 3:5, 4]
    guess[:, 0] = 2450
    round_trip(FIELDS, [(torch.from_numpy(images), torch.from_numpy(guess))] * 2)


def test_shapes_are_learned_from_earlier_batches() -> None:
    spec = DataSpec.uniform("shapes", ("a", "b"), 16, 12, "binary", exclusive=True)
    masks = torch.from_numpy((smooth(64, 2, 100) > 60) * 255).to(torch.uint8)
    guess = masks.roll(1, dims=3)
    first = round_trip(spec, [(masks[:32], guess[:32])])
    second = round_trip(spec, [(masks[:32], guess[:32]), (masks[32:], guess[32:])]) - first
    assert second < 0.7 * first < 0.7 * 0.3 * masks[:32].numel()


def test_other_values_than_a_shapes_two_are_refused() -> None:
    spec = DataSpec.uniform("shapes", ("a",), 16, 12, "binary")
    grey = torch.full((1, 1, 16, 12), 7, dtype=torch.uint8)
    with pytest.raises(DataError, match="The component a holds values other than 0 and 255"):
        ResidualCodec(spec).encode(grey, grey, SymbolEncoder())


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32"])
def test_lossless_is_for_small_whole_numbers(dtype: str) -> None:
    check_components(spec_of("int16"))
    spec = DataSpec("x", (ComponentSpec("heat", dtype=dtype),), 16, 12)
    with pytest.raises(DataError, match=rf"The component heat holds values of type {dtype}; --lossless is for whole numbers"):
        check_components(spec)


def test_the_wavefront_visits_all_pixels_once_after_their_neighbours() -> None:
    front = Wavefront(5, 7)
    numbers = front.plane(np.arange(35).reshape(1, 5, 7), mode="constant", constant_values=-1)[0]
    visited: set[int] = {-1}
    for group in front.groups:
        for offset in map(front.offset, EARLIER):
            assert set(numbers[group + offset].tolist()) <= visited
        visited |= set(numbers[group].tolist())
    assert visited == set(range(-1, 35)) and sum(map(len, front.groups)) == 35
    assert len(front.groups) == 7 + 2 * 4


@pytest.mark.parametrize(
    ("value", "scale", "low", "high"),
    [(100.3, 1.0, 0, 255), (3.0, 2.0, 0, 255), (250.7, 6.0, 0, 255), (128.5, 20.0, -3000, 3000), (0.2, 0.1, -20, 20)],
)
def test_the_table_holds_the_mixture(value: float, scale: float, low: int, high: int) -> None:
    """The probability of every number against the distribution function itself; what lies outside counts for the ends."""
    weights = shares_of(np.array([0, 0, 40, 100, 60, 30, 20, 5], np.uint8))
    table, numbers = IntegerTable(weights, low, high), np.arange(low, high + 1)
    costs = []
    for number in numbers:
        encoder = SymbolEncoder()
        table.code(Expected(np.array([value]), np.array([scale])), encoder, np.array([number]))
        costs.append(encoder.bits)
    below = (ndtr((numbers[:, None] + 0.5 - value) / (scale * KERNELS)) * weights).sum(axis=1)
    below[-1] = 1
    true = np.maximum(np.diff(below, prepend=0), 1e-30)
    given = 2.0 ** -np.array(costs)
    assert given.sum() == pytest.approx(1, abs=1e-3)
    assert 0 <= float((true * (np.log2(true) - np.log2(given))).sum()) < 0.01


def test_bins_reach_over_all_numbers_of_16_bits() -> None:
    assert EDGES[0] <= -65536 and EDGES[-1] >= 65536 and (np.diff(EDGES) > 0).all()
    assert (np.diff(EDGES)[len(EDGES) // 2 - 16 : len(EDGES) // 2 + 16] == 1).all()


def test_parameters_are_fitted() -> None:
    features = noise(5000, 3, low=-1, high=1, dtype="float64")
    wanted = features @ np.array([0.5, -2.0, 0.0]) + noise(5000, low=-0.01, high=0.01, dtype="float64", seed=1)
    assert fit_means(features, wanted, np.ones(5000)) == pytest.approx([0.5, -2.0, 0.0], abs=2e-3)
    positive = np.abs(features)
    spread = 2 + positive @ np.array([3.0, 0.0, 1.0])
    scales = fit_scales(positive, spread * noise(5000, high=2, dtype="float64", seed=2))
    assert scales.base == pytest.approx(2, abs=0.25) and scales.weights == pytest.approx([3, 0, 1], abs=0.35)
    normal = 4 * np.sqrt(-2 * np.log(1 - noise(5000, high=1, dtype="float64", seed=3)))
    normal *= np.cos(2 * np.pi * noise(5000, high=1, dtype="float64", seed=4))
    shares = shares_of(fit_shares(normal, np.full(5000, 4.0)))
    assert shares.sum() == pytest.approx(1) and KERNELS[shares.argmax()] == 1 and shares.max() > 0.8


def test_parameters_that_are_cut_or_absurd_are_noticed() -> None:
    spec = spec_of("uint8")
    images = torch.from_numpy(smooth(2, 2, 255)).to(torch.uint8)
    encoder = SymbolEncoder()
    packed = ResidualCodec(spec).encode(images, images, encoder)
    stream = encoder.stream()
    for parameters in (packed[:-1], packed + b"\0", b"", packed[:8] + b"\xff" + packed[9:], b"\xff" * len(packed)):
        with pytest.raises(DamagedStreamError):
            ResidualCodec(spec).decode(images, SymbolDecoder(stream), parameters)
    first, rest = Parameters.unpack(packed, 0)
    assert first.pack() + rest == packed and first.others == ()
    assert (first.low, first.high) == (int(images[:, 0].min()), int(images[:, 0].max()))
    assert Parameters.unpack(rest, 1)[0].others == (0,)
    assert sum(first.shares) == pytest.approx(255, abs=4)
