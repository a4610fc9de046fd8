"""Every check of a prior passes a correct one and fails for the defect that it looks for."""

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
from vqkit.doctor.priors import PriorCase
from vqkit.inference.conditioning import code_spec
from vqkit.interfaces import Batch, Codes, Conditioning
from vqkit.interfaces.priors import Sampling
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.storage.checkpoints import Loaded

CONDITIONING_KINDS = ("none", "metadata", "class", "observed")


class Around(AutoregressivePrior):
    """Wraps a prior, to add a defect."""

    def __init__(self, sound: AutoregressivePrior) -> None:
        super().__init__(sound.options, sound.spec)
        self.sound = sound

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return self.sound.logits(level, codes, conditioning)

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        return self.sound.stepper(level, coarser, conditioning)


class Leaking(Around):
    """Its logits depend slightly on the code to be predicted, or on the one after it."""

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
    """Its logits are NaN."""

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return super().logits(level, codes, conditioning) * torch.nan


class Forgetful(Around):
    """Its stepper replaces every code by 0."""

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        sound = super().stepper(level, coarser, conditioning)

        class Forgetting(Stepper):
            def step(self, previous: Tensor | None) -> Tensor:
                return sound.step(None if previous is None else torch.zeros_like(previous))

        return Forgetting()


class Drawing(Around):
    """Draws with settings other than those requested."""

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
        chosen = sampling or Sampling()
        self.calls += 1
        seed = {"unseeded": chosen.seed + self.calls, "one seed": 0}.get(self.changed, chosen.seed)
        scale = {"always guided": 2.0, "never guided": 1.0}.get(self.changed, chosen.guidance_scale)
        first = 0 if self.changed == "unnumbered" else first
        return super().sample(batch_size, conditioning, Sampling(seed=seed, guidance_scale=scale, method=chosen.method), first)


class Whispering(Around):
    """Its logits depend on the condition values even when they are dropped."""

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        heard = conditioning.values.nan_to_num(0).mean(dim=1)[:, None, None, None]
        return super().logits(level, codes, conditioning) + heard * torch.linspace(0, 1, self.spec.cardinalities[0])[:, None, None]


class Deaf(Around):
    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        return super().logits(level, codes, conditioning._replace(dropped=torch.ones_like(conditioning.dropped)))

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        return super().stepper(level, coarser, conditioning._replace(dropped=torch.ones_like(conditioning.dropped)))


class Indifferent(Around):
    """Its losses have a zero gradient."""

    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        return tuple(0 * level for level in super().nll(codes, conditioning))


def sound(name: str = "pixelcnn", conditioning: str = "metadata", shape: tuple[int, int] = (5, 3)) -> PriorCase:
    spec = small_spec(conditioning, shape)
    return PriorCase(small_prior(name, spec), random_codes(spec, 3), random_conditioning(spec, 3))


def around(kind: type[Around], *arguments: Any, conditioning: str = "metadata") -> PriorCase:
    case = sound(conditioning=conditioning)
    return case._replace(prior=kind(case.prior, *arguments).eval())


@pytest.mark.parametrize("conditioning", CONDITIONING_KINDS)
@pytest.mark.parametrize("name", SMALL)
def test_a_sound_prior_passes(name: str, conditioning: str) -> None:
    case = sound(name, conditioning)
    outcomes = [
        priors.causality(case),
        priors.cached_logits(case),
        priors.same_draws(case, ("fixed-point", "naive")),
        priors.seeds(case),
        priors.guidance(case),
    ]
    expected = ["ok"] * 4 + ["skipped" if conditioning == "none" else "ok"]
    assert [outcome.status for outcome in outcomes] == expected, outcomes


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Leaking, "the code at row 0, column 0 of level codes changes its own logits by 0.001"),
        (LookingAhead, "the code at row 0, column 1 of level codes changes logits at row 0, column 0 by 0.001"),
        (Blind, "the code at row 0, column 0 of level codes changes no later logits"),
        (Lost, "the logits are not finite"),
    ],
)
def test_a_prior_that_is_not_causal_or_ignores_codes_fails(kind: type[Around], said: str) -> None:
    outcome = priors.causality(around(kind))
    assert outcome.status == "failed"
    assert said in outcome.message


def test_a_fine_grid_is_tried_in_places() -> None:
    outcome = priors.causality(sound("transformer", "none", (9, 8)))
    assert (outcome.status, outcome.message.split(" codes")[0]) == ("ok", "64 of 72")


def test_a_stepper_that_is_wrong_fails() -> None:
    case = around(Forgetful)
    outcome = priors.cached_logits(case)
    assert outcome.status == "failed"
    assert "cached logits of level codes differ from a full pass by" in outcome.message
    drawn = priors.same_draws(case, ("fixed-point", "naive"))
    assert drawn.status == "failed"
    assert drawn.message.startswith("fixed-point sampling with guidance scale 1 differs")
    assert priors.causality(case).status == "ok"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("unseeded", "drawing again with the same seed gives different samples"),
        ("unnumbered", "codes differ when the samples are drawn one at a time"),
        ("one seed", "another seed draws the same samples"),
    ],
)
def test_samples_that_do_not_follow_from_seed_and_number_fail(changed: str, said: str) -> None:
    outcome = priors.seeds(around(Drawing, changed))
    assert outcome.status == "failed"
    assert said in outcome.message


@pytest.mark.parametrize(("changed", "scale"), [("always guided", 1), ("never guided", 3)])
def test_guidance_other_than_asked_for_fails(changed: str, scale: int) -> None:
    outcome = priors.guidance(around(Drawing, changed))
    assert outcome.status == "failed"
    assert outcome.message.startswith(f"with guidance scale {scale}, ")


def test_a_second_null_condition_fails() -> None:
    outcome = priors.guidance(around(Whispering))
    assert (outcome.status, outcome.message.split(":")[0]) == ("failed", "dropped conditions change the logits")


def test_conditions_that_change_nothing_are_a_warning() -> None:
    outcome = priors.guidance(around(Deaf))
    assert outcome.status == "warning"
    assert "the conditions change no logits" in outcome.message


class Drifting(Blocks):
    """Changes with every image that it encodes."""

    def __init__(self) -> None:
        super().__init__(SHAPES)
        self.register_buffer("seen", torch.zeros(()))

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        self.get_buffer("seen").add_(len(images))
        return super().features(images, observed)


class Learning(Blocks):
    """Its features have a gradient even under `no_grad`."""

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


def test_an_unchanged_tokenizer_passes() -> None:
    status, message = trained_step(Blocks(SHAPES))
    assert status == "ok", message


def test_a_tokenizer_that_changes_fails() -> None:
    status, message = trained_step(Drifting())
    assert status == "failed"
    assert "changes the tokenizer: digest" in message


def test_a_tokenizer_with_gradients_fails() -> None:
    assert trained_step(Learning()) == ("failed", "a training step of the prior gives the tokenizer gradients")


def test_a_step_that_changes_nothing_proves_nothing() -> None:
    assert trained_step(Blocks(SHAPES), indifferent=True) == ("failed", "a training step does not change the prior")


def test_a_prior_must_be_better_than_code_frequencies() -> None:
    assert priors.likelihood(1.5, 2.0, 3.0).status == "ok"
    outcome = priors.likelihood(2.0, 2.0, 3.0)
    assert outcome.status == "failed"
    assert outcome.message.startswith("2.000 nats per code on held-out images; unigram entropy 2.000, uniform 3.000")
    assert priors.likelihood(float("nan"), 2.0, 3.0).status == "failed"
