from dataclasses import dataclass
from typing import Literal

import pytest

from ragbench.files.csv_format import CsvFormat
from ragbench.files.csv_table import RecordError

HEADER = "name,colour,n,most,share,is_kept,note"


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    colour: Literal["red", "blue"]
    n: int
    most: int | None
    share: float | None
    is_kept: bool
    note: str | None = None

    @property
    def twice(self) -> float:
        return 2 * (self.share or 0.0)


THINGS = CsvFormat(Thing)
ONE, OTHER = Thing("a,b", "red", 3, None, 1 / 3, True), Thing("", "blue", -4, 5, None, False, "told")


def kept(tmp_path, text):
    path = tmp_path / "things.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_come_back_as_they_were_written(tmp_path):
    text = THINGS.text([ONE, OTHER])
    assert text.splitlines() == [HEADER, '"a,b",red,3,,0.333333,true,', "\\e,blue,-4,5,,false,told"]
    assert THINGS.read(kept(tmp_path, text)) == [Thing("a,b", "red", 3, None, 0.333333, True), OTHER]


def test_digits_are_those_of_the_column_or_else_of_the_format():
    form = CsvFormat(Thing, real=".2g", reals={"twice": ".3f"}, also=("twice",))
    assert form.text([ONE]).splitlines() == [f"{HEADER},twice", '"a,b",red,3,,0.33,true,,0.667']


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,green,1,,0.5,true,", "colour must be one of red, blue, got 'green'"),
        ("a,red,,,0.5,true,", "n is absent"),
        (",red,1,,0.5,true,", "name is absent"),
        ("a,red,1.5,,0.5,true,", r"n must be a whole number up to 1e\+15, got '1.5'"),
        ("a,red,1,,half,true,", r"share must be a number up to 1e\+15, got 'half'"),
        ("a,red,1,,nan,true,", r"share must be a number up to 1e\+15, got 'nan'"),
        ("a,red,1,9999999999999999,0.5,true,", r"most must be a whole number up to 1e\+15, got '9999999999999999'"),
        ("a,red,1,,0.5,yes,", "is_kept must be true or false, got 'yes'"),
    ],
)
def test_a_cell_of_another_type_is_named_with_its_line(tmp_path, row, told):
    path = kept(tmp_path, f"{HEADER}\na,red,1,,0.5,true,\n{row}\n")
    with pytest.raises(RecordError, match=rf"things\.csv, line 3: {told}"):
        THINGS.read(path)


def test_every_column_is_needed(tmp_path):
    text = f"{HEADER.removesuffix(',note')}\na,red,1,,0.5,true\n"
    for read in (THINGS.read, THINGS.frame):
        with pytest.raises(RecordError, match=r"things\.csv lacks the columns note$"):
            read(kept(tmp_path, text))


def test_a_format_may_hold_numbers_of_any_size_and_none(tmp_path):
    path = kept(tmp_path, f"{HEADER}\na,red,{10**40},,nan,true,\n")
    (found,) = CsvFormat(Thing, most=None).read(path)
    assert (found.n, repr(found.share)) == (10**40, "nan")


def test_a_frame_has_the_types_of_the_fields(tmp_path):
    path = kept(tmp_path, THINGS.text([ONE, OTHER]))
    dtypes = {name: str(dtype) for name, dtype in THINGS.frame(path).dtypes.items()}
    assert dtypes["n"] == "int64"
    assert dtypes["most"] == dtypes["share"] == "float64"
    assert dtypes["is_kept"] == "boolean"
    assert CsvFormat(Thing, ints="whole").frame(path)["most"].dtype == "Int64"
    with pytest.raises(RecordError, match="line 2: n must be a whole number up to 2, got '3'"):
        CsvFormat(Thing, most=2).frame(path)
