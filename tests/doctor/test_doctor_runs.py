"""Checks of saved runs, correct and broken, and of the small models that are built for the checks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from small_priors import SMALL
from vqkit.config import NamedOptions, Settings
from vqkit.doctor import built_in, priors, trained
from vqkit.doctor.checks import CheckResult, run_checks
from vqkit.errors import CheckpointError, ConfigError
from vqkit.inference.conditioning import code_spec
from vqkit.interfaces import Codes, CodeSpec, Conditioning, Prior, Tokenizer, fully_observed
from vqkit.priors.hierarchical import HierarchicalPixelCNN
from vqkit.registry import PRIORS
from vqkit.storage.checkpoints import load_model, read_tensors, write_model, write_prior
from vqkit.storage.headers import sealed
from vqkit.storage.runs import locate

CPU = torch.device("cpu")
OF_A_PRIOR = ["losses", "overfitting", "file", "tokenizer", "held-out images", "causality", "cached logits", "cached draws"]
OF_A_PRIOR += ["guidance", "seeds", "frozen tokenizer", "likelihood"]


def check_run(run: Path, tokenizer: Path | None = None) -> dict[str, CheckResult]:
    checks = trained.build_checks(str(run), str(tokenizer) if tokenizer else None, CPU)
    return {result.name: result for result in run_checks(checks)}


def statuses(results: dict[str, CheckResult]) -> dict[str, str]:
    return {name: result.status for name, result in results.items()}


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run of its own, free to be broken."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def prior_run(run: Path) -> Path:
    """An untrained prior over the codes of that run."""
    loaded = load_model(run)
    assert isinstance(loaded.model, Tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build("pixelcnn", SMALL["pixelcnn"], code_spec(loaded.model, ("metadata",)))
    path = run.parent / "prior" / "model.safetensors"
    write_prior(path, prior, loaded.data, loaded)
    return path


def test_a_sound_model_passes(run: Path) -> None:
    results = check_run(run)
    assert list(results) == [
        *("losses", "file", "specification", "held-out images", "nearest code", "round trip", "empty context", "kept pixels"),
        "codebook health",
    ]
    assert set(statuses(results).values()) <= {"ok", "warning"}, results
    assert results["file"].status == results["round trip"].status == results["kept pixels"].status == "ok"
    assert results["held-out images"].message == "16 images of tyre, test split"
    assert load_model(run).digest[:12] in results["file"].message


def test_an_edited_file_fails_and_later_checks_are_skipped(run: Path) -> None:
    path = locate(run)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    results = check_run(run)
    assert (results["losses"].status, results["file"].status) == ("ok", "failed")
    assert "changed after it was written" in results["file"].message
    assert {result.status for name, result in results.items() if name not in ("losses", "file")} == {"skipped"}


def test_a_truncated_file_fails(run: Path) -> None:
    path = locate(run)
    path.write_bytes(path.read_bytes()[:1000])
    results = check_run(run)
    assert results["file"].status == "failed"
    assert "cannot be read" in results["file"].message


def test_losses_that_were_lost_fail(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "train/loss": null}\n')
    results = check_run(run)
    assert [name for name, status in statuses(results).items() if status == "failed"] == ["losses"]


def test_a_collapsed_codebook_fails(run: Path) -> None:
    loaded = load_model(run)
    codes = loaded.model.get_buffer("quantizer.codes")
    codes[1:] = codes[1:] * 1e-3 + 1000
    path = run / "collapsed" / "model.safetensors"
    write_model(path, loaded.model, loaded.data)
    results = check_run(path)
    assert [name for name, status in statuses(results).items() if status == "failed"] == ["codebook health"]
    assert "1 of 32 codes used (3%), 31 dead" in results["codebook health"].message


def test_without_the_data_random_shapes_are_used(run: Path) -> None:
    loaded = load_model(run)
    path = run / "elsewhere" / "model.safetensors"
    write_model(path, loaded.model, NamedOptions(name="components", path="/nowhere"))
    results = check_run(path)
    assert statuses(results) == {
        "losses": "skipped",
        "file": "ok",
        "specification": "ok",
        "held-out images": "warning",
        "nearest code": "ok",
        "round trip": "ok",
        "empty context": "ok",
        "kept pixels": "ok",
        "codebook health": "skipped",
    }
    assert "/nowhere" in results["held-out images"].message
    assert "Random shapes are used instead" in results["held-out images"].message


def test_a_file_that_is_not_a_model_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no run at nowhere"):
        trained.build_checks("nowhere", None, CPU)
    training = locate(run).parent / "training.safetensors"
    with pytest.raises(CheckpointError, match="holds training, not a model or a prior"):
        trained.build_checks(str(training), None, CPU)
    with pytest.raises(ConfigError, match="is a model, and --tokenizer applies to priors"):
        trained.build_checks(str(run), str(run), CPU)


def test_an_untrained_prior_fails_by_its_likelihood_alone(prior_run: Path) -> None:
    results = check_run(prior_run)
    assert list(results) == OF_A_PRIOR
    expected = dict.fromkeys(OF_A_PRIOR, "ok") | {"losses": "skipped", "overfitting": "skipped", "likelihood": "failed"}
    assert statuses(results) == expected, results
    assert "uniform 3.466" in results["likelihood"].message


def test_a_prior_that_knows_the_codes_passes(prior_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of what the frequencies alone would cost.
    monkeypatch.setattr("vqkit.priors.pixelcnn.PixelCNN.nll", lambda self, codes, conditioning: (torch.full(codes[0].shape, 0.5),))
    outcome = check_run(prior_run)["likelihood"]
    assert outcome.status == "ok"
    assert outcome.message.startswith("0.500 nats per code on held-out images; unigram entropy ")


def test_the_unigram_entropy_is_that_of_the_codes(prior_run: Path, run: Path) -> None:
    message = check_run(prior_run)["likelihood"].message
    model = load_model(run).model
    assert isinstance(model, Tokenizer)
    images = trained.PriorRun(prior_run, None, CPU).images.batch(100).to(CPU, model.spec).images
    codes = model.encode(images, fully_observed(images))[0]
    shares = torch.bincount(codes.flatten(), minlength=32) / codes.numel()
    entropy = -float((shares[shares > 0] * shares[shares > 0].log()).sum())
    assert float(message.split("unigram entropy ")[1].split(",")[0]) == pytest.approx(entropy, abs=0.01)


def test_a_prior_finds_out_that_its_tokenizer_changed(prior_run: Path, run: Path) -> None:
    changed = load_model(run)
    next(changed.model.parameters()).data[0] += 1e-3
    write_model(changed.path, changed.model, changed.data)
    results = check_run(prior_run)
    assert results["tokenizer"].status == "failed"
    assert "models the codes of the tokenizer" in results["tokenizer"].message
    assert {results[name].status for name in OF_A_PRIOR[4:]} == {"skipped"}


def test_a_tokenizer_that_was_moved_can_be_named(prior_run: Path, run: Path) -> None:
    run.rename(run.parent / "moved")
    assert check_run(prior_run)["tokenizer"].status == "failed"
    results = check_run(prior_run, run.parent / "moved")
    assert (results["tokenizer"].status, results["causality"].status) == ("ok", "ok")


def test_an_edited_prior_fails(prior_run: Path) -> None:
    tensors, header = read_tensors(prior_run, CPU)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = tensors[name] + 1
    save_file(tensors, prior_run, {"vqkit": sealed(header, header["digest"])})
    results = check_run(prior_run)
    assert results["file"].status == "failed"
    assert {results[name].status for name in OF_A_PRIOR[3:]} == {"skipped"}


class AtOnce(Prior):
    """A prior that is not autoregressive: independent codes, uniformly distributed at first."""

    def __init__(self, spec: CodeSpec) -> None:
        super().__init__(Settings(), spec)
        self.bias = torch.nn.Parameter(torch.zeros(spec.cardinalities[0]))

    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        return (-self.bias.log_softmax(0)[codes[0]],)

    def sample(self, *_: Any, **__: Any) -> Codes:
        raise NotImplementedError


def test_autoregressive_checks_are_skipped_for_other_priors(prior_run: Path) -> None:
    run = trained.PriorRun(prior_run, None, CPU)
    run.loaded = run.loaded._replace(prior=AtOnce(run.loaded.prior.spec))
    by_name = statuses({result.name: result for result in run_checks(run.checks())})
    assert [name for name, status in by_name.items() if status == "skipped"] == [
        *("losses", "overfitting", "causality", "cached logits", "cached draws", "guidance", "seeds"),
    ]
    assert (by_name["frozen tokenizer"], by_name["likelihood"]) == ("ok", "failed")


def test_every_registered_part_is_checked() -> None:
    names = [check.name for check in built_in.build_checks(CPU)]
    assert {"packages", "arithmetic", "threads", "bfloat16", "torchvision", "disk"} <= set(names)
    assert {"ema: nearest code", "gradient: nearest code", "vqvae: round trip", "vqvae: saved and loaded"} <= set(names)
    of_a_prior = ("causality", "cached logits", "cached draws", "guidance", "seeds", "frozen tokenizer", "saved and loaded")
    for prior in PRIORS.entries():
        expected = [name for name in of_a_prior if (prior, name) != ("masked", "cached draws")]  # it has one way to draw
        assert [name for name in names if name.startswith(f"{prior}: ")] == [f"{prior}: {name}" for name in expected]
    assert {f"hierarchical on vqvae2: {name}" for name in of_a_prior} <= set(names)


def test_this_installation_is_sound() -> None:
    # The slowest checks run on smaller priors in the tests of the checks themselves.
    chosen = [check for check in built_in.build_checks(CPU) if not check.name.endswith("cached draws")]
    assert {result.name: result.message for result in run_checks(chosen) if result.status not in ("ok", "warning")} == {}


def test_a_broken_part_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vqkit.priors.transformer.Transformer.logits",
        lambda self, level, codes, conditioning: torch.nn.functional.one_hot(codes[0], 512).permute(0, 3, 1, 2).float(),
    )
    checks = [check for check in built_in.build_checks(CPU) if check.name == "transformer: causality"]
    (result,) = run_checks(checks)
    assert result.status == "failed"
    assert result.message.endswith("the prior is not causal")


def test_wrong_conditioning_on_coarser_codes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = HierarchicalPixelCNN.stepper
    monkeypatch.setattr(
        HierarchicalPixelCNN,
        "stepper",
        lambda self, level, coarser, conditioning: sound(self, level, tuple(map(torch.zeros_like, coarser)), conditioning),
    )
    checks = [check for check in built_in.build_checks(CPU) if check.name.startswith("hierarchical") and "logits" in check.name]
    by_name = statuses({result.name: result for result in run_checks(checks)})
    assert by_name == {"hierarchical: cached logits": "ok", "hierarchical on vqvae2: cached logits": "failed"}


def test_a_fresh_model_is_the_same_each_time_and_dead_nowhere() -> None:
    first, second = (built_in.small_prior("pixelcnn", "vqvae", CPU) for _ in range(2))
    assert all(map(torch.equal, first.prior.state_dict().values(), second.prior.state_dict().values()))
    assert all(bool((parameter != 0).all()) for parameter in first.prior.parameters())
    assert isinstance(first.case, priors.PriorCase)
    assert first.case.codes[0].shape == (built_in.SAMPLES, 4, 6)
