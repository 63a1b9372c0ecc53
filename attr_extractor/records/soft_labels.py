"""Soft labels of label sources, written into the training records for cells that are missing.

How far each source is believed is fitted on products of the records with the seller's cells, see
sources/belief.py. An attribute that the seller did not fill gets the probability of each value, if
the most probable one reaches `min_probability`. Shards are copied as by relabel.py: no photo is
decoded, and an interrupted call is resumed by rerunning the command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import files, ownership, storage
from attr_extractor.catalogue.splits import uniform
from attr_extractor.errors import InputError
from attr_extractor.labels import MISSING, category_of
from attr_extractor.records import dataset, index, relabel
from attr_extractor.records.folder import (
    ADD_SOURCES,
    WORK,
    begin_rewrite,
    remove_stale_files,
    unfinished,
)
from attr_extractor.records.manifest import FILE, Manifest
from attr_extractor.records.relabel import RelabelTask
from attr_extractor.records.runner import Runner
from attr_extractor.sources import belief, tables
from attr_extractor.sources.belief import Answers, Belief
from attr_extractor.sources.tables import SourceTable

REPORT = "sources.json"
FIT_ON = ("validation", "train")  # test cells judge no source: they judge the network
LEAST = 0.01  # probability of a value that is stored, besides the most probable one
_FITTED_ON = 50_000  # products; more would not change the rates


class Added(NamedTuple):
    """The result of `add`."""

    manifest: Manifest
    report: dict[str, Any]


def add(
    records: str | Path,
    paths: Sequence[str | Path],
    runner: Runner,
    fit_on: Sequence[str] = ("validation",),
    min_probability: float = 0.5,
) -> Added:
    """Replace the soft labels of the training split by those of the sources in the given tables.

    Args:
      paths: tables of answers, see `tables.read_all`.
      fit_on: "validation", "train" or both: splits whose filled cells the sources are judged on. A
        source that was trained on cells of these records must not be judged on its training split.
      min_probability: of the most probable value; attributes below it stay missing.

    Raises:
      InputError: if there are no finished records, a table is unusable, or a source answers no
        filled cell of the splits.
    """
    records = str(records)
    fit_on = list(dict.fromkeys(fit_on))
    if not fit_on or set(fit_on) - set(FIT_ON):
        raise InputError(
            f"fit_on {','.join(fit_on)!r}: name splits whose filled cells the sources are judged "
            f"on, {' or '.join(FIT_ON)}"
        )
    if not 0 < min_probability <= 1:
        raise InputError(f"min_probability {min_probability:g}: must be above 0 and at most 1")
    with ownership.folder(records, "the records"):
        finished = storage.exists(storage.join(records, FILE))
        manifest = None if finished else unfinished(records, resumes=ADD_SOURCES)
        manifest = manifest or Manifest.read(records)
        sources = tables.read_all(paths, manifest.schema)
        names = [source.name for source in sources]
        work = storage.join(records, WORK)
        storage.make_folder(storage.join(work, "tasks"))
        fitted = _fit(records, manifest, sources, fit_on)
        tasks, counted = [], np.zeros([len(manifest.schema.names), len(sources)], np.int64)
        soft = np.zeros(len(manifest.schema.names), np.int64)
        for shard in manifest.split("train").shards:
            planned = _plan_shard(records, manifest, shard.name, sources, fitted, min_probability)
            tasks += planned.tasks
            counted += planned.by_source
            soft += planned.products
        runner.run(relabel.require_readable, tasks, "reading shards")
        by_source = {
            name: {s: int(n) for s, n in zip(names, counted[t]) if n}
            for t, name in enumerate(manifest.schema.names)
        }
        by_source = {name: counts for name, counts in by_source.items() if counts}
        manifest = manifest.model_copy(update={"sources": by_source})
        begin_rewrite(records, manifest, ADD_SOURCES)
        runner.run(relabel.write_labels, tasks, "writing soft labels")
        manifest = _counted(records, manifest)
        remove_stale_files(records, [s.name for of in manifest.splits.values() for s in of.shards])
        report = _report(fitted, sources, soft, by_source, fit_on, min_probability)
        files.write_json(storage.join(records, REPORT), report)
        manifest.write(records)
        storage.remove_folder(work)
    return Added(Manifest.read(records), report)


def _fit(
    records: str, manifest: Manifest, sources: Sequence[SourceTable], fit_on: Sequence[str]
) -> Belief:
    schema = manifest.schema
    products: list[str] = []
    groups: list[str] = []
    labels: list[np.ndarray] = []
    for split in fit_on:
        for shard in manifest.split(split).shards:
            of_shard = _read_products(records, manifest, split, shard.name)
            products += of_shard.ids
            groups += of_shard.groups
            labels.append(of_shard.labels)
            if len(products) >= _FITTED_ON:
                break
    known = np.concatenate(labels)
    answers = [Answers(*source.of_products(products)) for source in sources]
    for source, told in zip(sources, answers):
        if not ((told.labels != MISSING) & (known != MISSING)).any():
            raise InputError(
                f"{source.name}: answers no filled cell of the {len(products):,} products of "
                f"{' and '.join(fit_on)}, so it cannot be judged; a source must also answer some "
                "cells that the seller filled"
            )
    fold = np.array([int(uniform("fold", group) * belief.FOLDS) for group in groups])
    names = [source.name for source in sources]
    return belief.fit(schema, names, known, answers, category_of(known, schema), fold)


def _counted(records: str, manifest: Manifest) -> Manifest:
    """Return the manifest with the counts and the digest of the new training shards."""
    shards = {
        shard.name: index.require_summary(records, shard.name, manifest.schema)
        for shard in manifest.split("train").shards
    }
    train = index.sum_shards(manifest.schema, shards)
    made_of = hashlib.blake2b(digest_size=8)
    for summary in shards.values():
        made_of.update(summary.made_of.encode())
    has_soft = any(counts.soft for counts in train.labels.values())
    return manifest.model_copy(
        update={
            "splits": {**manifest.splits, "train": train},
            "soft_digest": made_of.hexdigest() if has_soft else "",
        }
    )


class _Products(NamedTuple):
    ids: list[str]
    groups: list[str]
    labels: np.ndarray  # int8 [P, V]


class _Planned(NamedTuple):
    tasks: list[str]
    products: np.ndarray  # int64 [T], with soft labels
    by_source: np.ndarray  # int64 [T, S]


def _read_products(records: str, manifest: Manifest, split: str, shard: str) -> _Products:
    """Return the products of a shard, each once, with the labels of its first photo."""
    photos = index.read_photos(records, [shard], ["product_id", "group"])
    with dataset.readable(records):
        batches = dataset.label_batches(records, manifest, split, shards=[shard])
        labels = [batch["labels"] for batch in batches.as_numpy_iterator()]
    ids = photos["product_id"].to_pylist()
    first = list(dict(zip(reversed(ids), reversed(range(len(ids))))).values())[::-1]
    groups = photos["group"].take(pa.array(first, pa.int64())).to_pylist()
    codes = np.concatenate(labels) if labels else np.zeros([0, manifest.schema.num_values], np.int8)
    return _Products([ids[i] for i in first], groups, codes[first])


def _plan_shard(
    records: str,
    manifest: Manifest,
    name: str,
    sources: Sequence[SourceTable],
    fitted: Belief,
    min_probability: float,
) -> _Planned:
    """Write the task file of a shard, unless it has these soft labels."""
    schema = manifest.schema
    products = _read_products(records, manifest, "train", name)
    answers = [Answers(*source.of_products(products.ids)) for source in sources]
    probabilities, part = fitted.probabilities(answers, category_of(products.labels, schema))
    chosen = np.zeros(probabilities.shape, bool)
    has_soft = np.zeros([len(products.ids), len(schema.names)], bool)
    for t, where in enumerate(schema.slices.values()):
        missing = (products.labels[:, where] == MISSING).all(axis=1)
        of = probabilities[:, where]
        none = 1 - of.sum(axis=1) if schema.attributes[t].exclusive else np.zeros(len(of))
        sure = np.maximum(of.max(axis=1), none) >= min_probability
        has_soft[:, t] = missing & part[:, t].any(axis=1) & sure
        stored = of >= np.minimum(LEAST, of.max(axis=1, keepdims=True))
        chosen[:, where] = stored & has_soft[:, t : t + 1]
    rows, values = np.nonzero(chosen)
    offsets = pa.array(np.searchsorted(rows, np.arange(len(products.ids) + 1)), pa.int32())
    soft = pa.table(
        {
            "soft_values": pa.ListArray.from_arrays(offsets, pa.array(values, pa.int64())),
            "soft_probabilities": pa.ListArray.from_arrays(offsets, probabilities[rows, values]),
        }
    )
    photos = index.read_photos(records, [name])
    soft = soft.take(pc.index_in(photos["product_id"], value_set=pa.array(products.ids)))
    counted = (has_soft[:, :, np.newaxis] & part).sum(axis=0)
    planned = _Planned([], has_soft.sum(axis=0), counted)
    made_of = f"soft {index.table_digest(soft.append_column('of', photos['labels_digest']))}"
    task = RelabelTask(records, name, made_of, schema.fingerprint, schema.sizes)
    if index.require_summary(records, name).made_of == made_of:
        return planned
    listed = photos.append_column("labels", pa.nulls(len(photos), pa.binary()))
    listed = listed.append_column("text", pa.nulls(len(photos), pa.string()))
    for column in soft.column_names:
        listed = listed.append_column(column, soft[column])
    path = storage.join(records, f"{WORK}/tasks/{name}.parquet")
    relabel.write_task(path, task, listed)
    return planned._replace(tasks=[path])


def _report(
    fitted: Belief,
    sources: Sequence[SourceTable],
    soft: np.ndarray,
    by_source: dict[str, dict[str, int]],
    fit_on: Sequence[str],
    min_probability: float,
) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if np.isnan(value) else round(value, 4)

    attributes = {}
    for t, (name, of) in enumerate(fitted.attributes.items()):
        attributes[name] = {
            "weight": round(of.weight, 4),
            "cells": of.cells,
            "right": number(of.right),
            "log_loss": number(of.log_loss),
            "products_with_soft_labels": int(soft[t]),
            "sources": {
                each.source: {
                    "cells": each.cells,
                    "right": number(each.right),
                    "bits": number(each.information),
                    "used": each.used,
                    "products": by_source.get(name, {}).get(each.source, 0),
                }
                for each in of.judged
            },
        }
    return {
        "fitted_on": list(fit_on),
        "min_probability": min_probability,
        "issues": {
            source.name: {
                "cells": source.issue_totals,
                "listed": [asdict(issue) for issue in source.issues],
            }
            for source in sources
        },
        "attributes": attributes,
    }


def table(report: dict[str, Any]) -> str:
    """Format for a terminal: a line per attribute and source, and the cells that were not used."""
    width = max(len(name) for name in report["attributes"])
    lines = [
        f"{'attribute':{width}}  products  right  weight  sources: right (of cells), products told",
    ]
    for name, of in report["attributes"].items():
        told = "; ".join(_source(source, each) for source, each in of["sources"].items())
        lines.append(
            f"{name:{width}}  {of['products_with_soft_labels']:8,}  {_share(of['right'])}  "
            f"{of['weight']:6.2f}  {told}"
        )
    for source, issues in report["issues"].items():
        if issues["cells"]:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in issues["cells"].items())
            lines.append(f"{source}: cells not used: {kinds}")
    return "\n".join(lines)


def _source(name: str, of: dict[str, Any]) -> str:
    if not of["used"]:
        return f"{name} left out, {_share(of['right']).strip()} ({of['cells']:,})"
    return f"{name} {_share(of['right']).strip()} ({of['cells']:,}), {of['products']:,}"


def _share(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.3f}"
