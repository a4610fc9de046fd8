from __future__ import annotations

import pytest

from vqkit.report.results import Result, to_csv, values_by_seed
from vqkit.report.summary import Column, SeedStatistics, conclusion, seed_statistics, table

PSNR = Column("hole_psnr_db", "PSNR, dB", 2, "higher")
MSE = Column("hole_mse", "MSE", 3, "lower")
ELBO = Column("elbo_bits_per_dimension", "ELBO", 2)


def row(model: str, seed: int, kind: str, psnr: float, mse: float = 0.5) -> Result:
    return Result(model, seed, f"runs/{model}{seed}", mask_kind=kind, scenario=kind, hole_psnr_db=psnr, hole_mse=mse)


ROWS = [
    row("vae", 0, "boxes", 20.0),
    row("vae", 0, "components", 10.0),
    row("vae", 0, "components", 14.0),
    row("vae", 1, "components", 13.0),
    row("vae", 1, "boxes", 21.0),
    row("vqvae", 0, "components", 18.0, 0.2),
]


def test_scenarios_are_averaged_within_a_seed_and_then_seeds() -> None:
    assert values_by_seed(ROWS, "vae", "hole_psnr_db", "components") == [12.0, 13.0]
    assert values_by_seed(ROWS, "vae", "hole_psnr_db", "boxes") == [20.0, 21.0]
    assert values_by_seed(ROWS, "vae", "hole_ssim") == []
    found = table("components missing", ROWS, (PSNR, MSE), "components")
    assert found.cells["vae"][0] == SeedStatistics(12.5, pytest.approx(0.5**0.5), 2)
    assert found.cells["vqvae"] == [SeedStatistics(18.0, None, 1), SeedStatistics(0.2, None, 1)]


def floor(name: str, kind: str, psnr: float) -> Result:
    return Result(f"floor: {name}", None, "", "floor", mask_kind=kind, scenario=kind, hole_psnr_db=psnr, hole_mse=0.3)


FLOORS = [floor("copy", "components", 12.6), floor("linear", "components", 12.0), floor("linear", "components", 13.4)]


def test_floors_stand_below_the_models_and_are_no_models() -> None:
    found = table("components missing", [*ROWS, *FLOORS, floor("harmonic", "boxes", 30.0)], (PSNR, MSE), "components", PSNR.field)
    assert list(found.cells) == ["vae", "vqvae"]
    assert found.floors == {
        "floor: copy": [SeedStatistics(12.6, None, 1), SeedStatistics(0.3, None, 1)],
        "floor: linear": [SeedStatistics(12.7, None, 1), SeedStatistics(0.3, None, 1)],
    }
    assert found.best == ["vqvae", "vqvae"]
    assert found.below == {"vae": "linear"}
    assert found.conclusions[0] == "vqvae fills in best: PSNR 18.00 dB, 5.30 dB ahead of linear, the best simple predictor."
    whole = table("whole images", [*ROWS, *FLOORS], (PSNR,))
    assert (whole.floors, whole.below) == ({}, {})


def test_no_model_is_said_to_fill_in_best_below_a_floor() -> None:
    found = table("boxes missing", [*ROWS, floor("harmonic", "boxes", 30.0)], (PSNR, MSE), "boxes", PSNR.field)
    assert found.below == {"vae": "harmonic"}
    assert found.conclusions[0] == (
        "No model fills in as well as the simple predictor harmonic: PSNR 30.00 dB; vae comes next with 20.50 dB."
    )
    by_error = table("boxes missing", [*ROWS, floor("harmonic", "boxes", 30.0)], (PSNR, MSE), "boxes", MSE.field)
    assert by_error.conclusions[0].startswith("No model fills in as well as the simple predictor harmonic: MSE 0.300; vae comes")


def test_what_is_not_a_number_is_left_out() -> None:
    assert values_by_seed([*ROWS, row("odd", 0, "boxes", float("nan")), row("odd", 1, "boxes", 3.0)], "odd", "hole_psnr_db") == [
        3.0
    ]


def test_the_best_is_the_most_or_the_least() -> None:
    found = table("components missing", ROWS, (PSNR, MSE, ELBO), "components")
    assert found.columns == (PSNR, MSE)  # nobody has an ELBO
    assert found.best == ["vqvae", "vqvae"]
    boxes = table("boxes missing", ROWS, (PSNR,), "boxes")
    assert boxes.best == [None]
    assert boxes.cells["vqvae"] == [None]


def test_no_model_is_best_alone_or_without_a_better_direction() -> None:
    alone = [each for each in ROWS if each.model == "vae"]
    assert table("alone", alone, (PSNR,)).best == [None]
    assert conclusion(ELBO, {"a": SeedStatistics(1, 0.1, 2), "b": SeedStatistics(2, 0.1, 2)}) is None


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            SeedStatistics(19.0, 0.3, 2),
            "1.00 ahead of b, which is more than the standard deviation of this difference over seeds (0.50)",
        ),
        (
            SeedStatistics(19.6, 0.3, 2),
            "0.40 ahead of b, which is not more than the standard deviation of this difference over seeds (0.50)",
        ),
        (SeedStatistics(19.0, None, 1), "1.00 ahead of b; with one seed, significance cannot be assessed"),
        (SeedStatistics(19.999, 0.3, 2), "less than 0.01 ahead of b, which is not more"),
    ],
)
def test_a_lead_is_compared_with_the_seeds_deviation(second: SeedStatistics, said: str) -> None:
    sentence = conclusion(PSNR, {"b": second, "c": None, "a": SeedStatistics(20.0, 0.4, 2)})
    assert sentence is not None
    assert sentence.startswith("PSNR, dB: a is best with 20.00")
    assert said in sentence


def test_the_spread_of_one_and_of_none() -> None:
    assert seed_statistics([2.5]) == SeedStatistics(2.5, None, 1)
    assert seed_statistics([]) is None


def test_csv_has_full_precision_and_blanks() -> None:
    header, line = to_csv([row("vae", 0, "boxes", 1 / 3)._replace(failure='It said: "no", and left.')]).splitlines()
    assert header.startswith("model,seed,run,kind,failure,mask_kind,scenario,test_images,scenario_images,hole_psnr_db")
    assert line.startswith('vae,0,runs/vae0,model,"It said: ""no"", and left.",boxes,boxes,,,0.3333333333333333,,,0.5')
