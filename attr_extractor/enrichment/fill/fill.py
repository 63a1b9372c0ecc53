"""Fill rows of a table from their scores, and build the table of cells.

Seller's cells are never changed. Columns `<name>_confidence` and `<name>_source` are added per
attribute, and `error`: why photos of a row could not be read.
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
    """Filled rows: consecutive rows of the table."""

    columns: dict[str, list[str]]  # by internal name, in the order of the header
    cells: pa.Table  # schema cells.SCHEMA; empty without `with_cells`
    sources: Counter[str]  # number of cells by source
    rows_with_error: int


@dataclass(frozen=True)
class _Given:
    """The seller's values of one attribute with V_t values, in R rows."""

    filled: np.ndarray  # bool [R]
    values: np.ndarray  # bool [R, V_t], the known values
    words: np.ndarray  # str [R], the known values in the schema's spelling
    score: np.ndarray  # float32 [R], lowest score of the known values, NaN if none is known


@dataclass(frozen=True)
class _Answer:
    """The model's answers to one attribute, including cells that the seller filled."""

    index: np.ndarray  # int32 [R, K], the answered values, best first
    kept: np.ndarray  # bool [R, K], mask of the valid entries of `index`
    words: np.ndarray  # str [R], "" without an answer
    score: np.ndarray  # float32 [R], lowest score of the answered values, NaN without an answer


def header(columns: Sequence[str], schema: Schema, catalogue: str) -> dict[str, str]:
    """Return the written name of every output column, by internal name.

    Args:
      columns: columns of the table as read with the schema.

    Raises:
      InputError: if the table already has a column that would be added.
    """
    names = [*columns, *(name for name in schema.names if name not in columns)]
    added = [f"{name}_{what}" for name in schema.names for what in ("confidence", "source")]
    written = [schema.column(name) for name in names]
    for name in [*added, ERROR]:
        if name in written or name in names:
            raise InputError(
                f"{catalogue}: the column {name!r} clashes with an added output column; rename it"
            )
    return dict(zip(names, written)) | {n: n for n in [*added, ERROR]}


class Filler:
    """Fills rows with the post-processed answers of one model."""

    def __init__(
        self,
        answers: Answers,
        always: bool,
        sure: float,
        seller: str = "",
        box: Sequence[str] = (),
        with_cells: bool = True,
    ):
        """Create a filler.

        Args:
          answers: post-processing of the model, with its schema and thresholds.
          always: answer the best allowed value if none is above its threshold.
          sure: the model contradicts a seller if another value scores at least `sure` and the
            seller's value at most 1 - sure.
          seller: column that becomes `seller` in the table of cells.
          box: the four columns of product boxes, or none.
          with_cells: whether to build the table of cells, which takes time.
        """
        self._answers, self._schema = answers, answers.schema
        self._always, self._sure, self._seller, self._box = always, sure, seller, box
        self._with_cells = with_cells
        self._parsed = functools.lru_cache(maxsize=200_000)(self._parse)

    def fill(
        self, rows: Mapping[str, list[str]], first: int, scores: np.ndarray, errors: list[str]
    ) -> Filled:
        """Return the filled rows.

        Args:
          rows: cells by column of the table.
          first: number of the first row in the table, from 1.
          scores: float32 [R, V], NaN if no photo of the row was readable.
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
        """Return positions of a cell's values; () if one is unknown, None if it is missing."""
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
        """Return the verdict of each cell, str [R]; "" if the attribute does not apply."""
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
        """Return the columns of cells.SCHEMA that are the same for all cells of a row."""
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
    """Return the source of each cell, str [R]: SELLER, MODEL, NO_ANSWER or NOT_APPLICABLE."""
    cases = [given.filled, ~allowed.any(axis=1), answer.kept[:, 0]]
    return np.select(cases, [SELLER, NOT_APPLICABLE, MODEL], NO_ANSWER)


def _best(scores: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and scores of the best `size` values, int32 and float32 [R, <= size].

    Ties are in order of the index.
    """
    best, index = tf.math.top_k(scores, min(size, scores.shape[1]))
    return index.numpy(), best.numpy()


def _lowest(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return each row's lowest score among the masked values, float32 [R]; NaN if none is."""
    lowest = np.where(among, scores, np.inf).min(axis=1)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _words(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, object)  # NumPy strings would all be as wide as the longest one


def _table(
    attribute: Attribute,
    about_rows: dict[str, pa.Array],
    given: _Given,
    answer: _Answer,
    verdict: np.ndarray,
    proposed: np.ndarray,
    proposed_scores: np.ndarray,
) -> pa.Table:
    """Return one attribute's rows of the table of cells, without cells that do not apply.

    Args:
      proposed: indices of the best allowed values [R, K].
      proposed_scores: scores of `proposed` [R, K]; below 0 if there is no such value.
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
