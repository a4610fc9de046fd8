"""Draws by key: the same for the same key, and different for every other."""

from __future__ import annotations

import pytest
import torch

from vqkit.core.randomness import generator_for, key_bytes, seed_global_generators

RECORDED = [357500586330794835, 2875728548755850664, 3517649368620086500, 2025916248608599648]


def first_draws(*key: int | str) -> torch.Tensor:
    return torch.randint(2**62, (4,), generator=generator_for(*key))


def test_a_key_gives_the_same_draws_again_and_other_keys_give_others() -> None:
    keys = [(0, "masks", 1), (0, "masks", 2), (1, "masks", 1), (0, "model", 1), ("0", "masks", 1)]
    for key in keys:
        assert torch.equal(first_draws(*key), first_draws(*key))
    assert len({tuple(first_draws(*key).tolist()) for key in keys}) == len(keys)


def test_a_key_gives_these_numbers_on_every_machine() -> None:
    assert first_draws(0, "codes", 0, 1).tolist() == RECORDED


def test_samples_that_shared_their_noise_by_a_seed_of_32_bits_do_not() -> None:
    """The 32-bit hashes of these two keys are equal."""
    one, other = (generator_for(0, "codes", 0, number) for number in (24504, 41475))
    assert one.initial_seed() != other.initial_seed()
    assert not (torch.rand(64, generator=one) == torch.rand(64, generator=other)).any()


def test_no_two_of_300_000_keys_share_a_state() -> None:
    """The first 8 bytes of the hash are the seed; the state is made of those after them, and of all of those."""
    hashes = {key_bytes(16, 0, "codes", 0, number)[8:] for number in range(300_000)}
    assert len(hashes) == 300_000
    assert len({content[:4] for content in hashes}) < 300_000  # as many as 32 bits can tell apart


@pytest.mark.parametrize("byte", [8, 11, 12, 1000, 8 + 4 * 624 - 1])
def test_every_byte_of_the_hash_is_part_of_the_state(byte: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(key_bytes(8 + 4 * 624, "a"))
    before = generator_for("a").get_state()
    content[byte] ^= 1
    monkeypatch.setattr("vqkit.core.randomness.key_bytes", lambda *_: bytes(content))
    assert int((generator_for("a").get_state() != before).sum()) == 1


def test_draws_are_uniform_over_keys_and_uncorrelated() -> None:
    draws = torch.stack([torch.rand(8, generator=generator_for(0, "noise", number)) for number in range(4000)])
    assert draws.mean(0).sub(0.5).abs().max() < 0.02
    assert draws.var(0).sub(1 / 12).abs().max() < 0.005
    assert torch.corrcoef(draws.T).fill_diagonal_(0).abs().max() < 0.07


def test_the_global_generator_is_seeded_with_the_whole_state() -> None:
    with torch.random.fork_rng():
        seed_global_generators(0, "dropout", 3)
        drawn = torch.rand(8)
        assert torch.equal(drawn, torch.rand(8, generator=generator_for(0, "dropout", 3)))
        assert torch.initial_seed() == generator_for(0, "dropout", 3).initial_seed()


def test_another_layout_of_saved_states_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from vqkit.core import randomness

    randomness._fresh_state.cache_clear()
    monkeypatch.setattr(randomness, "_OFFSET", 16)
    with pytest.raises(RuntimeError, match="another layout than expected"):
        generator_for("a")
    monkeypatch.undo()
    assert randomness._fresh_state()
