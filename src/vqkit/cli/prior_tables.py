"""What `vqkit evaluate` prints for a prior: the rate of the codes, the quality of samples and of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluation.completion_quality import CompletionMetrics
    from vqkit.evaluation.prior import PriorEvaluation, SampleMetrics
    from vqkit.evaluation.sample_quality import Contents
    from vqkit.interfaces.priors import Sampling

_PARTS_LISTED = 3
"""Numbers of connected parts that are listed for a component: the most common ones."""


def print_prior(console: Console, evaluation: PriorEvaluation) -> None:
    """One run: what was evaluated, and a table for each kind of metrics."""
    from vqkit.data.opening import typed_as

    conditioning = f" conditioned on {', '.join(evaluation.condition_on)}" if evaluation.condition_on else ""
    conditions = ", with conditions" if evaluation.with_conditions else ""
    data = typed_as(evaluation.data)
    what = f"{evaluation.prior}{conditioning}, {evaluation.images} images of {data}, {evaluation.split} split{conditions}"
    _say(console, f"{evaluation.run}: {what}")
    console.print(_rates(evaluation))
    _say(console, f"rate and distortion: {_point(evaluation)}")
    drawn = _described(evaluation.sampling)
    if evaluation.samples is not None:
        _say(console, f"\n{evaluation.samples.samples} samples ({drawn})")
        _print_samples(console, evaluation.samples)
    if evaluation.completions:
        first = evaluation.completions[0]
        _say(console, f"\n{first.samples} completions of each of {first.images} images ({drawn}), measured on what was missing")
        console.print(_completions(evaluation.completions))


def prior_comparison(evaluations: Sequence[PriorEvaluation]) -> Table:
    """A row for each prior: its unconditional rate, and the distortion at that rate."""
    shapes = all(evaluation.distortion.mean_iou is not None for evaluation in evaluations)
    columns = ("nats/code", "bits/image", "bits/pixel", "PSNR dB", "SSIM", *(["IoU"] if shapes else []))
    table = _table("comparison", *columns)
    table.columns[0].overflow = "fold"
    for evaluation in evaluations:
        rate, distortion = evaluation.rates[-1], evaluation.distortion
        cells = [f"{rate.nll_per_code:.3f}", f"{rate.bits_per_image:.1f}", f"{rate.bits_per_pixel:.4f}"]
        cells += [f"{distortion.psnr:.2f}", f"{distortion.ssim:.4f}"]
        table.add_row(evaluation.run, *cells, *([f"{distortion.mean_iou:.4f}"] if shapes else []))
    return table


def _rates(evaluation: PriorEvaluation) -> Table:
    """A row for each conditioning case, the baselines first."""
    levels = list(evaluation.uniform.levels) if len(evaluation.uniform.levels) > 1 else []
    table = _table("codes under", "nats/code", "bits/image", "bits/pixel", *(f"nats/code {name}" for name in levels))
    *conditional, unconditional = evaluation.rates
    for rate in (evaluation.uniform, evaluation.unigram, unconditional, *conditional):
        cells = [f"{rate.nll_per_code:.3f}", f"{rate.bits_per_image:.1f}", f"{rate.bits_per_pixel:.4f}"]
        table.add_row(rate.name, *cells, *(f"{rate.levels[name]:.3f}" for name in levels))
    return table


def _point(evaluation: PriorEvaluation) -> str:
    rate, distortion = evaluation.rates[-1], evaluation.distortion
    overlap = "" if distortion.mean_iou is None else f", IoU {distortion.mean_iou:.4f}"
    return f"{rate.bits_per_image:.1f} bits per image at PSNR {distortion.psnr:.2f} dB, SSIM {distortion.ssim:.4f}{overlap}"


def _described(sampling: Sampling) -> str:
    """Settings that differ from plain ancestral sampling, and the seed."""
    temperature = sampling.temperature
    levels = temperature if isinstance(temperature, tuple) else (temperature,)
    settings = [f"temperature {', '.join(f'{level:g}' for level in levels)}"] if temperature != 1 else []
    settings += [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
    settings += [f"top-p {sampling.top_p:g}"] if sampling.top_p is not None else []
    settings += [f"guidance scale {sampling.guidance_scale:g}"] if sampling.guidance_scale != 1 else []
    return ", ".join([*settings, f"seed {sampling.seed}"])


def _print_samples(console: Console, samples: SampleMetrics) -> None:
    if samples.plausibility:
        table = _table("shapes of", "images", "free of overlap", "usual number of parts", "both")
        for row in samples.plausibility:
            table.add_row(row.name, str(row.images), f"{row.free_of_overlap:.1%}", f"{row.usual_parts:.1%}", f"{row.both:.1%}")
        console.print(table)
    console.print(_contents(samples.contents))
    if samples.adherence:
        table = _table("condition", "samples", "mean absolute error", "bias", "reconstruction error")
        for each in samples.adherence:
            errors = f"{each.mean_absolute_error:.2f}", f"{each.bias:+.2f}", f"{each.reconstruction_error:.2f}"
            table.add_row(each.condition, str(each.images), *errors)
        console.print(table)


def _contents(contents: Sequence[Contents]) -> Table:
    """A row for each component, and columns for each kind of images."""
    shapes = bool(contents[0].parts)
    values = [f"{'pixels' if shapes else 'mean value'}, {each.name}" for each in contents]
    table = _table("component", *values, *(f"parts, {each.name}" for each in contents if shapes))
    for name in contents[0].values:
        cells = [f"{each.values[name]:.2%}" if shapes else f"{each.values[name]:.4f}" for each in contents]
        table.add_row(name, *cells, *(_parts(each.parts[name]) for each in contents if shapes))
    return table


def _parts(shares: Sequence[float]) -> str:
    """The most common numbers of connected parts, each with its share of the images: 1: 98.4%, 2: 1.6%."""
    common = sorted((number for number, share in enumerate(shares) if share > 0), key=lambda number: -shares[number])[
        :_PARTS_LISTED
    ]
    others = 1 - sum(shares[number] for number in common)
    listed = [f"{number}: {shares[number]:.1%}" for number in common]
    return ", ".join([*listed, f"others: {others:.1%}"] if others >= 0.0005 else listed)


def _completions(completions: Sequence[CompletionMetrics]) -> Table:
    """For each scenario a row of means, and one for each component that was missing."""
    metric = "IoU" if completions[0].metric == "iou" else "PSNR dB"
    count = completions[0].samples
    table = _table(metric, "one pass", "most likely", "mean", f"best of {count}", f"best of {count} per component", "diversity")
    digits = 4 if metric == "IoU" else 2
    for each in completions:
        scores = (each.one_pass, each.most_likely, each.mean, each.best_of_k, each.best_per_component)
        diversity = "-" if each.diversity is None else f"{each.diversity.mean:.4f}"
        table.add_row(each.name, *(f"{score.mean:.{digits}f}" for score in scores), diversity)
        for name in each.best_per_component.components if len(each.best_per_component.components) > 1 else ():
            own = "-" if each.diversity is None else f"{each.diversity.components[name]:.4f}"
            table.add_row(f"  {name}", *(f"{score.components[name]:.{digits}f}" for score in scores), own)
    return table


def _table(first: str, *others: str) -> Table:
    """An empty table whose columns but the first hold numbers."""
    from rich.table import Table

    table = Table(first, box=None, header_style="bold", pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
