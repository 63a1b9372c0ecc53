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
from attr_extractor.enrichment.fill import told_by
from attr_extractor.errors import InputError
from attr_extractor.model.answers import MAX_ANSWERS, Answers
from attr_extractor.schema import SEPARATOR, Attribute, Schema

ERROR = "error"
SELLER, MODEL, NO_ANSWER, NOT_APPLICABLE = "seller", "model", "no answer", "not applicable"


@dataclass(frozen=True)
class Filled:
    """Consecutive rows of the table, filled."""

    columns: dict[str, list[str]]  # by internal name, in the order of the header
    cells: pa.Table  # schema cells.SCHEMA; empty without `with_cells`
    sources: Counter[str]  # number of cells by source
    rows_with_error: int


@dataclass(frozen=True)
class _SellerValues:
    """The seller's values of one attribute with V_t values, in R rows."""

    filled: np.ndarray  # bool [R]
    values: np.ndarray  # bool [R, V_t], the known values
    text: np.ndarray  # str [R], the known values in the schema's spelling
    score: np.ndarray  # float32 [R], lowest score of the known values, NaN if none is known


@dataclass(frozen=True)
class _ModelAnswers:
    """The model's answers for one attribute in R rows, also for cells that the seller filled."""

    index: np.ndarray  # int32 [R, K], the answered values, best first
    mask: np.ndarray  # bool [R, K], the valid entries of `index`
    text: np.ndarray  # str [R], "" without an answer
    score: np.ndarray  # float32 [R], lowest score of the answered values, NaN without an answer


def written_names(columns: Sequence[str], schema: Schema, catalogue: str) -> dict[str, str]:
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
          answers: the model's post-processing, with its schema and thresholds.
          always: whether to answer the best allowed value if none is above its threshold.
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
        self,
        rows: Mapping[str, list[str]],
        first: int,
        scores: np.ndarray,
        errors: list[str],
        shares: told_by.Shares | None = None,
    ) -> Filled:
        """Return the filled rows.

        Args:
          rows: cells by column of the table.
          first: number of the first row in the table, from 1.
          scores: float32 [R, V], NaN if no photo of the row was readable.
          errors: why photos could not be read, by row.
          shares: of what is known of the rows in scores, for the column `told_by`; None if the
            scores are of the photos alone.
        """
        schema, blank = self._schema, [""] * len(errors)
        codes, distinct = labels.distinct(rows.get(schema.category, blank))
        known = [labels.encode_category(schema, cell)[0] for cell in distinct]
        category = np.array([-1 if c is None else c for c in known], np.int32)[codes]  # [R]
        chosen = self._answers.chosen(
            tf.constant(np.nan_to_num(scores)), category=tf.constant(category), always=self._always
        ).numpy()
        chosen &= np.isfinite(scores)  # a row without a readable photo has no answer
        allowed = schema.allowed[category] | (category < 0)[:, np.newaxis]  # bool [R, V]
        columns = {name: list(column) for name, column in rows.items()}
        columns.update({name: blank for name in schema.names if name not in rows})
        sources: Counter[str] = Counter()
        row_columns = self._row_columns(rows, first, category, errors) if self._with_cells else None
        tables = [cells.SCHEMA.empty_table()]
        for attribute in schema.attributes:
            name, where = attribute.name, schema.slices[attribute.name]
            scores_t, allowed_t = scores[:, where], allowed[:, where]
            seller = self._seller_values(attribute, columns[name], scores_t)
            answer = _model_answers(attribute, chosen[:, where], scores_t)
            source = _source(seller, answer, allowed_t)
            by_model = source == MODEL
            confidence = np.where(by_model, answer.score, seller.score)
            columns[name] = np.where(by_model, answer.text, _texts(columns[name])).tolist()
            columns[f"{name}_confidence"] = [f"{c:.4f}" if c == c else "" for c in confidence]
            columns[f"{name}_source"] = source.tolist()
            sources.update(columns[f"{name}_source"])
            if row_columns:
                verdict = self._verdict(attribute, seller, answer, source, scores_t, allowed_t)
                proposable = np.where(allowed_t & np.isfinite(scores_t), scores_t, -1.0)
                proposed = _best(proposable, MAX_ANSWERS)
                tables.append(
                    _cells_table(attribute, row_columns, seller, answer, verdict, *proposed)
                )
        columns[ERROR] = errors
        joined = pa.concat_tables(tables).combine_chunks().sort_by("row")
        if shares is not None:
            joined = told_by.add(joined, len(errors), first, schema, shares)
        return Filled(columns, joined, sources, sum(map(bool, errors)))

    def _parse(self, name: str, cell: str) -> tuple[int, ...] | None:
        """Return positions of a cell's values; () if one is unknown, None if it is missing."""
        if self._schema.is_missing(cell):
            return None
        return tuple(labels.parse(self._schema[name], cell, self._schema)[0])

    def _seller_values(
        self, attribute: Attribute, column: list[str], scores: np.ndarray
    ) -> _SellerValues:
        codes, distinct = labels.distinct(column)
        parsed = [self._parsed(attribute.name, cell) for cell in distinct]
        values = np.zeros([len(distinct), len(attribute.values)], bool)
        for i, positions in enumerate(parsed):
            values[i, list(positions or ())] = True
        texts = [SEPARATOR.join(attribute.values[v] for v in each or ()) for each in parsed]
        filled = np.array([positions is not None for positions in parsed])
        score = _lowest(scores, values[codes])
        return _SellerValues(filled[codes], values[codes], _texts(texts)[codes], score)

    def _verdict(
        self,
        attribute: Attribute,
        seller: _SellerValues,
        answer: _ModelAnswers,
        source: np.ndarray,
        scores: np.ndarray,
        allowed: np.ndarray,
    ) -> np.ndarray:
        """Return the verdict of each cell, str [R]; "" if the attribute does not apply."""
        listed = seller.values.sum(axis=1)
        answered = np.take_along_axis(seller.values, answer.index, axis=1) & answer.mask
        agrees = answered.sum(axis=1) == listed
        if attribute.exclusive:
            agrees &= answer.mask.sum(axis=1) == listed
        others = np.where(allowed & ~seller.values, scores, -1.0).max(axis=1)
        contradicts = (others >= self._sure) & (seller.score <= 1.0 - self._sure)
        cases = {
            cells.UNSEEN: ~np.isfinite(scores[:, 0]) & (source != NOT_APPLICABLE),
            cells.FILLED: source == MODEL,
            cells.UNANSWERED: source == NO_ANSWER,
            "": source == NOT_APPLICABLE,
            cells.AGREED: agrees & (listed > 0),
            cells.CONTRADICTED: contradicts,
        }
        return np.select(list(cases.values()), list(cases), cells.DOUBTFUL)

    def _row_columns(
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
            cells.TOLD_BY: pa.array(blank, pa.string()),
            "error": pa.array(errors, pa.string()),
        }


def _model_answers(attribute: Attribute, chosen: np.ndarray, scores: np.ndarray) -> _ModelAnswers:
    size = 1 if attribute.exclusive else MAX_ANSWERS
    index, best = _best(np.where(chosen, scores, -1.0), size)
    mask, values = best >= 0, _texts(attribute.values)[index]
    if size == 1:
        text = np.where(mask[:, 0], values[:, 0], "")
    else:
        text = _texts([SEPARATOR.join(row[valid]) for row, valid in zip(values, mask)])
    return _ModelAnswers(index, mask, text, _lowest(best, mask))


def _source(seller: _SellerValues, answer: _ModelAnswers, allowed: np.ndarray) -> np.ndarray:
    """Return the source of each cell, str [R]: SELLER, MODEL, NO_ANSWER or NOT_APPLICABLE."""
    cases = [seller.filled, ~allowed.any(axis=1), answer.mask[:, 0]]
    return np.select(cases, [SELLER, NOT_APPLICABLE, MODEL], NO_ANSWER)


def _best(scores: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and scores of the best `size` values, int32 and float32 [R, <= size].

    Ties are in order of the index.
    """
    best, index = tf.math.top_k(scores, min(size, scores.shape[1]))
    return index.numpy(), best.numpy()


def _lowest(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return each row's lowest score among the masked values, float32 [R]; NaN if none is."""
    lowest = np.where(mask, scores, np.inf).min(axis=1)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _texts(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, object)  # NumPy strings would all be as wide as the longest one


def _cells_table(
    attribute: Attribute,
    row_columns: dict[str, pa.Array],
    seller: _SellerValues,
    answer: _ModelAnswers,
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
    valid = proposed_scores[keep] >= 0
    ends = pa.array(np.concatenate([[0], valid.sum(axis=1).cumsum()]), pa.int32())
    values = pa.array(attribute.values).take(pa.array(proposed[keep][valid]))
    scores = pa.array(proposed_scores[keep][valid], pa.float32())
    codes = [cells.VERDICTS.index(v) for v in verdict[keep]]
    columns = {
        **{name: column.take(pa.array(keep)) for name, column in row_columns.items()},
        "attribute": pa.array([attribute.name] * len(keep), pa.string()),
        "given": pa.array(seller.text[keep], pa.string()),
        "given_score": pa.array(seller.score[keep], pa.float32(), from_pandas=True),
        "answer": pa.array(answer.text[keep], pa.string()),
        "proposed": pa.ListArray.from_arrays(ends, values),
        "proposed_scores": pa.ListArray.from_arrays(ends, scores),
        "verdict": pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int32()), pa.array(cells.VERDICTS)
        ),
    }
    return pa.table([columns[name] for name in cells.SCHEMA.names], schema=cells.SCHEMA)
