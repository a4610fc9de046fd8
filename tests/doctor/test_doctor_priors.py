"""Every check of a prior passes a sound one and finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from painting import SHAPES, Blocks, sections
from small_priors import SMALL, random_codes, random_conditioning, small_prior, small_spec
from vqkit.config import NamedOptions
from vqkit.doctor import priors
from vqkit.doctor.priors import Given
from vqkit.inference.conditioning import code_spec
from vqkit.interfaces import Batch, Codes, Conditioning
from vqkit.interfaces.priors import Sampling
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.storage.checkpoints import Loaded

CONDITIONING_KINDS = ("none", "metadata", "class", "observed")


class Around(AutoregressivePrior):
    """A prior with something around it, which may be wrong."""

    def __init__(self, sound: AutoregressivePrior) -> None:
        super().__init__(sound.options, sound.spec)
        self.sound = sound

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return self.sound.logits(level, codes, conditioning)

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        return self.sound.stepper(level, coarser, conditioning)


class Leaking(Around):
    """What it is to predict, or what comes after it, shows faintly in its logits."""

    ahead = 0

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        seen = codes[level].flatten(1).roll(-self.ahead, 1).view_as(codes[level])
        shown = F.one_hot(seen, self.spec.cardinalities[level]).permute(0, 3, 1, 2)
        return super().logits(level, codes, conditioning) + 0.001 * shown


class LookingAhead(Leaking):
    ahead = 1


class Blind(Around):
    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return super().logits(level, (torch.zeros_like(codes[level]),), conditioning)


class Lost(Around):
    """Its logits are no numbers."""

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return super().logits(level, codes, conditioning) * torch.nan


class Forgetful(Around):
    """Its stepper takes every code for a 0."""

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        sound = super().stepper(level, coarser, conditioning)

        class Forgetting(Stepper):
            def step(self, previous: Tensor | None) -> Tensor:
                return sound.step(None if previous is None else torch.zeros_like(previous))

        return Forgetting()


class Drawing(Around):
    """Draws with other settings than those it was given."""

    def __init__(self, sound: AutoregressivePrior, changed: str) -> None:
        super().__init__(sound)
        self.changed, self.calls = changed, 0

    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling | None = None,
        first: int = 0,
        advance: Any = None,
    ) -> Codes:
        given = sampling or Sampling()
        self.calls += 1
        seed = {"unseeded": given.seed + self.calls, "one seed": 0}.get(self.changed, given.seed)
        scale = {"always guided": 2.0, "never guided": 1.0}.get(self.changed, given.guidance_scale)
        first = 0 if self.changed == "unnumbered" else first
        return super().sample(batch_size, conditioning, Sampling(seed=seed, guidance_scale=scale, method=given.method), first)


class Whispering(Around):
    """Told nothing, it still hears the values."""

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        heard = conditioning.values.nan_to_num(0).mean(dim=1)[:, None, None, None]
        return super().logits(level, codes, conditioning) + heard * torch.linspace(0, 1, self.spec.cardinalities[0])[:, None, None]


class Deaf(Around):
    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return super().logits(level, codes, conditioning._replace(dropped=torch.ones_like(conditioning.dropped)))

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        return super().stepper(level, coarser, conditioning._replace(dropped=torch.ones_like(conditioning.dropped)))


class Indifferent(Around):
    """Nothing can be learned from its losses."""

    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        return tuple(0 * level for level in super().nll(codes, conditioning))


def sound(name: str = "pixelcnn", told: str = "metadata", shape: tuple[int, int] = (5, 3)) -> Given:
    spec = small_spec(told, shape)
    return Given(small_prior(name, spec), random_codes(spec, 3), random_conditioning(spec, 3))


def around(kind: type[Around], *arguments: Any, told: str = "metadata") -> Given:
    given = sound(told=told)
    return given._replace(prior=kind(given.prior, *arguments).eval())


@pytest.mark.parametrize("told", CONDITIONING_KINDS)
@pytest.mark.parametrize("name", SMALL)
def test_a_sound_prior_passes(name: str, told: str) -> None:
    given = sound(name, told)
    verdicts = [
        priors.causality(given),
        priors.cached_logits(given),
        priors.same_draws(given, ("fixed-point", "naive")),
        priors.seeds(given),
        priors.guidance(given),
    ]
    expected = ["ok"] * 4 + ["skipped" if told == "none" else "ok"]
    assert [verdict.status for verdict in verdicts] == expected, verdicts


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Leaking, "the code at row 0, column 0 of level codes moves its own logits by 0.001"),
        (LookingAhead, "the code at row 0, column 1 of level codes moves logits at row 0, column 0 by 0.001"),
        (Blind, "the code at row 0, column 0 of level codes moves no later logits"),
        (Lost, "its logits are no finite numbers"),
    ],
)
def test_a_prior_that_sees_ahead_or_nothing_fails(kind: type[Around], said: str) -> None:
    verdict = priors.causality(around(kind))
    assert verdict.status == "failed"
    assert said in verdict.found


def test_a_fine_grid_is_tried_in_places() -> None:
    verdict = priors.causality(sound("transformer", "none", (9, 8)))
    assert (verdict.status, verdict.found.split(" codes")[0]) == ("ok", "64 of 72")


def test_a_stepper_that_is_wrong_fails() -> None:
    given = around(Forgetful)
    verdict = priors.cached_logits(given)
    assert verdict.status == "failed"
    assert "cached logits of level codes differ from a full pass by" in verdict.found
    drawn = priors.same_draws(given, ("fixed-point", "naive"))
    assert drawn.status == "failed"
    assert drawn.found.startswith("fixed-point sampling with guidance 1 draws")
    assert priors.causality(given).status == "ok"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("unseeded", "the same seed draws other samples the second time"),
        ("unnumbered", "codes are others when the samples are drawn one by one"),
        ("one seed", "another seed draws the same samples"),
    ],
)
def test_samples_that_do_not_follow_from_seed_and_number_fail(changed: str, said: str) -> None:
    verdict = priors.seeds(around(Drawing, changed))
    assert verdict.status == "failed"
    assert said in verdict.found


@pytest.mark.parametrize(("changed", "scale"), [("always guided", 1), ("never guided", 3)])
def test_guidance_other_than_asked_for_fails(changed: str, scale: int) -> None:
    verdict = priors.guidance(around(Drawing, changed))
    assert verdict.status == "failed"
    assert verdict.found.startswith(f"with guidance {scale}, ")


def test_a_second_null_condition_fails() -> None:
    verdict = priors.guidance(around(Whispering))
    assert (verdict.status, verdict.found.split(":")[0]) == ("failed", "what was dropped still moves the logits")


def test_conditions_that_change_nothing_are_a_warning() -> None:
    verdict = priors.guidance(around(Deaf))
    assert verdict.status == "warning"
    assert "the conditions change nothing" in verdict.found


class Drifting(Blocks):
    """Every image that it encodes moves it."""

    def __init__(self) -> None:
        super().__init__(SHAPES)
        self.register_buffer("seen", torch.zeros(()))

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        self.get_buffer("seen").add_(len(images))
        return super().features(images, observed)


class Learning(Blocks):
    """Its features have a gradient whatever happens."""

    def __init__(self) -> None:
        super().__init__(SHAPES)
        self.gain = nn.Parameter(torch.ones(()))

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return (super().features(images, observed)[0] * self.gain,)


def trained_step(tokenizer: Blocks, indifferent: bool = False) -> tuple[str, str]:
    prior = small_prior("pixelcnn", code_spec(tokenizer, ("metadata", "observed")))
    images = sections(3).float() / 255
    batch = Batch(images, torch.full((3, 1), 50.0), torch.full((3,), -1))
    loaded = Loaded(tokenizer, Path("blocks"), "", NamedOptions(name="sections"), {})
    return priors.frozen_tokenizer(Indifferent(prior) if indifferent else prior, loaded, batch)


def test_a_tokenizer_that_stays_passes() -> None:
    status, found = trained_step(Blocks(SHAPES))
    assert status == "ok", found


def test_a_tokenizer_that_moves_fails() -> None:
    status, found = trained_step(Drifting())
    assert status == "failed"
    assert "moved the tokenizer: its digest was" in found


def test_a_tokenizer_with_gradients_fails() -> None:
    assert trained_step(Learning()) == ("failed", "a training step of the prior gives the tokenizer gradients")


def test_a_step_that_changes_nothing_proves_nothing() -> None:
    assert trained_step(Blocks(SHAPES), indifferent=True) == ("failed", "a training step of the prior changes nothing in it")


def test_a_prior_must_know_more_than_frequencies() -> None:
    assert priors.likelihood(1.5, 2.0, 3.0).status == "ok"
    verdict = priors.likelihood(2.0, 2.0, 3.0)
    assert verdict.status == "failed"
    assert verdict.found.startswith("2.000 nats a code on held-out images; unigram entropy 2.000, uniform 3.000")
    assert priors.likelihood(float("nan"), 2.0, 3.0).status == "failed"
