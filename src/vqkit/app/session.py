"""A run behind the page: its test images, images that were uploaded, and what the model makes of them.

Shapes: C components, H x W pixels.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import DataError, VQKitError
from vqkit.evaluation.error_meter import ComponentErrors, ErrorMeter
from vqkit.evaluation.held_out import open_split
from vqkit.evaluation.metrics import WINDOW_REACH
from vqkit.evaluation.next_component import Choice, ChoiceRequest, choose_components, choose_for_image
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.large_images import is_large
from vqkit.image_io.observing import observe
from vqkit.image_io.one_image import read_one_image
from vqkit.image_io.originals import Filled, Original, Output, plain_outputs
from vqkit.image_io.reading import InputImage, check_not_whole
from vqkit.inference.inpaint import fill_batch
from vqkit.inference.pipeline import Pipeline, load
from vqkit.inference.sampler import Completions, Sampler, load_sampler
from vqkit.interfaces import DataSpec, Split, where_present
from vqkit.interfaces.priors import DEFAULT_SAMPLING
from vqkit.storage.builtin import PREFIX, builtin_of

ADVICE_IMAGES = 64
"""Validation images that advice is measured on."""
ADVICE_COMPLETIONS = 16
"""Completions of one image that advice is measured on."""


class Filling(NamedTuple):
    """An image, filled in: `image.observed` says what the model was given.

    `errors`: of each component on what was hidden, None where no true value is known; see `ComponentErrors`.
    """

    image: InputImage
    filled: Filled
    errors: tuple[ComponentErrors | None, ...]


class _NoFile(Original):
    """The original of an image of a data set: results are written as those of images without files."""

    has_composite = True

    def outputs(self, name: str, filled: Filled, observed: Tensor, out: Path) -> list[Output]:
        """See `Original.outputs`."""
        return plain_outputs(name, filled, out)

    def holds(self, image: Tensor) -> bool:
        """See `Original.holds`."""
        return False


@dataclass(frozen=True)
class Session:
    """A model, a prior of its codes (or None), and its test images (or None, with the reason in `notes`).

    `data`: another data set than that of the training, by name or path.
    """

    pipeline: Pipeline
    sampler: Sampler | None
    images: Split | None
    data: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> DataSpec:
        """What the model's images are."""
        return self.pipeline.spec

    def test_image(self, number: int) -> InputImage:
        """The image `number`, from 0, of the test images. Raises `DataError` for one that there is not."""
        count = 0 if self.images is None else len(self.images)
        if self.images is None or not 0 <= number < count:
            raise DataError(f"There is no test image {number + 1}: there are {count}.", "Choose another one, or give a file.")
        index = torch.tensor([number])
        batch = self.images.batch(index)
        present = batch.observed
        images = where_present(batch.images, present, 0)
        if images.dtype != self.spec.stored_dtype:
            images = self.spec.from_unit(self.spec.to_unit(images))
        return InputImage(self.images.names(index)[0], images[0], present[0], present[0], _NoFile(), number)

    def open_files(self, files: Sequence[Path], known: tuple[str, ...] = ()) -> tuple[InputImage, tuple[str, ...]]:
        """The image in a file, or in one file for each component, and notes on what was left out.

        `known`: the component that a greyscale picture shows. Messages name the files as they were called, without folders.
        Raises `DataError` for files that hold no image of the model, or several, or a very large one.
        """
        with tempfile.TemporaryDirectory() as folder:
            source = files[0] if len(files) == 1 else _together(files, Path(folder))
            try:
                large = [item for item in find_inputs(source, self.spec).items if is_large(item)]
                if large:
                    raise DataError(
                        f"{source} is too large for this page.",
                        "Fill it in from the command line, row by row: vqkit inpaint --help",
                    )
                image, _, notes = read_one_image(source, self.spec, known)
            except VQKitError as error:
                raise type(error)(*(_without(text, source) for text in (error.message, error.hint))) from None
        return image, tuple(_without(note, source) for note in notes)

    def fill(self, image: InputImage, keep: tuple[str, ...], hole: Tensor | None = None) -> Filling:
        """The image filled in wherever a component is not in `keep`, and in the `hole`, bool [H, W], of those that are.

        Raises `DataError` where nothing is known or nothing is to be filled in, as `vqkit inpaint` does.
        """
        entry = image._replace(observed=self.observed(image, keep, hole))
        check_not_whole(entry, "Untick a component, or add a hole." if len(self.spec.components) > 1 else "Add a hole.")
        filled = fill_batch(self.pipeline, [entry])[0]
        return Filling(entry, filled, self._errors(entry, filled))

    def observed(self, image: InputImage, keep: tuple[str, ...], hole: Tensor | None = None) -> Tensor:
        """What the model may look at, bool [C, H, W]; see `fill`."""
        if not keep:
            raise DataError("No component is known.", "Tick those that are.")
        kept = None if hole is None else ~hole[None, None]
        return observe(image.present[None], keep, kept, self.spec)[0]

    def _errors(self, image: InputImage, filled: Filled) -> tuple[ComponentErrors | None, ...]:
        hidden = image.present & ~image.observed
        if not bool(hidden.any()) or min(image.size) <= WINDOW_REACH:
            return (None,) * len(self.spec.components)
        meter = ErrorMeter(self.spec, torch.device("cpu"))
        truth = where_present(self.spec.to_unit(image.image[None]), image.present[None])
        meter.add(filled.unit[None], truth, hidden[None], stored=image.image[None])
        found = meter.result().components
        return tuple(each if each.images else None for each in found)

    def complete(self, filling: Filling, count: int, seed: int) -> Completions:
        """Several answers for an image, each in one row of the result.

        Raises `ConfigError` for a prior that was not trained for it, and `DataError` without a prior.
        """
        if self.sampler is None:
            raise DataError("There is no prior, which draws several answers.", "Start the app with --prior RUN.")
        sampling = self.sampler.completion_sampling(replace(DEFAULT_SAMPLING, seed=seed))
        image = filling.image
        return self.sampler.complete(image.image[None], image.observed[None], count, sampling=sampling)

    def advise(self, image: InputImage | None, known: tuple[str, ...]) -> Choice:
        """Which component to measure next, when some are known: for this image where there is a prior, else for images like it.

        Raises what `choose_components` and `choose_for_image` do.
        """
        request = ChoiceRequest(known=known, budget=1, exhaustive=False)
        if self.sampler is None or image is None or not known:
            return choose_components(self.pipeline.loaded, request, self.data, "val", ADVICE_IMAGES, self.pipeline.device)
        observed = self.observed(image, known)
        return choose_for_image(self.sampler, image.image, observed, request, ADVICE_COMPLETIONS, name=image.name)


def open_session(run: str | None, prior: str | None = None, data: str | None = None, device: str = "auto") -> Session:
    """A run with its test images, and with a prior of its codes, if one is named; for a built-in model, the built-in one.

    Raises `CheckpointError` for a run or a prior that cannot be used, `ConfigError` for a prior that was not trained to complete
    images, and what opening `data` raises.
    """
    if prior is None and run is not None and run.startswith(PREFIX):
        prior = builtin_of("prior")
    sampler = None if prior is None else load_sampler(prior, run, device, tokenizer_option="--run")
    if sampler is not None:
        sampler.check_completes()
    pipeline = load(run, device) if sampler is None else Pipeline(sampler.pipeline.loaded, sampler.device)
    try:
        images, notes = open_split(pipeline.loaded, data, "test"), ()
    except DataError as error:
        if data is not None:
            raise
        return Session(pipeline, sampler, None, None, (f"The test images cannot be opened: {error}",))
    return Session(pipeline, sampler, images, data, notes)


def _together(files: Sequence[Path], folder: Path) -> Path:
    """The files in one folder. Raises `DataError` for two of one name."""
    for file in files:
        if (folder / file.name).exists():
            raise DataError(f"Two files are called {file.name}.", "Give each component's file a name of its own.")
        shutil.copyfile(file, folder / file.name)
    return folder


def _without(text: str, source: Path) -> str:
    """A sentence without the folder in which uploaded files are kept."""
    folder = source if source.is_dir() else source.parent
    return text.replace(f"{folder}/", "").replace(str(folder), "what was uploaded")
