"""Rows of a table and their scores -> the rows filled, and what seller and model say of each cell.

What the seller wrote stays as it is. Per attribute `<name>_confidence` and `<name>_source` are
added, and `error`: why a row's photos could not be read.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.catalogue import table
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
class _Cell:
    """What becomes of one cell."""

    text: str
    confidence: float  # lowest score of its values, NaN where it has none
    source: str
    verdict: str = ""
    given: str = ""
    given_score: float | None = None
    answer: str = ""


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
        self, answers: Answers, always: bool, sure: float, seller: str = "", with_cells: bool = True
    ):
        """Settings.

        Args:
          always: answer the best allowed value where none is above its threshold.
          sure: the score from which on the model contradicts a seller, whose own value has then
            at most 1 - sure.
          seller: column whose cells become `seller` in the table of cells.
          with_cells: whether that table is made, which is not free.
        """
        self._answers, self._schema = answers, answers.schema
        self._always, self._sure, self._seller = always, sure, seller
        self._with_cells = with_cells
        self._given = functools.lru_cache(maxsize=200_000)(self._parse)

    def fill(
        self, rows: Mapping[str, list[str]], first: int, scores: np.ndarray, errors: list[str]
    ):
        """The rows filled.

        Args:
          rows: cells by column, the table's columns.
          first: number of the first row in the table, from 1.
          scores: float32 [R, V], NaN where no photo could be read.
          errors: why photos could not be read, by row.
        """
        schema, size = self._schema, len(errors)
        blank = [""] * size
        words = rows.get(schema.category, blank)
        known = [labels.encode_category(schema, cell)[0] for cell in words]
        category = np.array([-1 if c is None else c for c in known], np.int32)  # [R]
        chosen = self._answers.chosen(
            tf.constant(np.nan_to_num(scores)), category=tf.constant(category), always=self._always
        ).numpy()
        chosen &= np.isfinite(scores)  # a row without a readable photo has no answer
        allowed = schema.allowed[category] | (category < 0)[:, np.newaxis]  # bool [R, V]
        columns = {name: list(column) for name, column in rows.items()}
        columns.update({name: blank for name in schema.names if name not in rows})
        sources: Counter[str] = Counter()
        tables = [cells.SCHEMA.empty_table()]
        for attribute in schema.attributes:
            name, where = attribute.name, schema.slices[attribute.name]
            part = scores[:, where], allowed[:, where]
            found = list(self._cells(attribute, columns[name], chosen[:, where], *part))
            columns[name] = [cell.text for cell in found]
            columns[f"{name}_confidence"] = [
                f"{cell.confidence:.4f}" if np.isfinite(cell.confidence) else "" for cell in found
            ]
            columns[f"{name}_source"] = [cell.source for cell in found]
            sources.update(columns[f"{name}_source"])
            if self._with_cells:
                tables.append(self._table(attribute, rows, first, known, errors, found, *part))
        columns[ERROR] = errors
        return Filled(
            columns,
            pa.concat_tables(tables).combine_chunks().sort_by("row"),
            sources,
            sum(map(bool, errors)),
        )

    def _parse(self, name: str, cell: str) -> tuple[int, ...] | None:
        """Positions of the values that a cell lists, () where one is unknown; None: missing."""
        if self._schema.is_missing(cell):
            return None
        return tuple(labels.parse(self._schema[name], cell, self._schema)[0])

    def _cells(
        self,
        attribute: Attribute,
        texts: list[str],
        chosen: np.ndarray,
        scores: np.ndarray,
        allowed: np.ndarray,
    ) -> Iterator[_Cell]:
        """One attribute's cells; chosen and allowed bool, scores float32 [R, V_t]."""
        order = np.argsort(-scores, axis=1, kind="stable")
        best = np.take_along_axis(chosen, order, axis=1)
        applies: np.ndarray = np.any(allowed, axis=1)  # bool [R]
        readable = np.isfinite(scores[:, 0])  # bool [R]
        for i, text in enumerate(texts):
            given = self._given(attribute.name, text)
            answered = order[i][best[i]][:MAX_ANSWERS].tolist()
            answer = _words(attribute, answered)
            if given is not None:
                least = float(scores[i, list(given)].min()) if given else np.nan
                yield _Cell(
                    text,
                    least,
                    SELLER,
                    self._verdict(attribute, given, answered, scores[i], allowed[i], readable[i]),
                    _words(attribute, given),
                    least if np.isfinite(least) else None,
                    answer,
                )
            elif not applies[i]:
                yield _Cell(text, np.nan, NOT_APPLICABLE)
            elif not answered:
                verdict = cells.UNANSWERED if readable[i] else cells.UNSEEN
                yield _Cell(text, np.nan, NO_ANSWER, verdict)
            else:
                least = float(scores[i, answered[-1]])
                yield _Cell(answer, least, MODEL, cells.FILLED, answer=answer)

    def _verdict(
        self,
        attribute: Attribute,
        given: tuple[int, ...],
        answered: list[int],
        scores: np.ndarray,
        allowed: np.ndarray,
        readable: bool,
    ) -> str:
        """What the model says of the seller's values."""
        if not readable:
            return cells.UNSEEN
        if not given:
            return cells.DOUBTFUL
        agrees = set(given) == set(answered) if attribute.exclusive else set(given) <= set(answered)
        if agrees:
            return cells.AGREED
        others = np.where(allowed, scores, -1.0)
        others[list(given)] = -1.0
        contradicted = others.max() >= self._sure and scores[list(given)].min() <= 1.0 - self._sure
        return cells.CONTRADICTED if contradicted else cells.DOUBTFUL

    def _table(
        self,
        attribute: Attribute,
        rows: Mapping[str, list[str]],
        first: int,
        category: list[int | None],
        errors: list[str],
        found: list[_Cell],
        scores: np.ndarray,
        allowed: np.ndarray,
    ) -> pa.Table:
        """One attribute's part of the table of cells; those that do not apply are left out."""
        masked = np.where(allowed & np.isfinite(scores), scores, -1.0)
        order = np.argsort(-masked, axis=1, kind="stable")[:, :MAX_ANSWERS]
        values = np.take_along_axis(masked, order, axis=1)
        keep = [i for i, cell in enumerate(found) if cell.verdict]
        proposed = [order[i][values[i] >= 0] for i in keep]
        names = self._schema[self._schema.category].values
        numbers = [category[i] for i in keep]
        columns = {
            "row": [first + i for i in keep],
            "product_id": [rows[table.PRODUCT_ID][i] for i in keep],
            "seller": [rows[self._seller][i] if self._seller else "" for i in keep],
            "category": ["" if c is None else names[c] for c in numbers],
            "attribute": [attribute.name] * len(keep),
            "given": [found[i].given for i in keep],
            "given_score": [found[i].given_score for i in keep],
            "answer": [found[i].answer for i in keep],
            "proposed": [[attribute.values[v] for v in each] for each in proposed],
            "proposed_scores": [values[i][values[i] >= 0].tolist() for i in keep],
            "verdict": pa.DictionaryArray.from_arrays(
                pa.array([cells.VERDICTS.index(found[i].verdict) for i in keep], pa.int32()),
                pa.array(cells.VERDICTS),
            ),
            "image": [rows[table.IMAGE][i] for i in keep],
            "error": [errors[i] for i in keep],
        }
        return pa.table(columns, schema=cells.SCHEMA)


def _words(attribute: Attribute, values: Sequence[int]) -> str:
    return SEPARATOR.join(attribute.values[v] for v in values)
