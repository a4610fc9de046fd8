from __future__ import annotations

import pytest

from vqkit import errors
from vqkit.errors import CheckpointError, ConfigError, DataError, RegistryError, TrainingError, VQKitError, did_you_mean


def test_an_error_reads_as_its_sentence_and_its_hint() -> None:
    error = DataError("The folder pictures/ is empty.", "Put pictures in it.")
    assert (error.message, error.hint) == ("The folder pictures/ is empty.", "Put pictures in it.")
    assert str(error) == "The folder pictures/ is empty. Put pictures in it."
    assert str(DataError("The folder pictures/ is empty.")) == "The folder pictures/ is empty."


@pytest.mark.parametrize("kind", [CheckpointError, ConfigError, DataError, RegistryError, TrainingError])
def test_what_a_user_can_fix_is_caught_as_one(kind: type[VQKitError]) -> None:
    with pytest.raises(VQKitError):
        raise kind("given and expected", "what to do")


def test_an_interruption_is_no_error_of_the_user() -> None:
    assert not issubclass(errors.Interrupted, VQKitError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("group_km", "Did you mean 'group_km'? Known: bt, group_km, group_nc."),
        ("group_nk", "Did you mean 'group_nc'? Known: bt, group_km, group_nc."),
        ("zzz", "Known: bt, group_km, group_nc."),
    ],
)
def test_did_you_mean_offers_the_closest_name_and_all_of_them(name: str, hint: str) -> None:
    assert did_you_mean(name, ["group_nc", "group_km", "bt"]) == hint


def test_did_you_mean_with_nothing_to_choose_from() -> None:
    assert did_you_mean("x", []) == "Known: none."


def test_did_you_mean_counts_as_people_do() -> None:
    assert did_you_mean("r", ["channel_10", "channel_2", "channel_1"]) == "Known: channel_1, channel_2, channel_10."


def test_the_reason_of_another_library_is_a_part_of_a_sentence() -> None:
    assert errors.reason_of("Traceback\n  Error downloading images.gz:.\n") == "Error downloading images.gz"
    assert errors.reason_of(" \n") == "no reason given"
