"""The page, laid out with Gradio: an image and what is known of it at the left, what the model makes of it at the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqkit.app import html
from vqkit.app.actions import AT_ONCE, Actions, Opened, Shown
from vqkit.app.session import Session
from vqkit.storage.builtin import PREFIX, is_builtin
from vqkit.storage.runs import run_directory

STYLE = Path(__file__).parent / "style.css"
HOLES = [("none", "none"), ("a square in the middle", "middle"), ("painted", "painted")]
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_CODE_FONTS = ["ui-monospace", "Consolas", "monospace"]
_HOUR = 3600


def theme(gradio: Any) -> Any:
    """A theme with the fonts of the system, so that none is fetched."""
    return gradio.themes.Soft(primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=_FONTS, font_mono=_CODE_FONTS)


def build_page(gradio: Any, actions: Actions) -> Any:
    """The page as Gradio blocks, not served yet."""
    return _Page(gradio, actions).blocks


class _Page:
    """The parts of the page, and which action answers which of them."""

    def __init__(self, gradio: Any, actions: Actions) -> None:
        self._gradio, self._actions = gradio, actions
        title = f"vqkit: {actions.session.spec.name}"
        with gradio.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=(_HOUR, 6 * _HOUR)) as self.blocks:
            self.image, self.shown = gradio.State(None), gradio.State(None)
            gradio.HTML(head(actions.session))
            with gradio.Row():
                with gradio.Column(scale=2, min_width=300, elem_classes=["vq-side"]):
                    self._lay_out_image()
                    self._lay_out_known()
                with gradio.Column(scale=5, min_width=340):
                    self._lay_out_results()
            self._connect()

    def _lay_out_image(self) -> None:
        gradio, images = self._gradio, self._actions.session.images
        count = 0 if images is None else len(images)
        with gradio.Tabs():
            with gradio.Tab("Test image", visible=count > 0):
                self.number = gradio.Slider(1, max(2, count), value=1, step=1, label="Number", elem_id="vq-number")
            with gradio.Tab("Your image"):
                self.files = gradio.File(file_count="multiple", label="Files", height=150, elem_id="vq-files")
                gradio.HTML(html.note("One image: a file, or a file for each component, in any format that vqkit inpaint reads."))

    def _lay_out_known(self) -> None:
        gradio, actions = self._gradio, self._actions
        names = actions.session.spec.components
        with gradio.Group():
            self.ticks = gradio.CheckboxGroup(
                list(names), label="Known components", visible=actions.has_ticks, show_select_all=len(names) > 3, elem_id="vq-known"
            )
            self.hole = gradio.Radio(HOLES, value=actions.first_hole, label="Hole in what is known", elem_id="vq-hole")
        self.canvas = gradio.ImageEditor(
            type="pil",
            label="Paint the hole",
            show_label=False,
            visible=False,
            sources=(),
            transforms=(),
            layers=False,
            format="png",
            brush=gradio.Brush(default_size=28, colors=["#e11d48"], color_mode="fixed"),
            elem_id="vq-canvas",
            elem_classes=["vq-paint"],
        )
        self.fill = gradio.Button("Fill in", variant="primary", elem_id="vq-fill")
        self.download = gradio.DownloadButton("Download", visible=False, elem_id="vq-download")

    def _lay_out_results(self) -> None:
        gradio, actions = self._gradio, self._actions
        self.notice = gradio.HTML(elem_id="vq-notice")
        with gradio.Tabs():
            with gradio.Tab("Filled in"):
                self.results = gradio.HTML(elem_id="vq-filled")
            with gradio.Tab("Several answers"):
                able = actions.session.sampler is not None
                if not able:
                    gradio.HTML(html.note("Several answers need a prior of this model's codes: start the app with --prior RUN."))
                with gradio.Row(visible=able):
                    self.count = gradio.Slider(2, 16, value=4, step=1, label="Answers", min_width=160)
                    self.seed = gradio.Number(0, precision=0, minimum=0, label="Seed", min_width=120)
                self.draw = gradio.Button("Draw", visible=able, elem_id="vq-draw")
                self.answers = gradio.HTML(elem_id="vq-answers")
            with gradio.Tab("Codes"):
                self.codes = gradio.HTML(elem_id="vq-codes")
            with gradio.Tab("Measure next", visible=actions.has_ticks):
                gradio.HTML(
                    html.note("Which component to measure next, beside those that are ticked, so that the rest is filled in best.")
                )
                self.ask = gradio.Button("Find out", elem_id="vq-ask")
                self.advice = gradio.HTML(elem_id="vq-advice")

    def _connect(self) -> None:
        """Which action answers what. Nothing of it can be called by name from outside of the page."""
        opened = [self.image, self.notice, self.ticks, self.canvas]
        known = [self.image, self.ticks, self.hole, self.canvas, self.shown]
        filled = [self.shown, self.notice, self.results, self.codes, self.download, self.answers, self.advice]
        hidden = {"api_visibility": "private"}
        # Gradio drops what is chosen while an earlier choice is still answered; this answers the last one as well.
        chosen = {**hidden, "trigger_mode": "always_last"}
        for event in (self.blocks.load, self.number.change):
            event(self._open_test, [self.number, self.ticks], opened, **hidden).success(self._fill_at_once, known, filled, **hidden)
        self.files.upload(self._open_files, [self.files, self.ticks], opened, **hidden).success(
            self._fill_at_once, known, filled, **hidden
        )
        self.ticks.input(self._fill_at_once, known, filled, **chosen)
        self.hole.input(self._choose_hole, [self.image, self.hole], [self.canvas], **chosen).success(
            self._fill_at_once, known, filled, **hidden
        )
        self.fill.click(self._fill, known, filled, **hidden)
        self.draw.click(self._draw, [self.shown, self.count, self.seed], [self.answers], **hidden)
        self.ask.click(self._advise, [self.image, self.ticks], [self.advice], **hidden)

    def _open_test(self, number: float, ticked: Sequence[str]) -> list[Any]:
        session = self._actions.session
        if session.images is None:
            return self._opened(Opened(None, html.note("Give an image of yours to begin with.")))
        return self._opened(self._actions.open_test(int(number), ticked))

    def _open_files(self, files: Sequence[str], ticked: Sequence[str]) -> list[Any]:
        return self._opened(self._actions.open_files([Path(file) for file in files], ticked))

    def _opened(self, opened: Opened) -> list[Any]:
        """Values for: the image, the notice, the ticks, the canvas."""
        gradio = self._gradio
        if opened.image is None:
            return [None, opened.notice, gradio.skip(), gradio.update(value=None)]
        ticks = gradio.update(choices=list(opened.held), value=list(opened.ticked))
        canvas = gradio.update(value={"background": opened.canvas, "layers": [], "composite": None})
        return [opened.image, opened.notice, ticks, canvas]

    def _choose_hole(self, image: Any, hole: str) -> Any:
        """The canvas, which is shown where the hole is painted."""
        return self._gradio.update(visible=image is not None and hole == "painted")

    def _fill_at_once(self, image: Any, ticked: Sequence[str], hole: Any, painted: Any, shown: Shown | None) -> list[Any]:
        """After a change: small images are filled in again, unless the hole is still to be painted."""
        if image is None:
            return self._cleared("")
        if hole == "painted":
            return self._cleared(html.note("Paint the hole, then press Fill in."))
        if image.image.numel() > AT_ONCE:
            return self._cleared(html.note("This image is large: press Fill in when everything is chosen."))
        return self._fill(image, ticked, hole, painted, shown)

    def _fill(self, image: Any, ticked: Sequence[str], hole: Any, painted: Any, shown: Shown | None) -> list[Any]:
        layers = painted["layers"] if painted else []
        found = self._actions.fill(image, ticked or (), hole, layers, shown)
        if found.file is None:
            return self._cleared(found.notice)
        label = "Download the filled-in image" if found.file.suffix != ".zip" else "Download the filled-in files"
        download = self._gradio.update(value=str(found.file), visible=True, label=label)
        return [found, found.notice, found.results, found.codes, download, "", ""]

    def _cleared(self, notice: str) -> list[Any]:
        """Values of everything that shows results, when there are none."""
        said = notice or self._gradio.skip()
        return [None, said, "", "", self._gradio.update(visible=False), "", ""]

    def _draw(self, shown: Shown | None, count: float, seed: float) -> str:
        return self._actions.answers(shown, int(count), int(seed or 0))

    def _advise(self, image: Any, ticked: Sequence[str]) -> str:
        return self._actions.advise(image, ticked or ())


def head(session: Session) -> str:
    """The head of the page: what the run is, and what it was trained on."""
    spec = session.spec
    lines = [f"Run: {run_name(session.pipeline.path)}", spec.describe_layout()]
    if session.sampler is not None:
        lines.append(f"Prior for several answers: {run_name(session.sampler.path)}")
    return html.heading(f"Fill in: {spec.name}", lines, session.notes)


def run_name(file: Path) -> str:
    """How a run is called whose model is in a file: its directory, or the name of a built-in one."""
    if is_builtin(file):
        return f"{PREFIX}{file.parent.name}, a small one that comes with vqkit"
    return str(run_directory(file))
