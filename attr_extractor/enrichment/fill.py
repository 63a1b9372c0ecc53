"""Rows of a table and their scores -> the rows filled, and what seller and model say of each cell.

What the seller wrote stays as it is. Per attribute `<name>_confidence` and `<name>_source` are
added, and `error`: why a row's photos could not be read.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.catalogue import boxes, table
from attr_extractor.enrichment import cells
from attr_extractor.errors import InputError
from attr_extractor.model.answers import MAX_ANSWERS, Answers
from attr_extractor.schema import SEPARATOR, Attribute, Schema

ERROR = "error"
SELLER, MODEL, NO_ANSWER, NOT_APPLICABLE = "seller", "model", "no answer", "not applicable"


@dataclass(frozen=True)
class Filled:
    """A run of rows."""

    columns: dict[str, list[str]]  # by our name, in the order of the header
    cells: pa.Table  # of the form cells.SCHEMA; empty unless asked for
    sources: Counter[str]  # cells by source
    rows_with_error: int


@dataclass(frozen=True)
class _Given:
    """What R sellers wrote of an attribute with V_t values."""

    filled: np.ndarray  # bool [R]
    values: np.ndarray  # bool [R, V_t], the known ones
    words: np.ndarray  # str [R], the known values in the schema's spelling
    score: np.ndarray  # float32 [R], the lowest of theirs, NaN where none is known


@dataclass(frozen=True)
class _Answer:
    """What a model answers of an attribute, whether it was asked or not."""

    index: np.ndarray  # int32 [R, K], the answered values, best first
    kept: np.ndarray  # bool [R, K], which of these there are
    words: np.ndarray  # str [R], "" without an answer
    score: np.ndarray  # float32 [R], the lowest of theirs, NaN without an answer


def header(columns: Sequence[str], schema: Schema, catalogue: str) -> dict[str, str]:
    """Our name of every output column -> the name it is written under.

    Args:
      columns: of the table as it was read with the schema.

    Raises:
      InputError: the table has a column of a name that is added.
    """
    names = [*columns, *(name for name in schema.names if name not in columns)]
    added = [f"{name}_{what}" for name in schema.names for what in ("confidence", "source")]
    written = [schema.column(name) for name in names]
    for name in [*added, ERROR]:
        if name in written or name in names:
            raise InputError(
                f"{catalogue}: the column {name!r} is one that the filled table adds; rename it"
            )
    return dict(zip(names, written)) | {n: n for n in [*added, ERROR]}


class Filler:
    """Fills rows by one model's post-processing."""

    def __init__(
        self,
        answers: Answers,
        always: bool,
        sure: float,
        seller: str = "",
        box: Sequence[str] = (),
        with_cells: bool = True,
    ):
        """Settings.

        Args:
          always: answer the best allowed value where none is above its threshold.
          sure: the score from which on the model contradicts a seller, whose own value has then
            at most 1 - sure.
          seller: column whose cells become `seller` in the table of cells.
          box: the four columns of product boxes, or none.
          with_cells: whether that table is made, which is not free.
        """
        self._answers, self._schema = answers, answers.schema
        self._always, self._sure, self._seller, self._box = always, sure, seller, box
        self._with_cells = with_cells
        self._parsed = functools.lru_cache(maxsize=200_000)(self._parse)

    def fill(
        self, rows: Mapping[str, list[str]], first: int, scores: np.ndarray, errors: list[str]
    ) -> Filled:
        """The rows filled.

        Args:
          rows: cells by column, the table's columns.
          first: number of the first row in the table, from 1.
          scores: float32 [R, V], NaN where no photo could be read.
          errors: why photos could not be read, by row.
        """
        schema, blank = self._schema, [""] * len(errors)
        codes, words = labels.distinct(rows.get(schema.category, blank))
        known = [labels.encode_category(schema, cell)[0] for cell in words]
        category = np.array([-1 if c is None else c for c in known], np.int32)[codes]  # [R]
        chosen = self._answers.chosen(
            tf.constant(np.nan_to_num(scores)), category=tf.constant(category), always=self._always
        ).numpy()
        chosen &= np.isfinite(scores)  # a row without a readable photo has no answer
        allowed = schema.allowed[category] | (category < 0)[:, np.newaxis]  # bool [R, V]
        columns = {name: list(column) for name, column in rows.items()}
        columns.update({name: blank for name in schema.names if name not in rows})
        sources: Counter[str] = Counter()
        about_rows = self._about_rows(rows, first, category, errors) if self._with_cells else None
        tables = [cells.SCHEMA.empty_table()]
        for attribute in schema.attributes:
            name, where = attribute.name, schema.slices[attribute.name]
            part, may_be = scores[:, where], allowed[:, where]
            given = self._given(attribute, columns[name], part)
            answer = _answer(attribute, chosen[:, where], part)
            source = _source(given, answer, may_be)
            by_model = source == MODEL
            confidence = np.where(by_model, answer.score, given.score)
            columns[name] = np.where(by_model, answer.words, _words(columns[name])).tolist()
            columns[f"{name}_confidence"] = [f"{c:.4f}" if c == c else "" for c in confidence]
            columns[f"{name}_source"] = source.tolist()
            sources.update(columns[f"{name}_source"])
            if about_rows:
                verdict = self._verdict(attribute, given, answer, source, part, may_be)
                best = _best(np.where(may_be & np.isfinite(part), part, -1.0), MAX_ANSWERS)
                tables.append(_table(attribute, about_rows, given, answer, verdict, *best))
        columns[ERROR] = errors
        made = pa.concat_tables(tables).combine_chunks().sort_by("row")
        return Filled(columns, made, sources, sum(map(bool, errors)))

    def _parse(self, name: str, cell: str) -> tuple[int, ...] | None:
        """Positions of the values that a cell lists, () where one is unknown; None: missing."""
        if self._schema.is_missing(cell):
            return None
        return tuple(labels.parse(self._schema[name], cell, self._schema)[0])

    def _given(self, attribute: Attribute, texts: list[str], scores: np.ndarray) -> _Given:
        codes, distinct = labels.distinct(texts)
        parsed = [self._parsed(attribute.name, cell) for cell in distinct]
        values = np.zeros([len(distinct), len(attribute.values)], bool)
        for i, found in enumerate(parsed):
            values[i, list(found or ())] = True
        words = [SEPARATOR.join(attribute.values[v] for v in found or ()) for found in parsed]
        filled = np.array([found is not None for found in parsed])
        score = _lowest(scores, values[codes])
        return _Given(filled[codes], values[codes], _words(words)[codes], score)

    def _verdict(
        self,
        attribute: Attribute,
        given: _Given,
        answer: _Answer,
        source: np.ndarray,
        scores: np.ndarray,
        allowed: np.ndarray,
    ) -> np.ndarray:
        """str [R]: what the model says of each cell, "" where the attribute does not apply."""
        listed = given.values.sum(axis=1)
        answered = np.take_along_axis(given.values, answer.index, axis=1) & answer.kept
        agrees = answered.sum(axis=1) == listed
        if attribute.exclusive:
            agrees &= answer.kept.sum(axis=1) == listed
        others = np.where(allowed & ~given.values, scores, -1.0).max(axis=1)
        contradicts = (others >= self._sure) & (given.score <= 1.0 - self._sure)
        cases = {
            cells.UNSEEN: ~np.isfinite(scores[:, 0]) & (source != NOT_APPLICABLE),
            cells.FILLED: source == MODEL,
            cells.UNANSWERED: source == NO_ANSWER,
            "": source == NOT_APPLICABLE,
            cells.AGREED: agrees & (listed > 0),
            cells.CONTRADICTED: contradicts,
        }
        return np.select(list(cases.values()), list(cases), cells.DOUBTFUL)

    def _about_rows(
        self, rows: Mapping[str, list[str]], first: int, category: np.ndarray, errors: list[str]
    ) -> dict[str, pa.Array]:
        """The columns of cells.SCHEMA that say the same of all cells of a row."""
        categories = pa.array([*self._schema[self._schema.category].values, ""])
        blank = [""] * len(errors)
        seller = rows[self._seller] if self._seller else blank
        box = list(map(boxes.join, zip(*(rows[c] for c in self._box)))) if self._box else blank
        return {
            "row": pa.array(np.arange(first, first + len(errors))),
            "product_id": pa.array(rows[table.PRODUCT_ID], pa.string()),
            "seller": pa.array(seller, pa.string()),
            "category": categories.take(pa.array(category % len(categories))),  # -1: the last
            "image": pa.array(rows[table.IMAGE], pa.string()),
            "box": pa.array(box, pa.string()),
            "error": pa.array(errors, pa.string()),
        }


def _answer(attribute: Attribute, chosen: np.ndarray, scores: np.ndarray) -> _Answer:
    size = 1 if attribute.exclusive else MAX_ANSWERS
    index, best = _best(np.where(chosen, scores, -1.0), size)
    kept, names = best >= 0, _words(attribute.values)[index]
    if size == 1:
        words = np.where(kept[:, 0], names[:, 0], "")
    else:
        words = _words([SEPARATOR.join(row[known]) for row, known in zip(names, kept)])
    return _Answer(index, kept, words, _lowest(best, kept))


def _source(given: _Given, answer: _Answer, allowed: np.ndarray) -> np.ndarray:
    """str [R]: SELLER, MODEL, NO_ANSWER or NOT_APPLICABLE, by who says what stands there."""
    cases = [given.filled, ~allowed.any(axis=1), answer.kept[:, 0]]
    return np.select(cases, [SELLER, NOT_APPLICABLE, MODEL], NO_ANSWER)


def _best(scores: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `size` values, the first of equal ones first: int32 and float32 [R, <= size]."""
    best, index = tf.math.top_k(scores, min(size, scores.shape[1]))
    return index.numpy(), best.numpy()


def _lowest(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """float32 [R]: the lowest score of some of a row's values, NaN where there are none."""
    lowest = np.where(among, scores, np.inf).min(axis=1)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _words(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, object)  # not NumPy's own strings: as wide as the longest of them


def _table(
    attribute: Attribute,
    about_rows: dict[str, pa.Array],
    given: _Given,
    answer: _Answer,
    verdict: np.ndarray,
    proposed: np.ndarray,
    proposed_scores: np.ndarray,
) -> pa.Table:
    """One attribute's part of the table of cells; those that do not apply are left out.

    Args:
      proposed, proposed_scores: the best allowed values [R, K]; below 0 where there is none.
    """
    keep = np.flatnonzero(verdict != "")
    kept = proposed_scores[keep] >= 0
    ends = pa.array(np.concatenate([[0], kept.sum(axis=1).cumsum()]), pa.int32())
    values = pa.array(attribute.values).take(pa.array(proposed[keep][kept]))
    scores = pa.array(proposed_scores[keep][kept], pa.float32())
    codes = [cells.VERDICTS.index(v) for v in verdict[keep]]
    columns = {
        **{name: column.take(pa.array(keep)) for name, column in about_rows.items()},
        "attribute": pa.array([attribute.name] * len(keep), pa.string()),
        "given": pa.array(given.words[keep], pa.string()),
        "given_score": pa.array(given.score[keep], pa.float32(), from_pandas=True),
        "answer": pa.array(answer.words[keep], pa.string()),
        "proposed": pa.ListArray.from_arrays(ends, values),
        "proposed_scores": pa.ListArray.from_arrays(ends, scores),
        "verdict": pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int32()), pa.array(cells.VERDICTS)
        ),
    }
    return pa.table([columns[name] for name in cells.SCHEMA.names], schema=cells.SCHEMA)
