"""Statistics of codes against counting by hand, and what is drawn and saved of them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from painting import STAINS, pipeline
from vqkit.config import NamedOptions, Settings
from vqkit.data.splits import ArraySplit
from vqkit.errors import CheckpointError
from vqkit.evaluation import codebook_usage as codebook
from vqkit.interfaces import Autoencoder, Codes, ConditionSpec, Context, DataSpec, Quantizer, Reconstruction, Tokenizer
from vqkit.registry import MODELS
from vqkit.storage import runs
from vqkit.storage.checkpoints import Loaded, load_model, write_model

GREY = DataSpec.uniform("digits", ("grey",), 8, 12, "intensity", conditions=(ConditionSpec("age", 0, 1, 0.5, 0.1),))
CPU = torch.device("cpu")
DATA = NamedOptions(name="tyre", num_train=8, num_val=2, num_test=8)


class Steps(Tokenizer):
    """Two levels: the mean of the image in 4 steps, and the mean of each 4 x 4 block in 16; decoded, a block shows its own step."""

    Options = Settings

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        codes = self.encode(images, observed)
        return Reconstruction(self.decode(codes, conditions), torch.zeros(()), codes=codes)

    def mean(self, logits: Tensor) -> Tensor:
        return logits

    level_names = ("top", "bottom")
    code_shapes = ((1, 1), (2, 3))
    cardinalities = (4, 16)
    quantizers: tuple[Quantizer, ...] = ()

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        assert bool(observed.all())
        blocks = torch.nn.functional.avg_pool2d(images[:, 0], 4)
        return (images.flatten(1).mean(1).mul(3).round().long()[:, None, None], (blocks * 15).round().long())

    def decode(self, codes: Codes, conditions: Tensor, context: Context | None = None) -> Tensor:
        assert conditions.shape == (len(codes[0]), 1)
        assert bool(conditions.isnan().all())
        assert len(codes[0]) == len(codes[1])
        return (codes[1][:, None] / 15).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture
def encoded() -> codebook.Encoded:
    """Codes of 30 images made of blocks of 4 x 4 whose values are steps 0 ... 9 of 15."""
    steps = torch.randint(10, (30, 1, 2, 3), generator=torch.Generator().manual_seed(0))
    images = (steps * 17).to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    model = Steps(Settings(), GREY)
    result = codebook.encode_images(model, ArraySplit(GREY, images, torch.full((30, 1), 0.5)), 8, CPU)
    assert torch.equal(result.levels[1], steps[:, 0].to(torch.int32))
    torch.testing.assert_close(result.mean_image, images.float().mean(0) / 255)
    return result


def entropy(codes: list[int]) -> float:
    return -sum(count / len(codes) * math.log2(count / len(codes)) for count in Counter(codes).values())


def test_statistics_by_hand(encoded: codebook.Encoded) -> None:
    codes = encoded.levels[1]
    values = codebook.level_statistics("bottom", codes, 16)
    listed = codes.flatten().tolist()
    assert values.counts == [Counter(listed)[code] for code in range(16)]
    assert values.unused == [code for code in range(16) if code not in listed]
    assert values.used == len(set(listed))
    assert values.usage == pytest.approx(len(set(listed)) / 16)
    assert values.entropy_bits == pytest.approx(entropy(listed))
    assert values.perplexity == pytest.approx(2 ** entropy(listed))
    assert values.grid == (2, 3)
    for row in range(2):
        for column in range(3):
            assert values.position_entropy_bits[row][column] == pytest.approx(entropy(codes[:, row, column].tolist()))


def test_entropy_of_positions_does_not_depend_on_how_many_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randint(50, (40, 5, 7), generator=torch.Generator().manual_seed(1))
    whole = codebook.position_entropy(codes, 50)
    monkeypatch.setattr(codebook, "_COUNTERS_AT_ONCE", 130)
    assert torch.equal(codebook.position_entropy(codes, 50), whole)


def test_most_and_least_used_leave_out_what_was_never_chosen() -> None:
    counts = torch.tensor([3, 0, 9, 3, 1, 0])
    assert codebook.most_used(counts, 3) == [2, 0, 3]
    assert codebook.least_used(counts, 3) == [4, 0, 3]
    assert codebook.least_used(counts, 9) == [4, 0, 3, 2]


def test_a_patch_shows_the_code_with_its_neighbours(encoded: codebook.Encoded) -> None:
    model, codes = Steps(Settings(), GREY), encoded.levels[1]
    code = 7
    patches = codebook.code_patches(codebook.decoded_patches(model, encoded.levels, 1, code, CPU), GREY)
    places = (codes == code).nonzero().tolist()
    assert patches.shape == (1 + min(codebook.SHOWN, len(places)), 3, 12, 12)
    assert bool((patches[:, :, 4:8, 4:8] == code * 17).all())
    image, row, column = places[0]
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            inside = 0 <= row + down < 2 and 0 <= column + across < 3
            value = int(codes[image, row + down, column + across]) * 17 if inside else 232
            assert bool((patches[1, :, 4 * (1 + down) : 4 * (2 + down), 4 * (1 + across) : 4 * (2 + across)] == value).all())


def test_the_mean_patch_of_stains_is_shown_component_by_component() -> None:
    model = pipeline(STAINS).tokenizer
    codes = (torch.randint(4, (20, 2, 2), generator=torch.Generator().manual_seed(0)),)
    patches = codebook.decoded_patches(model, codes, 0, 2, CPU)
    images, present = patches
    assert present is not None and images.shape == present.shape == (min(24, int((codes[0] == 2).sum())), 4, 12, 12)
    assert bool((images[:, 1, 4:8, 4:8] == 3 / 15).all()), "the component after the first is one step brighter"
    mean, known = codebook.mean_patch(patches)
    for place in [(0, 0, 0), (1, 5, 5), (2, 11, 5), (3, 6, 0)]:
        inside = present[:, place[0], place[1], place[2]]
        assert bool(known is not None and known[0][place]) == bool(inside.any())
        assert float(mean[0][place]) == pytest.approx(float(images[:, place[0], place[1], place[2]][inside].mean()), abs=1e-6)
    colour = pipeline(DataSpec.uniform("photos", ("r", "g", "b"), 8, 8, "intensity")).tokenizer
    figures = [codebook.draw_codes(each, codes, 0, [2, 1], CPU) for each in (model, colour)]
    assert figures[0].width - figures[1].width >= 3 * 72, "panels of four stains stand where the mean of a photograph is"


def test_pictures_of_every_level_are_written(encoded: codebook.Encoded, tmp_path: Path) -> None:
    model = Steps(Settings(), GREY)
    levels = zip(model.level_names, encoded.levels, model.cardinalities, strict=True)
    statistics = [codebook.level_statistics(*level) for level in levels]
    written = codebook.write_pictures(model, encoded, statistics, tmp_path, CPU)
    names = [f"{level}_{what}.png" for level in ("top", "bottom") for what in ("usage", "entropy", "most_used", "least_used")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names) == sorted(path.name for path in written)
    for path in written:
        with Image.open(path) as picture:
            picture.load()
            assert len(set(picture.convert("L").tobytes())) > 1


def tiny_model(path: Path) -> Loaded:
    spec = DataSpec.uniform("squares", ("a", "b"), 16, 16, "binary")
    options = {"hidden": 8, "inner": 4, "blocks": 0, "attention": False, "quantizer": {"num_codes": 8, "dim": 4}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_model(path, MODELS.build("vqvae", options, spec), DATA)
    return load_model(path)


def statistics_with(counts: list[int]) -> codebook.LevelStatistics:
    codes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[:, None, None]
    return codebook.level_statistics("codes", codes, len(counts))


def test_reset_saves_a_new_checkpoint_beside_the_old_one(tmp_path: Path) -> None:
    old = tmp_path / "run" / "checkpoints" / "step-00000010" / "model.safetensors"
    loaded = tiny_model(old)
    before = old.read_bytes()
    codes = loaded.model.quantizers[0].codes.detach().clone()  # type: ignore[attr-defined, union-attr]
    moved, new = codebook.reset_unused(loaded, [statistics_with([5, 0, 9, 1, 0, 2, 3, 1])])
    assert moved == 2
    assert new == tmp_path / "run" / "checkpoints" / "reset-step-00000010" / "model.safetensors"
    assert old.read_bytes() == before
    changed = (load_model(new).model.quantizers[0].codes != codes).any(1)  # type: ignore[attr-defined, union-attr]
    assert changed.tolist() == [code in (1, 4) for code in range(8)]
    _, third = codebook.reset_unused(load_model(old), [statistics_with([5, 0, 9, 1, 0, 2, 3, 1])])
    assert third is not None
    assert third.parent.name == "reset-step-00000010-2"


def test_reset_with_every_code_in_use_writes_nothing(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path / "checkpoint" / "model.safetensors")
    assert codebook.reset_unused(loaded, [statistics_with([1] * 8)]) == (0, None)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_model_without_codes_is_refused() -> None:
    class Continuous(Autoencoder):
        forward = mean = None  # type: ignore[assignment]

    with pytest.raises(CheckpointError, match="has no codes"):
        codebook.tokenizer_of(Loaded(Continuous(Settings(), GREY), Path("m.safetensors"), "d", DATA, {}))


def test_the_run_of_a_checkpoint() -> None:
    assert runs.run_directory(Path("runs/a/checkpoints/step-1/model.safetensors")) == Path("runs/a")
    assert runs.run_directory(Path("elsewhere/model.safetensors")) == Path("elsewhere")
