"""What `vqkit evaluate` prints for a prior: the rate of the codes, the quality of samples and of completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vqkit.cli.counting import count_of
from vqkit.cli.number_format import decimals
from vqkit.cli.oddity_tables import against_table, against_title

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluation.completion_quality import CompletionMetrics
    from vqkit.evaluation.prior import PriorEvaluation, SampleMetrics
    from vqkit.evaluation.sample_quality import Contents
    from vqkit.evaluation.scenario_metrics import FloorMetrics
    from vqkit.inference.calibration import Calibration
    from vqkit.interfaces.priors import Sampling

_PARTS_LISTED = 3
"""Numbers of connected parts that are listed for a component: the most common ones."""


def print_prior(console: Console, evaluation: PriorEvaluation) -> None:
    """One run: what was evaluated, and a table for each kind of metrics."""
    from vqkit.data.opening import typed_as

    conditioning = f" conditioned on {', '.join(evaluation.condition_on)}" if evaluation.condition_on else ""
    conditions = ", with conditions" if evaluation.with_conditions else ""
    data = typed_as(evaluation.data)
    what = f"{evaluation.prior}{conditioning}, {count_of(evaluation.images)} of {data}, {evaluation.split} split{conditions}"
    _say(console, f"{evaluation.run}: {what}")
    console.print(_rates(evaluation))
    _say(console, f"rate and distortion: {_point(evaluation)}")
    for note in evaluation.notes:
        _say(console, f"note: {note}")
    if evaluation.samples is not None:
        _say(console, f"\n{evaluation.samples.samples} samples ({_described(evaluation.sampling)})")
        _print_samples(console, evaluation.samples)
    if evaluation.completions:
        counts = sorted({each.images for each in evaluation.completions})
        images = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        samples, drawn = evaluation.completions[0].samples, _described(evaluation.completion_sampling)
        _say(console, f"\n{samples} completions of each of {images} images ({drawn}), measured on what was missing")
        console.print(_completions(evaluation.completions, evaluation.completion_floors))
        if evaluation.calibration is not None:
            _say(console, _calibrated(evaluation.calibration, evaluation.completion_sampling))
        if samples > 1:
            _say(console, "\nthe truth among these completions, over all missing pixels (unit values)")
            console.print(_uncertainty(evaluation.completions))
    for other in evaluation.against:
        _say(console, f"\n{against_title(other)}")
        console.print(against_table(other))


def prior_comparison(evaluations: Sequence[PriorEvaluation]) -> Table:
    """A row for each prior: its unconditional rate, and the distortion at that rate."""
    shapes = all(evaluation.distortion.mean_iou is not None for evaluation in evaluations)
    columns = ("nats/code", "bits/image", "bits/pixel", "PSNR dB", "pooled dB", "SSIM", *(["IoU"] if shapes else []))
    table = _table("comparison", *columns)
    table.columns[0].overflow = "fold"
    for evaluation in evaluations:
        rate, distortion = evaluation.rates[-1], evaluation.distortion
        cells = [f"{rate.nll_per_code:.3f}", f"{rate.bits_per_image:.1f}", f"{rate.bits_per_pixel:.4f}"]
        cells += [decimals(distortion.psnr, 2), decimals(distortion.pooled_psnr, 2), decimals(distortion.ssim, 4)]
        table.add_row(evaluation.run, *cells, *([decimals(distortion.mean_iou, 4)] if shapes else []))
    return table


def _rates(evaluation: PriorEvaluation) -> Table:
    """A row for each conditioning case, the baselines first."""
    levels = list(evaluation.uniform.levels) if len(evaluation.uniform.levels) > 1 else []
    *conditional, unconditional = evaluation.rates
    some = ["images"] if any(rate.images != evaluation.images for rate in evaluation.rates) else []
    table = _table("codes under", *some, "nats/code", "bits/image", "bits/pixel", *(f"nats/code {name}" for name in levels))
    for rate in (evaluation.uniform, evaluation.unigram, unconditional, *conditional, *evaluation.order_rates):
        cells = ["" if rate.images is None else str(rate.images)] if some else []
        cells += [f"{rate.nll_per_code:.3f}", f"{rate.bits_per_image:.1f}", f"{rate.bits_per_pixel:.4f}"]
        table.add_row(rate.name, *cells, *(f"{rate.levels[name]:.3f}" for name in levels))
    return table


def _point(evaluation: PriorEvaluation) -> str:
    rate, distortion = evaluation.rates[-1], evaluation.distortion
    overlap = "" if distortion.mean_iou is None else f", IoU {distortion.mean_iou:.4f}"
    psnr = f"PSNR {decimals(distortion.psnr, 2)} dB (pooled {decimals(distortion.pooled_psnr, 2)} dB)"
    return f"{rate.bits_per_image:.1f} bits per image at {psnr}, SSIM {decimals(distortion.ssim, 4)}{overlap}"


def _described(sampling: Sampling) -> str:
    """Settings that differ from the default, and the seed."""
    temperature = sampling.temperature
    levels = temperature if isinstance(temperature, tuple) else (temperature,)
    settings = [f"temperature {', '.join(f'{level:g}' for level in levels)}"] if temperature != 1 else []
    settings += [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
    settings += [f"top-p {sampling.top_p:g}"] if sampling.top_p is not None else []
    settings += [f"{sampling.draw_steps} steps"] if sampling.draw_steps is not None else []
    settings += [f"{sampling.order} order"] if sampling.order is not None else []
    settings += [f"{sampling.revisions} revisions"] if sampling.revisions else []
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
    shapes = contents[0].parts
    what = "mean value" if not shapes else "pixels" if len(shapes) == len(contents[0].values) else "pixels or mean value"
    values = [f"{what}, {each.name}" for each in contents]
    table = _table("component", *values, *(f"parts, {each.name}" for each in contents if shapes))
    for name in contents[0].values:
        cells = [f"{each.values[name]:.2%}" if name in shapes else f"{each.values[name]:.4g}" for each in contents]
        table.add_row(name, *cells, *(_parts(each.parts[name]) if name in shapes else "" for each in contents if shapes))
    return table


def _parts(shares: Sequence[float]) -> str:
    """The most common numbers of connected parts, each with its share of the images: 1: 98.4%, 2: 1.6%."""
    common = sorted((number for number, share in enumerate(shares) if share > 0), key=lambda number: -shares[number])[
        :_PARTS_LISTED
    ]
    others = 1 - sum(shares[number] for number in common)
    listed = [f"{number}: {shares[number]:.1%}" for number in common]
    return ", ".join([*listed, f"others: {others:.1%}"] if others >= 0.0005 else listed)


def _completions(completions: Sequence[CompletionMetrics], floors: Mapping[str, Sequence[FloorMetrics]]) -> Table:
    """For each scenario a row of means, one of pooled PSNRs (intensities), and one for each component that was missing.

    Beside the completions stands the best simple predictor of the scenario, where any was measured.
    """
    from vqkit.evaluation.completion_floors import floor_score
    from vqkit.evaluation.verdicts import best_of

    metric = {"iou": "IoU", "psnr": "PSNR dB", "mixed": "IoU or PSNR dB"}[completions[0].metric]
    count = completions[0].samples
    choices = ["one pass", "most likely", "consensus", "mean", f"best of {count}", f"best of {count} per component"]
    table = _table(metric, *choices, *(["best floor"] if floors else []), "diversity")
    for each in completions:
        scores = [each.one_pass, each.most_likely, each.consensus, each.mean, each.best_of_k, each.best_per_component]
        best = best_of(floors.get(each.name, ()))
        if floors:
            scores.append(floor_score(best, each.metrics))
        diversity = "-" if each.diversity is None else decimals(each.diversity.mean, 4)
        kinds = set(each.metrics.values())
        means = [decimals(score.mean, 2 if kinds == {"psnr"} else 4) for score in scores]
        if best is not None:
            means[-1] = f"{best.name} {means[-1]}"
        table.add_row(each.name, *means, diversity)
        if "psnr" in kinds:
            table.add_row("  pooled PSNR dB", *(decimals(score.pooled_psnr, 2) for score in scores), "")
        for name in each.metrics if len(each.metrics) > 1 else ():
            digits = 2 if each.metrics[name] == "psnr" else 4
            own = "-" if each.diversity is None else decimals(each.diversity.components.get(name), 4)
            table.add_row(f"  {name}", *(decimals(score.components.get(name), digits) for score in scores), own)
    return table


def _uncertainty(completions: Sequence[CompletionMetrics]) -> Table:
    """For each scenario a row, and one for each component that was missing."""
    nominal = f"{1 / (completions[0].samples + 1):.1%}"
    calibrated = any(found.calibrated_coverage is not None for each in completions for found in each.uncertainty.values())
    added = ("calibrated CRPS", "calibrated covered", "where contested") if calibrated else ()
    ends = f"lowest rank ({nominal})", f"highest rank ({nominal})"
    table = _table("uncertainty", "CRPS", "one pass MAE", "covered by 90%", "means covered", *ends, "calibration error", *added)
    for each in completions:
        table.add_row(each.name)
        for name, found in each.uncertainty.items():
            scores = f"{found.crps:.5f}", f"{found.one_pass_error:.5f}"
            shares = (found.coverage, found.mean_coverage, found.ranks[0], found.ranks[-1])
            error = "" if found.reliability is None else f"{found.reliability.error:.5f}"
            after = decimals(found.calibrated_crps, 5), _percent(found.calibrated_coverage), _percent(found.contested_coverage)
            table.add_row(f"  {name}", *scores, *map(_percent, shares), error, *(after if calibrated else ()))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _calibrated(calibration: Calibration, sampling: Sampling) -> str:
    """What was fitted, and whether the figures with it are shown."""
    fitted = f"the uncertainty was calibrated on {calibration.images} validation images (temperature {calibration.temperature:g})"
    return fitted if calibration.fits(sampling) else f"{fitted}, for other sampling options than these"


def _table(first: str, *others: str) -> Table:
    """An empty table whose columns but the first hold numbers."""
    from rich.table import Table

    table = Table(first, box=None, header_style="bold", pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
