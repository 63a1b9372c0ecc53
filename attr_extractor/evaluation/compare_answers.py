"""Comparison of taggers on a split: tables of answers, and a run, on the same rows.

A table answers for products, a run for photos. Every photo of a product gets the product's answer,
so that all taggers are measured on the same rows with the same metrics (`scores.quantities`), and
their differences are paired. Where a table has no answer for a cell, it is measured like a model
that gives none.

answers_SPLIT.json    the figures
answers_SPLIT.html    the page, with photos on which the taggers differ
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor import files, storage, working_copy
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.evaluation import answers_page, context, figures, predictions
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.differing_photos import DifferingPhotos
from attr_extractor.evaluation.figures import KEYS, number
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import (
    Answered,
    Contender,
    Tally,
    count_values,
    quantities,
)
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.per_attribute import is_first_highest
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.sources.tables import SourceTable, read_sources
from attr_extractor.training.run_dir import RunDir

PRECISION = 0.9  # of the recall over confidences
RECALL = "recall_at_90_precision"
# all cells; whether the attribute applies at all; the value where it applies and was answered
TIERS = ("score_all", "applies_accuracy", "answered_accuracy")
COMPARED = ("score", *TIERS)  # of two taggers, with paired intervals
_WITH_INTERVAL = (*COMPARED, "coverage")
_FIGURES = (
    *_WITH_INTERVAL,
    *("applies_balanced_accuracy", "exact_match", "most_frequent"),
    *("micro_precision", "micro_recall", "micro_f1", "macro_f1"),
)
_COUNTS = ("applicable", "known", "answered", "no_answer", "answered_not_applicable")


class _Block(NamedTuple):
    """Consecutive photos of the split, and a run's answers for them."""

    photos: Predictions
    answered: Answered | None = None


class Tagger:
    """A run or a table, and its sums over the split."""

    def __init__(self, name: str, schema: Schema, table: SourceTable | None, path: str):
        self.name, self.schema, self.table, self.path = name, schema, table, path
        self.tally = Tally(schema)
        self.products: set[str] = set()  # of the split, with an answer
        # cells with a known label that were answered, also to have no value; those that are right
        self.answered, self.right = (np.zeros(len(schema.names), np.int64) for _ in range(2))

    def add(
        self, block: _Block, usual: MostFrequent, weights: np.ndarray
    ) -> tuple[Answered, np.ndarray]:
        """Add photos; return the answers and the quantities of figures.KEYS."""
        labels, products = np.asarray(block.photos.labels), block.photos.product_ids
        if self.table is None:
            assert block.answered is not None
            answered = block.answered
            has_answer = count_values(answered.chosen, self.schema) > 0  # [B, T]
        else:
            states, confidence = self.table.of_products(products)
            answered = answered_of(states, confidence, self.schema)
            has_answer = count_values(states != MISSING, self.schema) > 0
        # a recall over confidences counts what can be answered: of an exclusive attribute one value
        candidates = np.where(answered.best | ~self.schema.exclusive, answered.scores, 0.0)
        summed = quantities(self.schema, labels, answered, usual)
        self.tally.add(labels, answered._replace(scores=candidates), summed, weights)
        judged = has_answer & (summed[:, KEYS.index("known")] > 0)
        self.answered += judged.sum(axis=0)
        self.right += (judged & (summed[:, KEYS.index("score_all")] == 1)).sum(axis=0)
        self.products.update(products[row] for row in np.flatnonzero(has_answer.any(axis=1)))
        return answered, summed

    def result(self, price: float | None) -> dict[str, Any]:
        """Return the figures; see `compare`."""
        summary = self.tally.summary(self.tally.rates())
        recalls = []
        attributes: dict[str, Any] = {}
        for t, (name, where) in enumerate(self.schema.slices.items()):
            measured = summary["attributes"][name]
            recall = self.tally.histogram.recall_at_precision(where, PRECISION)
            recalls += [recall] if np.isfinite(recall) else []
            attributes[name] = {
                **_chosen(measured),
                **{key: measured[key] for key in _COUNTS},
                RECALL: number(recall),
                **_costs(self.answered[t], self.right[t], price),
            }
        mean = {
            "attributes_measured": summary["mean"]["attributes_measured"],
            **_chosen(summary["mean"]),
            RECALL: number(np.mean(recalls)) if recalls else None,
            **_costs(self.answered.sum(), self.right.sum(), price),
        }
        result: dict[str, Any] = {
            "name": self.name,
            "kind": "run" if self.table is None else "table",
            "path": self.path,
            "products_answered": len(self.products),
            "price": price,
        }
        if self.table is not None:
            result |= {
                "products_in_table": len(self.table.products),
                "seller_cells_left_out": self.table.seller_cells,
                "cells_not_used": self.table.issue_totals,
                "issues": [dataclasses.asdict(issue) for issue in self.table.issues],
            }
        return {**result, "mean": mean, "attributes": attributes}


def answered_of(states: np.ndarray, confidence: np.ndarray, schema: Schema) -> Answered:
    """Return a table's answers in the form of a model's.

    The answered values are chosen, their confidences are the scores (0 of other values), and the
    best value is the most confident one of those answered.

    Args:
      states: int8 [B, V], and `confidence` float32 [B, V], see `SourceTable.of_products`.
    """
    chosen = states == PRESENT
    highest = is_first_highest(tf.constant(np.where(chosen, confidence, -1.0)), schema).numpy()
    scores = np.where(chosen, confidence, 0.0).astype(np.float32)
    return Answered(scores, chosen, chosen & highest)


def _chosen(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that mean the same for a table and for a run, with their intervals."""
    return {
        key: measured[key]
        for name in _FIGURES
        for key in ([name, figures.interval_of(name)] if name in _WITH_INTERVAL else [name])
    }


def _costs(answered: Any, right: Any, price: float | None) -> dict[str, Any]:
    costs: dict[str, Any] = {"answered_known": int(answered), "right": int(right)}
    if price is not None:
        costs["cost_per_right_cell"] = price * int(answered) / int(right) if right else None
    return costs


def compare(
    answers: Sequence[str | Path],
    split: str = "test",
    run_dir: str | Path | None = None,
    records: str | Path | None = None,
    output_dir: str | Path | None = None,
    prices: Mapping[str, float] | None = None,
    use: Sequence[str] = (context.PHOTO,),
) -> dict[str, Any]:
    """Score tables of answers on a split, beside a run if there is one; write a page and figures.

    Args:
      answers: tables, see `sources.tables`; each distinct source is a tagger.
      run_dir: a run, whose own answers come first; the outputs are written into it.
      records: records to use instead of the run's own; must have the same schema.
      output_dir: folder of the outputs without a run.
      prices: of an answered cell, by the tagger's name.
      use: inputs of the run, see `evaluate`.

    Returns:
      `split`, `records`, `photos`, `products`, `page`, and `taggers`: a list with name, kind, the
      cells not used, `mean` and `attributes`. Each has the headline `score`, the three tiers
      `score_all`, `applies_accuracy` and `answered_accuracy` with intervals, coverage, recall at
      90 % precision over confidences, counts of answered and right cells and the cost of a right
      one. `difference` compares the first tagger with the others, see `figures.differences`.

    Raises:
      InputError: if a table, the run or the records cannot be used, if two taggers have one name,
        or if a price names no tagger.
    """
    if not answers:
        raise InputError("no table of answers given")
    if run_dir is None and (records is None or output_dir is None):
        raise InputError("name a run, or records and an output folder")
    if run_dir is not None:
        with RunDir.owned(run_dir) as run:
            manifest, folder = run.manifest(records), str(records or run.records)
            manifest.split(split)  # fails before a table is read
            taggers = [Tagger(run.config.name, run.schema, None, str(run_dir))]
            taggers += _read(answers, run.schema)
            _require_prices(prices or {}, taggers)
            inputs = context.names_of(use, run.config.model.context.names, str(run.path))
            suffix = f"_{storage.file_name(storage.resolve(folder))}" if records else ""
            suffix += f"_with_{'_'.join(inputs)}" if inputs else ""
            blocks = _of_run(run, split, records, inputs)
            measured, page = _measure(taggers, blocks, folder, manifest, split, suffix, prices)
            return _write(run.path, measured, page)
    if records is None or output_dir is None:
        raise InputError("name a run, or records and an output folder")
    folder, manifest = str(records), Manifest.read(records)
    manifest.split(split)
    taggers = _read(answers, manifest.schema)
    _require_prices(prices or {}, taggers)
    blocks = _of_records(folder, manifest, split)
    with working_copy.owned(output_dir, "the folder of the comparison") as home:
        measured, page = _measure(taggers, blocks, folder, manifest, split, "", prices)
        return _write(home, measured, page)


def _read(answers: Sequence[str | Path], schema: Schema) -> list[Tagger]:
    """Read the tables; return a tagger for each source."""
    return [
        Tagger(table.name, schema, table, str(path))
        for path in answers
        for table in read_sources(path, schema)
    ]


def _measure(
    taggers: Sequence[Tagger],
    blocks: Iterable[_Block],
    records: str,
    manifest: Manifest,
    split: str,
    suffix: str,
    prices: Mapping[str, float] | None,
) -> tuple[dict[str, Any], str]:
    """Return the figures, see `compare`, and the page as HTML."""
    schema, counts = taggers[0].schema, manifest.split(split)
    usual = MostFrequent.of(schema, manifest.most_frequent("train"))
    differing = DifferingPhotos(schema)
    with dataset.readable(records):
        for block in blocks:
            weights = figures.bootstrap_weights(block.photos.product_ids)
            answered, summed = zip(*(tagger.add(block, usual, weights) for tagger in taggers))
            differing.add(block.photos, answered, summed)
        photos = differing.with_pixels(records, manifest, split)
    results = [tagger.result((prices or {}).get(tagger.name)) for tagger in taggers]
    for tagger, result in zip(taggers[1:], results[1:]):
        totals = (taggers[0].tally.totals, tagger.tally.totals)
        result["difference"] = figures.differences(schema, *totals, COMPARED)
    measured = {
        "split": split,
        "records": records,
        "photos": counts.photos,
        "products": counts.products,
        "page": f"answers_{split}{suffix}.html",
        "figures": f"answers_{split}{suffix}.json",
        "taggers": results,
    }
    return measured, answers_page.render(schema, measured, photos)


def _write(folder: Path, measured: dict[str, Any], page: str) -> dict[str, Any]:
    files.write_json(folder / measured["figures"], measured)
    storage.write(folder / measured["page"], page.encode())
    return measured


def prices_of(flags: Iterable[str]) -> dict[str, float]:
    """Return prices by tagger from texts NAME=NUMBER; raise InputError for any other text."""
    prices: dict[str, float] = {}
    for text in flags:
        name, _, price = text.rpartition("=")
        try:
            prices[name] = float(price)
        except ValueError:
            prices[name] = math.nan
        if not name or not 0 <= prices[name] < math.inf:
            raise InputError(f"--price={text}: expected NAME=NUMBER, such as vendor=0.002")
    return prices


def _require_prices(prices: Mapping[str, float], taggers: Sequence[Tagger]) -> None:
    """Raise InputError if two taggers have one name, or a price names none."""
    paths: dict[str, str] = {}
    for tagger in taggers:
        if tagger.name in paths:
            raise InputError(
                f"{tagger.path}: the source {tagger.name!r} is also that of "
                f"{paths[tagger.name]}; rename the file, or the source in its column"
            )
        paths[tagger.name] = tagger.path
    for name in prices:
        if name not in paths:
            raise InputError(
                f"--price: there is no tagger {name!r}{did_you_mean(name, paths)}; there are "
                f"{', '.join(paths)}"
            )


def _of_run(
    run: RunDir, split: str, records: str | Path | None, inputs: Sequence[str]
) -> Iterator[_Block]:
    """Yield the photos of a split with the answers of a run."""
    rules = Contender(run.scoring().scores_of, run.answers())
    predicted = predictions.predict(run, split, records)
    for block in context.in_context(predicted, run, records, inputs).blocks():
        yield _Block(block, rules.answer(block.logits))


def _of_records(records: str, manifest: Manifest, split: str) -> Iterator[_Block]:
    """Yield the photos of a split; decodes none."""
    for batch in dataset.label_batches(records, manifest, split).as_numpy_iterator():
        products = [product.decode() for product in batch["product_id"]]
        no_logits = np.empty([len(products), 0], np.float32)
        arrays = (no_logits, batch["labels"], products, batch["image_index"])
        yield _Block(Predictions(split, *arrays))
