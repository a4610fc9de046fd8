from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqkit.errors import ConfigError, DataError
from vqkit.image_io.tables import ConditionTable, write_table


def table(folder: Path, text: str) -> ConditionTable:
    (folder / "performances.csv").write_text(text, encoding="utf-8")
    return ConditionTable(folder / "performances.csv")


def test_numbers_are_found_by_the_lower_cased_prefix(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,train,test,width_px,d_cons\nToy_1,True,False,58,0.5\ntoy_2,False,True,,1e-1\n")
    values = rows.values(["toy_2", "toy_1", "toy_3"], ["d_cons", "width_px"])
    assert torch.allclose(values[:2], torch.tensor([[0.1, float("nan")], [0.5, 58.0]]), equal_nan=True)
    assert bool(values[2].isnan().all())
    assert rows.flagged("toy_2", "test")
    assert not rows.flagged("toy_1", "test")
    assert not rows.flagged("toy_3", "test")
    assert not rows.flagged("toy_1", "no such column")


def test_semicolons_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    rows = table(tmp_path, "\ufeffmatching; width_px\na;3\n")
    assert rows.values(["a"], ["width_px"]).tolist() == [[3]]


def test_default_conditions_are_those_that_are_there(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,d_cons,height_px\na,1,2\n")
    assert rows.choose(None) == ("height_px",)
    assert rows.choose(["d_cons"]) == ("d_cons",)
    assert rows.choose([]) == ()
    with pytest.raises(ConfigError, match="no column 'd_con'") as refused:
        rows.choose(["d_con"])
    assert "Did you mean 'd_cons'?" in refused.value.hint


def test_a_table_without_prefixes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'matching'; its columns are name, width_px"):
        table(tmp_path, "name,width_px\na,3\n")


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the width_px of Toy_1 is 'wide'"):
        table(tmp_path, "matching,width_px\nToy_1,wide\n").values(["toy_1"], ["width_px"])


def test_rows_that_match_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="they begin with 'b', the rows with 'a'"):
        table(tmp_path, "matching,width_px\na,3\n").values(["b"], ["width_px"])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "performances.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="it is not UTF-8 text"):
        ConditionTable(tmp_path / "performances.csv")


def test_a_written_table_is_read_again(tmp_path: Path) -> None:
    values = torch.tensor([[58.0, 0.1], [float("nan"), 2.0]])
    write_table(tmp_path / "t.csv", ["a", "b"], "test", ["width_px", "d_cons"], values)
    rows = ConditionTable(tmp_path / "t.csv")
    assert torch.equal(rows.values(["a", "b"], ["width_px", "d_cons"]).nan_to_num(-1), values.nan_to_num(-1))
    assert rows.flagged("a", "test")
    assert not rows.flagged("a", "train")
