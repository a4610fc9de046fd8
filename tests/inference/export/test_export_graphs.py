"""Graphs of models give the codes and pictures of the models, for any batch, in onnxruntime and in torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqkit.config import NamedOptions
from vqkit.errors import ConfigError, DataError
from vqkit.inference.export.checking import Parity, drawn_images, drawn_masks
from vqkit.inference.export.exporting import export_model, parse_format
from vqkit.inference.export.graphs import Graph, Port, graphs_of
from vqkit.inference.export.parts import FixedCodes, exportable, without_kriging
from vqkit.inference.export.writing import LEAST_TORCH, open_graph, write_graph
from vqkit.interfaces import Autoencoder, ComponentSpec, ConditionSpec, DataSpec
from vqkit.layers.linear_guess import measure_patches
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import SpatialCovariance
from vqkit.quantizers.lookup import LookupQuantizer
from vqkit.registry import MODELS, QUANTIZERS
from vqkit.storage.checkpoints import Loaded

pytestmark = pytest.mark.skipif(torch.__version__ < LEAST_TORCH, reason="an older torch")

SHAPES = DataSpec.uniform("shapes", ("one", "two"), 16, 16, "binary", conditions=(ConditionSpec("size", 0, 9, 4, 2),))
MIXED = DataSpec(
    "mixed",
    (ComponentSpec("height", high=200, maximum=200), ComponentSpec("shape", "binary"), ComponentSpec("shade")),
    16,
    12,
)
EMA = {"name": "ema", "num_codes": 32, "dim": 8}


def built(name: str, spec: DataSpec, **options: Any) -> Autoencoder:
    """A model with random weights in every layer, and codes among its features."""
    torch.manual_seed(0)
    model: Autoencoder = MODELS.build(name, {"hidden": 16, "inner": 16, **options}, spec)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    images = drawn_images(spec, 40)
    for part in model.modules():
        if isinstance(part, LinearStart):
            part.set_statistics(
                measure_patches([(images, None)], len(spec.components)), SpatialCovariance.unknown(len(spec.components))
            )
            part.steps = 2  # in a graph each takes a second to write
    model.train()
    for seed in range(2):  # the codes of a codebook are initialised from features
        model(
            images,
            torch.ones_like(images, dtype=torch.bool),
            spec.unknown_conditions(len(images)),
            torch.Generator().manual_seed(seed),
        )
    return model.eval()


def loaded(model: Autoencoder) -> Loaded:
    return Loaded(model, Path("model.safetensors"), "digest", NamedOptions(name="tyre"), {})


MODELS_TO_WRITE: Mapping[str, Any] = {
    "vqvae": ("vqvae", MIXED, {"quantizer": EMA}),
    "vqvae2": ("vqvae2", SHAPES, {"quantizer": EMA, "levels": 3, "stride": 2}),
    "fsq": ("vqvae", SHAPES, {"quantizer": {"name": "fsq", "levels": (5, 4, 3)}}),
}


@pytest.mark.parametrize("case", MODELS_TO_WRITE)
def test_onnx_gives_what_the_model_gives(case: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    name, spec, options = MODELS_TO_WRITE[case]
    model = built(name, spec, **options)
    parity = export_model(loaded(model), tmp_path, "onnx").parity
    assert (parity.images, parity.other_codes) == (8, 0)
    assert parity.codes == 8 * sum(height * width for height, width in model.code_shapes)
    assert parity.decoded is not None and max(parity.decoded, parity.filled) < 1e-4

    # Whoever has the folder needs nothing of vqkit.
    described = json.loads((tmp_path / "export.json").read_text())
    assert [each["name"] for each in described["components"]] == list(spec.components)
    graph = described["graphs"]["fill_in"]
    session = runtime.InferenceSession(str(tmp_path / graph["file"]))
    assert [each.name for each in session.get_inputs()] == [each["name"] for each in graph["inputs"]]
    assert session.get_outputs()[0].name == graph["outputs"][0]["name"]
    for count in (1, 5):
        images = drawn_images(spec, count)
        observed = drawn_masks(images.shape).roll(1, 0)
        rows = torch.full((count, len(spec.conditions)), 3.0)
        given = {"images": torch.where(observed, images, torch.nan), "observed": observed, "conditions": rows}
        inputs = {each["name"]: given[each["name"]].numpy() for each in graph["inputs"]}
        (filled,) = session.run(None, inputs)
        same = without_kriging(model)
        with torch.inference_mode():
            expected = same.complete(torch.where(observed, images, 0), observed, rows)
        assert torch.allclose(torch.from_numpy(filled), torch.where(observed, images, expected), rtol=0, atol=1e-4)


def test_onnx_files_name_no_place_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    graph = Graph("double", Double(), (Port("x", "float32", (3,), ""),), (Port("y", "float32", (3,), ""),))
    write_graph(graph, tmp_path / "double.onnx", "onnx")
    assert str(Path(__file__).parent).encode() not in (tmp_path / "double.onnx").read_bytes()


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool((x > 0).any()) else 2 * x


def test_holes_start_without_kriging_in_graphs() -> None:
    model = built("vqvae", MIXED, quantizer=EMA)
    for part in model.modules():
        if isinstance(part, LinearStart):
            part.covariance_amplitudes[:, 3] = 1
    images = drawn_images(MIXED, 4)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[..., 4:10, 3:9] = False
    rows = MIXED.unknown_conditions(4)
    answers = [each.complete(images, observed, rows) for each in (model, without_kriging(model), exportable(model))]
    assert torch.allclose(answers[1], answers[2], atol=1e-4)
    assert not torch.allclose(answers[0], answers[1], atol=1e-2)


def test_torch_export_of_a_model_without_codes(tmp_path: Path) -> None:
    model = built("vae", SHAPES, latent_dim=4)
    written = export_model(loaded(model), tmp_path, "torch-export")
    assert [path.name for path in written.files] == ["fill_in.pt2", "export.json"]
    assert (written.parity.codes, written.parity.decoded) == (0, None)
    assert written.parity.filled < 1e-4
    program = torch.export.load(tmp_path / "fill_in.pt2").module()
    images = drawn_images(SHAPES, 3)
    observed = drawn_masks(images.shape)
    rows = SHAPES.unknown_conditions(3)
    expected = torch.where(observed, images, model.complete(images * observed, observed, rows))
    assert torch.allclose(program(images, observed, rows), expected, rtol=0, atol=1e-4)


def test_what_cannot_be_traced_is_answered_with_the_reason(tmp_path: Path) -> None:
    graph = Graph("odd", DataDependent(), (Port("x", "float32", (3,), ""),), (Port("y", "float32", (3,), ""),))
    with pytest.raises(DataError, match="The graph odd of this model cannot be written as torch-export"):
        write_graph(graph, tmp_path / "odd.pt2", "torch-export")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphs_of(exportable(built("unet", SHAPES)))[0]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DataError, match="onnxscript") as caught:
        write_graph(graph, tmp_path / "a.onnx", "onnx")
    assert "vqkit[export]" in caught.value.hint
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataError, match="onnxruntime"):
        open_graph(tmp_path / "a.onnx", graph, "onnx")


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ConfigError, match="tflite"):
        parse_format("tflite")


def test_differences_beyond_rounding_are_errors() -> None:
    Parity(8, 1000, 1, 1e-5, 0.4, 1e-5).check()  # a code between two, and what it does to a picture
    for wrong in (Parity(8, 1000, 3), Parity(8, 1000, 0, 0.1), Parity(8, 0, 0, None, 0.1, 0.1)):
        with pytest.raises(DataError, match="do not give what the model gives"):
            wrong.check()


@pytest.mark.parametrize(
    "options",
    [
        EMA,
        {**EMA, "name": "gradient", "distance": "cosine"},
        {**EMA, "name": "simvq"},
        {"name": "residual", "num_quantizers": 3, "inner": EMA},
        {"name": "grouped", "groups": 2, "inner": EMA},
    ],
)
def test_codes_are_found_as_the_quantizer_finds_them(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(options["name"], {key: value for key, value in options.items() if key != "name"})
    features = torch.randn(6, quantizer.dim, 7, 5) + 3  # far from the origin
    quantizer(features)
    model = built("vqvae", SHAPES, quantizer=options)
    model.quantizer = quantizer.eval()
    fixed = exportable(model).quantizer
    assert not any(isinstance(part, LookupQuantizer) for part in fixed.modules())
    assert any(isinstance(part, FixedCodes) for part in fixed.modules())
    indices = quantizer.encode(features)
    assert len(indices.unique()) > 8
    assert torch.equal(fixed.encode(features), indices)
    assert torch.allclose(fixed.decode(indices), quantizer.decode(indices), atol=1e-6)
    assert torch.equal(fixed(features).indices, indices)
