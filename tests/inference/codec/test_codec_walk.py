from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from small_priors import random_codes, small_prior, small_spec
from vqkit.errors import ConfigError
from vqkit.inference.codec.code_streams import digest_of, read_codes, write_codes
from vqkit.inference.codec.code_walk import check_prior, walk_codes
from vqkit.inference.codec.range_coding import SymbolDecoder, SymbolEncoder
from vqkit.interfaces import Conditioning, Prior
from vqkit.interfaces.priors import Sampling
from vqkit.priors.masked import MaskedPrior

CASES = [
    ("pixelcnn", "none", 1),
    ("transformer", "metadata", 1),
    ("hierarchical", "class", 2),
    ("masked", "none", 1),
    ("masked", "observed", 1),
    ("masked", "metadata", 3),
]


@pytest.mark.parametrize(("name", "kinds", "levels"), CASES)
@pytest.mark.parametrize("count", [1, 5])
def test_codes_come_back_and_cost_their_exact_likelihood(name: str, kinds: str, levels: int, count: int) -> None:
    spec = small_spec(kinds, levels=levels)
    prior, codes = small_prior(name, spec), random_codes(spec, count)
    encoder = SymbolEncoder()
    write_codes(prior, codes, None, encoder)
    read = read_codes(prior, count, None, SymbolDecoder(encoder.stream()))
    assert all(torch.equal(*levels) and levels[0].dtype == torch.int64 for levels in zip(read, codes, strict=True))
    with torch.no_grad():
        nats = sum(float(level.double().sum()) for level in prior.nll(codes, Conditioning.unconditional(count, spec)))
    assert encoder.bits == pytest.approx(nats / math.log(2), rel=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_masked_prior_codes_in_few_steps_at_the_cost_of_these(steps: int) -> None:
    spec = small_spec(levels=2)
    prior = cast(MaskedPrior, small_prior("masked", spec))
    codes = random_codes(spec, 3)
    encoder = SymbolEncoder()
    write_codes(prior, codes, steps, encoder)
    read = read_codes(prior, 3, steps, SymbolDecoder(encoder.stream()))
    assert all(torch.equal(*levels) for levels in zip(read, codes, strict=True))
    with torch.no_grad():
        nats = prior.steps_nll(codes, Conditioning.unconditional(3, spec), Sampling(draw_steps=steps))
    assert encoder.bits == pytest.approx(sum(float(level.double().sum()) for level in nats) / math.log(2), rel=1e-4)


def test_one_who_reads_sees_the_same_logits_bit_for_bit_whatever_the_threads() -> None:
    spec = small_spec(levels=2)
    prior, codes = small_prior("masked", spec), random_codes(spec, 4)
    seen: list[list[bytes]] = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        seen.append([])

        def known(level: int, positions: Tensor, logits: Tensor) -> Tensor:
            seen[-1].append(logits.numpy().tobytes())
            return codes[level].flatten(1)[:, positions]

        walk_codes(prior, 4, None, known)
        after = torch.get_num_threads()
        torch.set_num_threads(1)
        assert after == threads, "the number of threads is as it was"
    assert seen[0] == seen[1] and len(seen[0]) == sum(height * width for height, width in spec.shapes)


def test_steps_are_for_masked_priors() -> None:
    check_prior(small_prior("masked", small_spec()), 4)
    with pytest.raises(ConfigError, match=r"PixelCNN gives one code after the other in raster order; --draw-steps was given"):
        check_prior(small_prior("pixelcnn", small_spec()), 4)


def test_a_prior_without_steps_is_refused() -> None:
    class Whole(Prior):
        def nll(self, codes: object, conditioning: object) -> tuple[Tensor, ...]:
            return ()

        def sample(self, *arguments: object, **named: object) -> tuple[Tensor, ...]:
            return ()

    prior = small_prior("pixelcnn", small_spec())
    with pytest.raises(ConfigError, match="Whole gives no probability of one code after the other"):
        check_prior(Whole(prior.options, prior.spec), None)


def test_digests_are_of_values() -> None:
    numbers = torch.tensor([1, 2, 300])
    assert digest_of(numbers) == digest_of(numbers.to(torch.int16)) and len(digest_of(numbers)) == 8
    assert digest_of(numbers) != digest_of(numbers + 1)
