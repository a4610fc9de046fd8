"""Codebook usage: which codes are used, how often and where, and what they decode to.

A decoder turns a code into pixels together with its neighbours, so a code is drawn in context: images in which it was chosen are
decoded whole, and its cell is cut out with one cell around it and framed, beside the mean of these patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vqkit.core import distributed
from vqkit.core.atomic import write_atomically
from vqkit.core.randomness import generator_for
from vqkit.errors import CheckpointError
from vqkit.evaluation.held_out import batches_with_positions
from vqkit.evaluation.metrics import THRESHOLD, code_histogram, entropy_bits, perplexity, usage
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.image_io.panels import columns, shown_range, views
from vqkit.image_io.pictures import composite, composite_shows_all, display_components, rows_figure, save_picture
from vqkit.image_io.sheets import Column, PanelRow, panel_sheet
from vqkit.interfaces import Codes, DataSpec, ShownImages, Split, Tokenizer, fully_observed, where_present
from vqkit.storage.checkpoints import Loaded, write_model
from vqkit.storage.runs import MODEL_FILE

CODES_DRAWN = 12
"""Codes in each of the two figures of a level."""
OCCURRENCES = 24
"""Occurrences of a code that its mean patch is taken over, of which the first `SHOWN` are drawn."""
SHOWN = 7
_PATCH_SIDE = 72
_OUTSIDE = 232
_FRAME = (220, 0, 60)
_COUNTERS_AT_ONCE = 2**22


class Encoded(NamedTuple):
    """A split as its codes, and the means of what is present of its images, on the CPU.

    `levels`: int32 [N, h, w] each; `mean_image` float32 [C, H, W] in unit values; `means` float64 [C]: of each component over all
    pixels of all images, in stored values; of a binary component, the share of the pixels that are set. NaN where none is present.
    """

    levels: Codes
    mean_image: Tensor
    means: Tensor


@dataclass(frozen=True)
class LevelStatistics:
    """Use of the codes of one level over a split.

    `counts` of the K codes; `unused` are those never chosen; `usage` the share of the others; `perplexity` = 2 ** `entropy_bits`;
    `position_entropy_bits` [h][w]: entropy of the codes at each position of the grid.
    """

    name: str
    grid: tuple[int, int]
    num_codes: int
    used: int
    usage: float
    perplexity: float
    entropy_bits: float
    position_entropy_bits: list[list[float]]
    unused: list[int]
    counts: list[int]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def tokenizer_of(loaded: Loaded) -> Tokenizer:
    """The loaded model. Raises `CheckpointError` if it has no codes."""
    if isinstance(loaded.model, Tokenizer):
        return loaded.model
    raise CheckpointError(f"The model in {loaded.path} has no codes.", "Name a run of a VQ model, such as vqvae, with --run.")


@torch.inference_mode()
def encode_images(
    model: Tokenizer,
    images: Split,
    batch_size: int,
    device: torch.device,
    progress: Progress = no_progress,
    what: str = "encoded",
) -> Encoded:
    """The codes of all images of a split, from full input. `what` is done with them, for `progress`.

    The processes encode a part each, and all of them get the whole. Every process must call it.
    """
    levels: list[list[Tensor]] = [[] for _ in model.level_names]
    spec = model.spec
    total = torch.zeros(len(spec.components), spec.height, spec.width, dtype=torch.float64, device=device)
    count = torch.zeros_like(total, dtype=torch.int64)
    own_units = total.new_zeros(len(spec.components))
    binary = spec.binary.to(device)
    for _, batch in batches_with_positions(images, batch_size, what, progress):
        shown = batch.to(device, spec)
        total += shown.images.sum(0, dtype=torch.float64)
        count += shown.observed.sum(0)
        stored = where_present(batch.images.to(device).double(), shown.present)
        own_units += torch.where(binary, (shown.images >= THRESHOLD).sum((0, 2, 3)), stored.sum((0, 2, 3)))
        for store, codes in zip(levels, model.encode(shown.images, shown.observed), strict=True):
            store.append(codes.to("cpu", torch.int32))
    distributed.all_reduce(total, count, own_units)
    mean_image = (total / count.clamp_min(1)).float().cpu()
    # A process without an image has no codes, of whatever shape.
    joined = tuple(distributed.gather_rows(torch.cat(store) if store else torch.empty(0)) for store in levels)
    return Encoded(joined, mean_image, (own_units / count.sum((1, 2))).cpu())


def level_statistics(name: str, codes: Tensor, num_codes: int) -> LevelStatistics:
    """Statistics of one level's codes, int [N, h, w]."""
    counts = code_histogram(codes, num_codes)
    return LevelStatistics(
        name=name,
        grid=(codes.shape[1], codes.shape[2]),
        num_codes=num_codes,
        used=int((counts > 0).sum()),
        usage=float(usage(counts)),
        perplexity=float(perplexity(counts)),
        entropy_bits=float(entropy_bits(counts)),
        position_entropy_bits=position_entropy(codes, num_codes).tolist(),
        unused=(counts == 0).nonzero().flatten().tolist(),
        counts=counts.tolist(),
    )


def position_entropy(codes: Tensor, num_codes: int) -> Tensor:
    """Entropy in bits of the codes at each position over the images, float64 [h, w], of codes int [N, h, w]."""
    columns = codes.flatten(1).T
    entropies = []
    # A counter for each position and code at once would be too many for fine grids and large codebooks.
    for part in torch.split(columns, max(1, _COUNTERS_AT_ONCE // num_codes)):
        numbers = part.long() + num_codes * torch.arange(len(part))[:, None]
        counts = torch.bincount(numbers.flatten(), minlength=len(part) * num_codes)
        entropies.append(entropy_bits(counts.view(len(part), num_codes)))
    return torch.cat(entropies).view(codes.shape[1:])


def most_used(counts: Tensor, number: int) -> list[int]:
    """Up to `number` codes in descending order of their counts [K], ties by index; unused codes left out."""
    order = counts.argsort(descending=True, stable=True)
    return order[counts[order] > 0][:number].tolist()


def least_used(counts: Tensor, number: int) -> list[int]:
    """Up to `number` codes in ascending order of their counts [K], ties by index; unused codes left out."""
    order = counts.argsort(stable=True)
    return order[counts[order] > 0][:number].tolist()


@torch.inference_mode()
def draw_codes(model: Tokenizer, levels: Codes, level: int, codes: Sequence[int], device: torch.device) -> Image.Image:
    """A figure with a row for each of these codes of a level: its mean patch, and patches of images that use it.

    Where a composite does not show all components, the mean patch is shown component by component. `levels`: codes int [N, h, w] of
    each level of the same N images; conditions are unknown to the decoder.
    """
    counts = code_histogram(levels[level], model.cardinalities[level])
    labels = [f"{code}: {100 * int(counts[code]) / int(counts.sum()):.2g} %" for code in codes]
    found = [decoded_patches(model, levels, level, code, device) for code in codes]
    if composite_shows_all(model.spec):
        drawn = [_framed(code_patches(patches, model.spec), model, level) for patches in found]
        return rows_figure(list(zip(labels, drawn, strict=True)), scale=1, titles=["mean", "in images"])
    ends = shown_range([mean_patch(patches) for patches in found], model.spec)
    rows = [_component_row(label, patches, model, level, ends) for label, patches in zip(labels, found, strict=True)]
    headings = [Column("in images", note=" ".join(display_components(model.spec))), *[Column("")] * (SHOWN - 1)]
    return panel_sheet(rows, [*columns(model.spec, ends), *headings], scale=1)


def _component_row(label: str, patches: ShownImages, model: Tokenizer, level: int, ends: Tensor) -> PanelRow:
    """The components of the mean patch as panels, and composites of the first `SHOWN` patches. `ends`: see `shown_range`."""
    spec, mean = model.spec, mean_patch(patches)
    single = zip(patches.images[:SHOWN], fully_observed(*patches)[:SHOWN], strict=True)
    pictures = [views(mean.images[0], spec, fully_observed(*mean)[0], ends)]
    pictures += [views(image, spec, inside, ends)[:1] for image, inside in single]
    framed = _framed(torch.cat(pictures), model, level)
    missing = SHOWN - len(patches.images[:SHOWN])
    empty = torch.full_like(framed[:1], 255).expand(missing, -1, -1, -1)
    return PanelRow(f"{label}\nmean, in images", torch.cat([framed, empty]))


def decoded_patches(model: Tokenizer, levels: Codes, level: int, code: int, device: torch.device) -> ShownImages:
    """Decoded patches around occurrences of a code, [n, C, 3 * cell, 3 * cell]; what is outside of the image is not present.

    Up to `OCCURRENCES`, spread evenly over the images.
    """
    places = (levels[level] == code).nonzero()
    chosen = places[torch.linspace(0, len(places) - 1, min(OCCURRENCES, len(places))).round().long()]
    grids = tuple(each[chosen[:, 0]].long().to(device) for each in levels)
    unknown = model.spec.unknown_conditions(len(chosen), device)
    images = model.decode(grids, unknown).cpu()
    height, width = _cell(model, level)

    def patches(values: Tensor) -> Tensor:
        padded = F.pad(values, (width, width, height, height))
        places = ((row * height, column * width) for _, row, column in chosen.tolist())
        parts = zip(padded, places, strict=True)
        return torch.stack([part[:, top : top + 3 * height, left : left + 3 * width] for part, (top, left) in parts])

    return ShownImages(patches(images), patches(torch.ones_like(images, dtype=torch.bool)))


def mean_patch(patches: ShownImages) -> ShownImages:
    """The mean of the patches where they are present, [1, C, 3 * cell, 3 * cell]."""
    known = fully_observed(*patches)
    total = where_present(patches.images, known).sum(0, keepdim=True)
    return ShownImages(total / known.sum(0, keepdim=True).clamp_min(1), known.any(0, keepdim=True))


def code_patches(patches: ShownImages, spec: DataSpec) -> Tensor:
    """Composites of patches: uint8 [1 + n, 3, 3 * cell, 3 * cell], their mean first, then up to `SHOWN`; grey outside of images."""
    inside = fully_observed(*patches)[:, :1]
    pictures = torch.where(inside, composite(patches.images, spec), _OUTSIDE).to(torch.uint8)
    mean = pictures.float().mean(0, keepdim=True).round().to(torch.uint8)
    return torch.cat([mean, pictures[:SHOWN]])


def _cell(model: Tokenizer, level: int) -> tuple[int, int]:
    """Height and width in pixels of the cell of one code of a level."""
    rows, columns = model.code_shapes[level]
    return model.spec.height // rows, model.spec.width // columns


def _framed(patches: Tensor, model: Tokenizer, level: int) -> Tensor:
    """The patches enlarged, with a frame around the cell in their middle."""
    height, width = _cell(model, level)
    scale = max(1, round(_PATCH_SIDE / (3 * max(height, width))))
    enlarged = patches.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    top, left = height * scale, width * scale
    ring = torch.zeros(enlarged.shape[2:], dtype=torch.bool)
    ring[top - 1 : 2 * top + 1, left - 1 : 2 * left + 1] = True
    ring[top : 2 * top, left : 2 * left] = False
    return torch.where(ring, torch.tensor(_FRAME, dtype=torch.uint8)[:, None, None], enlarged)


def usage_plot(statistics: LevelStatistics) -> Figure:
    """The counts of the codes in descending order, on a logarithmic scale, with the count of a uniformly used codebook."""
    counts = sorted((count for count in statistics.counts if count), reverse=True)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.step(range(1, len(counts) + 1), counts, where="mid", color="#0072b2")
    axes.axhline(sum(counts) / statistics.num_codes, color="#999999", linestyle="--", linewidth=1, label="uniform usage")
    if statistics.unused:
        axes.axvspan(len(counts) + 0.5, statistics.num_codes + 0.5, color="#d55e00", alpha=0.15, label="unused")
    axes.set(yscale="log", xlim=(0.5, statistics.num_codes + 0.5), xlabel="code, by descending count", ylabel="count")
    axes.set_title(
        f"{statistics.name}: {statistics.used} of {statistics.num_codes} used, perplexity {statistics.perplexity:.1f}", fontsize=10
    )
    axes.legend(frameon=False, fontsize=8)
    return figure


def entropy_map(statistics: LevelStatistics, mean_picture: Tensor) -> Figure:
    """The entropy of the codes at each position, beside the mean image uint8 [3, H, W]."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(mean_picture.permute(1, 2, 0).numpy())
    left.set_title("mean image", fontsize=10)
    drawn = right.imshow(statistics.position_entropy_bits, cmap="viridis", vmin=0)
    right.set_title(f"{statistics.name}: entropy at each position", fontsize=10)
    figure.colorbar(drawn, ax=right, label="bits")
    for axes in (left, right):
        axes.set_axis_off()
    return figure


def write_pictures(
    model: Tokenizer, encoded: Encoded, statistics: Sequence[LevelStatistics], out: Path, device: torch.device
) -> list[Path]:
    """Write figures of every level to the directory `out` and return the files: usage, entropy, most and least used codes."""
    mean_picture = composite(encoded.mean_image[None], model.spec)[0]
    written: list[Path] = []
    for level, values in enumerate(statistics):
        plots = {"usage": usage_plot(values), "entropy": entropy_map(values, mean_picture)}
        for name, figure in plots.items():
            written.append(out / f"{values.name}_{name}.png")
            with write_atomically(written[-1]) as temporary:
                figure.savefig(temporary, dpi=120)
        counts = torch.tensor(values.counts)
        for name, codes in {"most_used": most_used(counts, CODES_DRAWN), "least_used": least_used(counts, CODES_DRAWN)}.items():
            written.append(out / f"{values.name}_{name}.png")
            save_picture(draw_codes(model, encoded.levels, level, codes, device), written[-1])
    return written


def reset_unused(loaded: Loaded, statistics: Sequence[LevelStatistics], seed: int = 0) -> tuple[int, Path | None]:
    """Reset the unused codes to frequently used ones, with noise, and save the model as a new checkpoint.

    Returns the number of codes that were reset and the new `model.safetensors`, or 0 and None when all codes are in use. The old
    checkpoint stays as it is; the loaded model in memory changes. Raises `ConfigError` for a codebook that is not learned, and
    `OSError` when the checkpoint cannot be written.
    """
    counts = tuple(torch.tensor(level.counts) for level in statistics)
    if not any(level.unused for level in statistics):
        return 0, None
    reset = tokenizer_of(loaded).reset_unused_codes(counts, generator_for(seed, "reset unused codes"))
    path = _fresh_directory(loaded.path) / MODEL_FILE
    write_model(path, loaded.model, loaded.data)
    return reset, path


def _fresh_directory(checkpoint: Path) -> Path:
    """A new directory beside that of the checkpoint, whose name training does not use."""
    old = checkpoint.parent if checkpoint.parent.name else checkpoint.resolve().parent
    name, number = f"reset-{old.name}", 1
    while (old.parent / name).exists():
        number += 1
        name = f"reset-{old.name}-{number}"
    return old.parent / name
