"""What happens on the page: an image is opened, filled in, answered in several ways; advice is given. All as HTML and plain values.

What a user can fix becomes a notice with the sentence and the hint of the command line.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from torch import Tensor

from vqkit.app import html
from vqkit.app.cards import answer_cards, cards_of
from vqkit.app.codes_used import codes_used
from vqkit.app.holes import canvas, centre_hole, painted_hole
from vqkit.app.session import Filling, Session
from vqkit.errors import DataError, VQKitError
from vqkit.image_io.reading import InputImage

HoleKind = Literal["none", "middle", "painted"]
AT_ONCE = 2**20
"""Most values of an image that is filled in again at every change; larger ones wait for the button."""


class Opened(NamedTuple):
    """An image that was opened, or None with a `notice`: the components that it holds, those that are ticked, and the picture of it
    that can be painted on.
    """

    image: InputImage | None
    notice: str
    held: tuple[str, ...] = ()
    ticked: tuple[str, ...] = ()
    canvas: Image.Image | None = None


class Shown(NamedTuple):
    """What the page shows of a filling, or None with a `notice`; `file`: what is downloaded."""

    filling: Filling | None
    notice: str
    results: str = ""
    codes: str = ""
    file: Path | None = None


class Actions:
    """The actions of one page. Files to download are written below `folder`."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def has_ticks(self) -> bool:
        """Whether there are components to tick: more than one."""
        return len(self.session.spec.components) > 1

    @property
    def first_hole(self) -> HoleKind:
        """The hole of a page that was just opened: of pictures whose components are usually known together, one in the middle."""
        return "middle" if self.session.spec.is_colour or not self.has_ticks else "none"

    @property
    def _first_known(self) -> tuple[str, ...]:
        """What is known of a whole image to begin with: all of a picture with a hole, else the first third of the components."""
        names = self.session.spec.components
        return names if self.first_hole == "middle" else names[: max(1, len(names) // 3)]

    def open_test(self, number: int, ticked: Sequence[str] = ()) -> Opened:
        """The test image with this number, from 1. `ticked`: the components that were ticked before."""
        try:
            image = self.session.test_image(number - 1)
        except VQKitError as error:
            return Opened(None, html.notice(error))
        return self._opened(image, ticked)

    def open_files(self, files: Sequence[Path], ticked: Sequence[str] = ()) -> Opened:
        """What was uploaded: one image, whose components may be in files of their own.

        A greyscale picture that may show any component shows the one that is ticked, if it is the only one.
        """
        try:
            image, notes = self.session.open_files(files)
        except VQKitError as error:
            if len(ticked) != 1:
                return Opened(None, html.notice(error))
            try:
                image, notes = self.session.open_files(files, tuple(ticked))
            except VQKitError:
                return Opened(None, html.notice(error))
        return self._opened(image, ticked, "".join(map(html.note, notes)))

    def _opened(self, image: InputImage, ticked: Sequence[str], notice: str = "") -> Opened:
        spec = self.session.spec
        there = image.present.flatten(1).any(1).tolist()
        held = tuple(name for name, is_there in zip(spec.components, there, strict=True) if is_there)
        kept = tuple(name for name in held if name in ticked) or self._first_known
        # What an image lacks is filled in from all that it holds.
        return Opened(image, notice, held, held if len(held) < len(spec.components) else kept, canvas(image, spec))

    def hole(self, image: InputImage, kind: HoleKind, layers: Sequence[Image.Image]) -> Tensor | None:
        """The hole of an image, bool [H, W], or None. Raises `DataError` where nothing was painted."""
        if kind == "none":
            return None
        return centre_hole(*image.size) if kind == "middle" else painted_hole(layers, *image.size)

    def fill(
        self,
        image: InputImage | None,
        ticked: Sequence[str],
        kind: HoleKind,
        layers: Sequence[Image.Image] = (),
        before: Shown | None = None,
    ) -> Shown:
        """Fill in an image. `before`: what the same visitor was shown last, whose file is removed."""
        if before is not None and before.file is not None:
            shutil.rmtree(self._folder / before.file.relative_to(self._folder).parts[0], ignore_errors=True)
        if image is None:
            return Shown(None, html.notice(DataError("There is no image.", "Choose a test image, or give a file.")))
        keep = tuple(ticked) if self.has_ticks else self.session.spec.components
        try:
            filling = self.session.fill(image, keep, self.hole(image, kind, layers))
        except VQKitError as error:
            return Shown(None, html.notice(error))
        results = html.results(cards_of(filling, self.session.spec), self._title(filling))
        try:
            codes = html.codes(codes_used(self.session.pipeline, filling.image))
        except VQKitError as error:
            codes = html.note(str(error))
        return Shown(filling, "", results, codes, self._written(filling))

    def _title(self, filling: Filling) -> str:
        image, spec = filling.image, self.session.spec
        size = f"{image.size[0]} x {image.size[1]} pixels, height x width"
        tiled = f", tile by tile of {spec.height} x {spec.width}" if tuple(image.size) != (spec.height, spec.width) else ""
        hidden = ~image.observed
        truth = "" if bool((image.present & hidden).any()) else "; the true values are not known"
        return f"{image.name} ({size}), filled in{tiled}{truth}"

    def _written(self, filling: Filling) -> Path:
        """The result as `vqkit inpaint` writes it: its file, or several in one archive."""
        image = filling.image
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        outputs = image.original.outputs(image.name, filling.filled, image.observed, folder / "files")
        for output in outputs:
            output.write()
        if len(outputs) == 1:
            return outputs[0].path
        archive = folder / f"{Path(image.name).name}.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for output in outputs:
                packed.write(output.path, output.path.relative_to(folder / "files"))
        shutil.rmtree(folder / "files")
        return archive

    def answers(self, shown: Shown | None, count: int, seed: int) -> str:
        """Several answers for the image that was filled in last, as HTML."""
        filling = None if shown is None else shown.filling
        if filling is None:
            return html.notice(DataError("Nothing was filled in yet.", "Choose an image and what is known of it first."))
        try:
            completions = self.session.complete(filling, count, seed)
        except VQKitError as error:
            return html.notice(error)
        name = filling.image.name
        text = f"{count} answers for {name}, the one nearest to the others and to one pass first, and where they differ (white)"
        return html.answers(answer_cards(filling, completions, self.session.spec), text)

    def advise(self, image: InputImage | None, ticked: Sequence[str]) -> str:
        """Which component to measure next, as HTML."""
        try:
            return html.advice(self.session.advise(image, tuple(ticked)))
        except VQKitError as error:
            return html.notice(error)
