from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqkit.errors import ConfigError, DataError
from vqkit.image_io.tables import ConditionTable, write_table


def table(folder: Path, text: str) -> ConditionTable:
    (folder / "performances.csv").write_text(text, encoding="utf-8")
    return ConditionTable(folder / "performances.csv")


def test_numbers_are_found_by_the_name_in_any_case(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,train,test,width_px,d_cons\nToy_1,True,False,58,0.5\ntoy_2,False,True,,1e-1\n")
    values = rows.values(["toy_2", "toy_1", "toy_3"], ["d_cons", "width_px"])
    assert torch.allclose(values[:2], torch.tensor([[0.1, float("nan")], [0.5, 58.0]]), equal_nan=True)
    assert bool(values[2].isnan().all())
    assert rows.flagged("toy_2", "test")
    assert not rows.flagged("toy_1", "test")
    assert not rows.flagged("toy_3", "test")
    assert not rows.flagged("toy_1", "val"), "there is no such column"


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


def test_a_condition_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names the column 'd_cons' twice"):
        table(tmp_path, "matching,d_cons\na,1\n").choose(["d_cons", "d_cons"])


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


def test_rows_of_one_key_that_differ_are_refused_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        table(tmp_path, "matching,train,width_px\ns0,True,50\ns1,True,51\n\ns1,True,999\n")
    assert refused.value.message.endswith("has two rows for s1 that differ: width_px is '51' in line 3 and '999' in line 5.")


def test_rows_of_one_key_that_are_equal_are_one(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,width_px\ns1,51\ns1, 51 \n")
    assert rows.values(["s1"], ["width_px"]).tolist() == [[51]]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the column 'width_px' twice"):
        table(tmp_path, "matching,width_px,width_px \na,3,4\n")


def test_cells_beyond_the_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3 has more cells than there are columns; '5' is in none"):
        table(tmp_path, "matching,width_px\na,3,\nb,4,5\n")


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "1e999", "1e39", "-1e39"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=f"the width_px of a is '{cell}', which is not a finite number") as refused:
        table(tmp_path, f"matching,width_px\na,{cell}\n").values(["a"], ["width_px"])
    assert "data.conditions" in refused.value.hint


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "None", "null"])
def test_what_is_not_known_is_nan(tmp_path: Path, cell: str) -> None:
    assert bool(table(tmp_path, f"matching,width_px\na,{cell}\n").values(["a"], ["width_px"]).isnan().all())


def test_exact_names_go_before_others(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,width_px\na0,1\nA0,2\n")
    assert rows.values(["A0", "a0"], ["width_px"]).tolist() == [[2], [1]]


def test_a_row_is_never_given_to_two_names_nor_one_of_two_rows_to_a_name(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,width_px\na0,1\nB1,2\nC2,3\nc2,4\n")
    assert rows.match(["A0", "a0"]) == {"a0": "a0"}
    assert rows.match(["B1", "b1"]) == {"B1": "B1"}
    assert rows.match(["b1"]) == {"b1": "B1"}
    assert rows.match(["bB1", "Bb1"]) == {}
    assert table(tmp_path, "matching\nB1\n").match(["b1", "B1 "]) == {"b1": "B1"}
    assert table(tmp_path, "matching\nBB\n").match(["bB", "Bb"]) == {}
    assert table(tmp_path, "matching\nC2\nc2\n").match(["plate/C2", "C2 x"]) == {"plate/C2": "C2"}
    assert table(tmp_path, "matching\nCC\ncc\n").match(["cC"]) == {}


def test_folders_before_a_name_may_be_missing_in_the_table(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,width_px\na0,1\np1/b,2\np2/b,3\n")
    assert rows.match(["plate/a0", "p1/b", "p2/B"]) == {"plate/a0": "a0", "p1/b": "p1/b", "p2/B": "p2/b"}
    assert rows.match(["x/a0", "y/a0"]) == {}


@pytest.mark.parametrize(
    ("cell", "flag"), [("True", True), ("yes", True), ("1.0", True), ("x", True), ("no", False), ("nan", False)]
)
def test_flags_have_many_spellings(tmp_path: Path, cell: str, flag: bool) -> None:
    assert table(tmp_path, f"matching,test\na,{cell}\n").flagged("a", "test") is flag


@pytest.mark.parametrize("header", ["Train,VAL,Test", "training,valid,testing", "TRAIN,Validation,test"])
def test_flags_are_called_as_folders_of_splits_are_in_any_case(tmp_path: Path, header: str) -> None:
    rows = table(tmp_path, f"matching,{header}\na,1,0,0\nb,0,1,0\nc,0,0,1\n")
    assert [rows.splits_of(key) for key in "abc"] == [["train"], ["val"], ["test"]]
    assert rows.split_columns == header.split(",")


@pytest.mark.parametrize("column", ["split", "Subset", "partition"])
def test_a_column_may_name_the_split(tmp_path: Path, column: str) -> None:
    rows = table(tmp_path, f"matching,{column}\na,train\nb,Validation\nc,TEST\nd,dev\ne,\n")
    assert [rows.splits_of(key) for key in "abcde"] == [["train"], ["val"], ["test"], [], []]
    assert rows.split_columns == [column]


def test_a_column_that_says_which_images_are_valid_divides_nothing(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching,valid\na,1\n")
    assert (rows.splits_of("a"), rows.split_columns) == ([], [])


def test_flags_go_before_names_of_splits_and_numbers_name_none(tmp_path: Path) -> None:
    flags = table(tmp_path, "matching,split,test\na,train,yes\n")
    assert (flags.splits_of("a"), flags.split_columns) == (["test"], ["test"])
    numbers = table(tmp_path, "matching,split\na,0.5\n")
    assert (numbers.splits_of("a"), numbers.split_columns) == ([], [])


def test_rows_may_be_called_as_files_are(tmp_path: Path) -> None:
    rows = table(tmp_path, "matching\nim0.png\nset/Im1.OME.TIF\nim2.5\nim3.png\nim3.tif\n")
    assert rows.match(["im0", "im1", "a/im2.5", "im3"]) == {"im0": "im0.png", "im1": "set/Im1.OME.TIF", "a/im2.5": "im2.5"}


def test_a_flag_that_says_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the test of a is 'perhaps', which is no flag"):
        table(tmp_path, "matching,test\na,perhaps\n").flagged("a", "test")


def test_a_line_break_in_quotes_is_part_of_a_cell(tmp_path: Path) -> None:
    rows = table(tmp_path, 'matching,note,width_px\na,"two\nlines",3\nb,,4\n')
    assert rows.values(["a", "b"], ["width_px"]).tolist() == [[3], [4]]
