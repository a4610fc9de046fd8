from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from painting import COLOUR, FIELDS, SHAPES, pipeline, sections, write_components
from small_priors import small_prior
from vqkit.config import NamedOptions
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.rasters import open_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.codec.compressing import compress_items
from vqkit.inference.codec.decompressing import decompress_file
from vqkit.inference.codec.rates import Rate
from vqkit.inference.conditioning import code_spec
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import to_stored
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded, digest
from vqkit.storage.compressed_files import open_compressed


def sampler_of(model: Pipeline, prior: str = "masked", *kinds: str) -> Sampler:
    return Sampler(small_prior(prior, code_spec(model.tokenizer, kinds)), model, Path("runs/prior/model.safetensors"))


def compress(sampler: Sampler, source: Path, out: Path, skipped: list[str] | None = None, **options: object) -> Rate:
    def skip(path: str, reason: str) -> None:
        assert skipped is not None, reason
        skipped.append(reason)

    items = find_inputs(source, sampler.spec).items
    return compress_items(sampler, items, out, ReadOptions(), skip, lambda count: None, **options)  # type: ignore[arg-type]


def read_back(out: Path, names: list[str], spec: DataSpec, suffix: str = ".png") -> Tensor:
    """Stored values [N, C, H, W] of components in files of their own."""
    images = []
    for name in names:
        planes = []
        for component in spec.components:
            with open_raster(out / component / f"{name}_{component}{suffix}") as raster:
                planes.append(raster.read().values[0].astype(np.int64))
        images.append(np.stack(planes))
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize(("prior", "draw_steps"), [("pixelcnn", None), ("masked", None), ("masked", 2)])
def test_images_become_codes_and_what_these_are_decoded_to(tmp_path: Path, prior: str, draw_steps: int | None) -> None:
    sampler = sampler_of(pipeline(SHAPES), prior, "metadata")
    images = sections(7)
    source = write_components(images, tmp_path / "in")
    rate = compress(sampler, source, tmp_path / "x.vqk", draw_steps=draw_steps, batch_size=3)
    assert (rate.images, rate.pixels, rate.residual) == (7, 7 * 96, 0)
    written = list(decompress_file(sampler, open_compressed(tmp_path / "x.vqk"), tmp_path / "out"))
    assert written == [f"s{number}" for number in range(7)]
    model = sampler.pipeline
    expected = to_stored(model.decode_unit(model.encode(images)), SHAPES)
    assert torch.equal(read_back(tmp_path / "out", written, SHAPES), expected.long())
    assert (tmp_path / "out" / "composite" / "s0.png").is_file()


def test_without_loss_every_value_comes_back(tmp_path: Path) -> None:
    sampler = sampler_of(pipeline(SHAPES))
    images = sections(9)
    rate = compress(sampler, write_components(images, tmp_path / "in"), tmp_path / "x.vqk", lossless=True, batch_size=4)
    written = list(decompress_file(sampler, open_compressed(tmp_path / "x.vqk"), tmp_path / "out"))
    assert torch.equal(read_back(tmp_path / "out", written, SHAPES), images.long()) and rate.residual > 0


def test_16_bits_and_mixed_components_come_back_without_loss(tmp_path: Path) -> None:
    sampler = sampler_of(pipeline(FIELDS))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 800, (3, 3, 16, 12), generator=generator)
    images[:, 0] += 3000
    images[:, 1] = images[:, 1] % 2 * 255
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        np.save(tmp_path / "in" / f"f{number}.npy", image.numpy().astype(np.uint16))
    compress(sampler, tmp_path / "in", tmp_path / "x.vqk", lossless=True)
    written = list(decompress_file(sampler, open_compressed(tmp_path / "x.vqk"), tmp_path / "out"))
    assert written == ["f0", "f1", "f2"]
    assert torch.equal(read_back(tmp_path / "out", written, FIELDS), images)


@pytest.mark.parametrize("lossless", [False, True])
def test_two_levels_of_codes(tmp_path: Path, lossless: bool) -> None:
    spec = DataSpec.uniform("sections", SHAPES.components, 16, 16, "binary")
    options = {"hidden": 8, "inner": 8, "blocks": 1, "quantizer": {"num_codes": 16, "dim": 4}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MODELS.build("vqvae2", options, spec).eval()
    loaded = Loaded(network, Path("runs/levels/model.safetensors"), digest(network.state_dict()), NamedOptions(name="x"), {})
    model = Pipeline(loaded, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(5, 3, 16, 16, generator=generator) > 0.7).to(torch.uint8) * 255
    source = write_components(images, tmp_path / "in", spec)
    for prior in ("hierarchical", "masked"):
        sampler = sampler_of(model, prior)
        out = tmp_path / prior
        compress(sampler, source, tmp_path / "x.vqk", lossless=lossless, batch_size=2)
        written = list(decompress_file(sampler, open_compressed(tmp_path / "x.vqk"), out))
        expected = images if lossless else to_stored(model.decode_unit(model.encode(images)), spec)
        assert torch.equal(read_back(out, written, spec), expected.long())


@pytest.mark.parametrize("lossless", [False, True])
def test_the_file_is_as_large_as_is_stated(tmp_path: Path, lossless: bool) -> None:
    rate = compress(
        sampler_of(pipeline(SHAPES)), write_components(sections(40), tmp_path / "in"), tmp_path / "x", lossless=lossless
    )
    size = (tmp_path / "x").stat().st_size
    assert rate.bytes == size and rate.total <= 8 * size <= 1.01 * rate.total
    stated = rate.to_json("x")
    assert stated["bits_per_pixel"] == pytest.approx(8 * size / (40 * 96))
    assert sum(stated["bits"][name] for name in ("codes", "residual", "frame")) == pytest.approx(stated["bits"]["stated"], abs=0.2)


def test_colours_are_one_picture(tmp_path: Path) -> None:
    sampler = sampler_of(pipeline(COLOUR))
    images = torch.randint(0, 256, (2, 8, 8, 3), generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint8)
    np.save(tmp_path / "in.npy", images)
    compress(sampler, tmp_path / "in.npy", tmp_path / "x", lossless=True)
    assert list(decompress_file(sampler, open_compressed(tmp_path / "x"), tmp_path / "out")) == ["in_00000", "in_00001"]
    for number, image in enumerate(images):
        with open_raster(tmp_path / "out" / f"in_0000{number}.png") as raster:
            assert np.array_equal(raster.read().values, image.transpose(2, 0, 1))


def test_another_model_is_refused(tmp_path: Path) -> None:
    compress(sampler_of(pipeline(SHAPES)), write_components(sections(2), tmp_path / "in"), tmp_path / "x")
    file = open_compressed(tmp_path / "x")
    with pytest.raises(CheckpointError, match="was compressed with the prior"):
        list(decompress_file(sampler_of(pipeline(SHAPES), "pixelcnn"), file, tmp_path / "out"))
    with pytest.raises(CheckpointError, match="was compressed with the tokenizer dddddddddddd, not with eeeeeeeeeeee"):
        list(decompress_file(sampler_of(pipeline(SHAPES, "e" * 64)), file, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lossless", [False, True])
def test_other_arithmetic_is_refused_and_writes_nothing(tmp_path: Path, lossless: bool) -> None:
    """A prior, and a decoder, whose results differ in the last places, as on another processor."""
    sampler = sampler_of(pipeline(SHAPES), "pixelcnn")
    compress(sampler, write_components(sections(20), tmp_path / "in"), tmp_path / "x", lossless=lossless)
    file = open_compressed(tmp_path / "x")
    known = sampler.digest
    with torch.no_grad():
        for parameter in sampler.prior.parameters():
            parameter.mul_(1 + 1e-4)
    assert sampler.digest == known
    with pytest.raises(DataError, match="cannot be decompressed here: the models compute other probabilities"):
        list(decompress_file(sampler, file, tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.png"))


def test_another_reconstruction_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampler_of(pipeline(SHAPES))
    compress(sampler, write_components(sections(3), tmp_path / "in"), tmp_path / "x", lossless=True)
    decode = sampler.pipeline.model.decode  # type: ignore[attr-defined]
    monkeypatch.setattr(sampler.pipeline.model, "decode", lambda *given: decode(*given).flip(1))
    with pytest.raises(DataError, match="cannot be decompressed here"):
        list(decompress_file(sampler, open_compressed(tmp_path / "x"), tmp_path / "out"))


def test_what_a_file_cannot_hold_is_skipped_with_the_reason(tmp_path: Path) -> None:
    sampler = sampler_of(pipeline(SHAPES))
    source = write_components(sections(4), tmp_path / "in")
    (source / "belt" / "s2_belt.png").unlink()
    skipped: list[str] = []
    rate = compress(sampler, source, tmp_path / "x", skipped)
    assert rate.images == 3 and len(skipped) == 1 and "96 of the image's 288 values are absent" in skipped[0]
    np.save(tmp_path / "large.npy", np.zeros((3, 16, 12), np.uint8))
    with pytest.raises(DataError, match="12 wide and 16 high"):
        compress(sampler, tmp_path / "large.npy", tmp_path / "y")
    np.save(tmp_path / "bits.npy", sections(1)[0].numpy() // 255)
    compress(sampler, tmp_path / "bits.npy", tmp_path / "y")
    with pytest.raises(DataError, match="The file holds other numbers than the model is given"):
        compress(sampler, tmp_path / "bits.npy", tmp_path / "z", lossless=True)
    assert not (tmp_path / "z").exists()


def test_settings_that_cannot_be_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = write_components(sections(1), tmp_path / "in")
    with pytest.raises(ConfigError, match="--draw-steps was given"):
        compress(sampler_of(pipeline(SHAPES), "pixelcnn"), source, tmp_path / "x", draw_steps=3)
    heat = pipeline(DataSpec("heat", (ComponentSpec("heat", dtype="float32"),), 8, 12))
    with pytest.raises(DataError, match="The component heat holds values of type float32"):
        compress(sampler_of(heat), source, tmp_path / "x", lossless=True)
