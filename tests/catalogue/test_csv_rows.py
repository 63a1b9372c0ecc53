"""Claims about `catalogue/csv_rows.py`: what is read back, by two readers, is what was written."""

from __future__ import annotations

import csv
import io

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from attr_extractor.catalogue.csv_rows import CsvWriter

CELL = st.text(st.sampled_from("a,\"\r\n;|' é"), max_size=6)


def written(rows: list[list[str]]) -> str:
    file = io.StringIO(newline="")
    CsvWriter(file).writerows(rows)
    return file.getvalue()


@given(st.lists(st.tuples(st.just("x"), CELL, CELL).map(list), min_size=1, max_size=4))
def test_rows_come_back_as_they_were(rows):
    assert list(csv.reader(io.StringIO(written(rows), newline=""))) == rows


def test_pandas_reads_a_carriage_return_too_and_other_rows_have_no_quotes():
    text = written([["id", "n"], ["p\r1", 3], ["p2", None]])
    assert text == 'id,n\n"p\r1","3"\np2,\n'
    found = pd.read_csv(io.BytesIO(text.encode()), dtype=str, keep_default_na=False)
    assert found.to_numpy().tolist() == [["p\r1", "3"], ["p2", ""]]
