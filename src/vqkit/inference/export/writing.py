"""Graphs to files, and files to functions that run them: ONNX with onnxruntime, torch.export with torch.

`vqkit[export]` brings onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqkit.core.atomic import write_atomically
from vqkit.core.optional_packages import optional_package
from vqkit.errors import DataError, reason_of
from vqkit.inference.export.graphs import MOST_IMAGES, Graph

Format = Literal["onnx", "torch-export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
LEAST_TORCH = "2.9"
"""Older ones may do, but nobody has tried."""
Runner = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
"""A graph that runs: its inputs to its outputs, each with the batch as first dimension."""


class _Plain(nn.Module):
    """A module with any number of inputs, whatever its signature: so the sizes of all of them are described alike."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)


def write_graph(graph: Graph, path: Path, form: Format) -> None:
    """Write a graph for batches of any size, atomically.

    Raises `DataError` where a package is missing or torch is older than `LEAST_TORCH`, and for a model that cannot be traced, with
    the reason.
    """
    if torch.__version__ < LEAST_TORCH:
        raise DataError(
            f"Models are exported with torch {LEAST_TORCH} or newer; this is {torch.__version__}.",
            "pip install --upgrade torch torchvision",
        )
    if form == "onnx":
        _package("onnx"), _package("onnxscript")
    examples = tuple(each.example(3) for each in graph.inputs)  # of one image a batch size would be a constant
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    sizes = tuple({0: batch} for _ in examples)
    try:
        with _quietly(), torch.no_grad():
            program = torch.export.export(_Plain(graph.module), examples, dynamic_shapes=(sizes,), strict=False)
            if form == "torch-export":
                with write_atomically(path) as temporary:
                    torch.export.save(program, temporary)
                return
            onnx = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[each.name for each in graph.inputs],
                output_names=[each.name for each in graph.outputs],
                verbose=False,
            )
            assert onnx is not None
            for node in onnx.model.graph.all_nodes():  # where each was traced: paths of this machine
                node.metadata_props.clear()
            with write_atomically(path) as temporary:
                onnx.save(temporary)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = reason_of(str(error))
        raise DataError(
            f"The graph {graph.name} of this model cannot be written as {form}: {reason}.", "Try the other --format."
        ) from error


def open_graph(path: Path, graph: Graph, form: Format) -> Runner:
    """The graph in a file that `write_graph` wrote. Raises `DataError` where a package is missing."""
    if form == "torch-export":
        with _quietly():
            program = torch.export.load(path).module()

        def run_program(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            with torch.no_grad():
                given = program(*inputs)
            return given if isinstance(given, tuple) else (given,)

        return run_program
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in graph.inputs]

    def run_session(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(each) for each in session.run(None, arrays))

    return run_session


def _package(name: str) -> Any:
    return optional_package(name, "export", "ONNX files are written and checked")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch and its packages say of their own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
