"""Tests of catalogue/csv_rows.py: round trips through two readers."""

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
def test_rows_round_trip(rows):
    assert list(csv.reader(io.StringIO(written(rows), newline=""))) == rows


def test_pandas_reads_carriage_returns_and_other_rows_are_not_quoted():
    text = written([["id", "n"], ["p\r1", 3], ["p2", None]])
    assert text == 'id,n\n"p\r1","3"\np2,\n'
    found = pd.read_csv(io.BytesIO(text.encode()), dtype=str, keep_default_na=False)
    assert found.to_numpy().tolist() == [["p\r1", "3"], ["p2", ""]]
