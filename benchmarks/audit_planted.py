"""Wrong labels planted into finished records, to measure whether an audit finds them.

The records are copied and relabelled from a table of their own labels, in which some cells of
exclusive attributes are swapped. No photo is read.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import tensorflow as tf

from attr_extractor import labels, storage
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, example, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.runner import Runner
from attr_extractor.schema import SEPARATOR, Schema

Cell = Tuple[str, str]  # product, attribute


def plant(
    records: str | Path, spoiled: Path, share: float, runner: Runner, seed: int = 0
) -> Dict[Cell, str]:
    """Copy records to `spoiled` and swap a share of the filled cells of exclusive attributes.

    Each wrong value is drawn by its frequency over all splits, excluding the seller's value and
    values that the product's category does not allow. The category itself is not swapped if other
    attributes depend on it: a swapped category would contradict them, and the records list
    contradictions anyway.

    Returns:
      The seller's value of each planted cell.

    Raises:
      InputError: if the records are missing or contain no cell that can be swapped.
    """
    manifest = Manifest.read(records)
    schema = manifest.schema
    products = read_labels(records, manifest)
    codes = np.stack(list(products.values()))  # int8 [P, V]
    swapped = swap(schema, codes, share, np.random.default_rng(seed))
    changed = np.argwhere((swapped != codes) & (codes == labels.PRESENT))  # of [P, V]
    if not len(changed):
        raise InputError(f"{records}: no cell of an exclusive attribute can be swapped")
    shutil.copytree(records, spoiled)
    table = spoiled.with_suffix(".csv")
    names = list(products)
    header = [schema.column(name) for name in ("product_id", "image", *schema.names)]
    decoded = (labels.decode(schema, row).values() for row in swapped)
    cells = ([SEPARATOR.join(values or []) for values in row] for row in decoded)
    write_csv(table, header, ([name, "-", *row] for name, row in zip(names, cells)))
    relabel.relabel(table, schema, spoiled, runner)
    owner = schema.attribute_of_value
    first = np.array([where.start for where in schema.slices.values()])
    planted = {}
    for p, v in changed.tolist():
        attribute = schema.attributes[owner[v]]
        planted[names[p], attribute.name] = attribute.values[v - first[owner[v]]]
    return planted


def swap(
    schema: Schema, codes: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Return labels int8 [P, V] with a share of the filled cells swapped; see `plant`."""
    swapped = codes.copy()
    allowed = schema.allowed
    own = codes[:, schema.slices[schema.category]]  # [P, C]
    category = np.where((own == labels.PRESENT).any(axis=1), own.argmax(axis=1), -1)  # [P]
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        if not attribute.exclusive or (attribute.name == schema.category and not allowed.all()):
            continue
        present = codes[:, where] == labels.PRESENT  # [P, V_t]
        frequency = present.sum(axis=0).astype(np.float64)
        filled = np.flatnonzero(present.any(axis=1))
        for p in generator.choice(filled, round(share * len(filled)), replace=False):
            weights = np.where(present[p], 0.0, frequency)
            if category[p] >= 0:
                weights *= allowed[category[p], where]
            if weights.any():
                value = generator.choice(len(weights), p=weights / weights.sum())
                swapped[p, where] = labels.ABSENT
                swapped[p, where.start + value] = labels.PRESENT
    return swapped


def read_labels(records: str | Path, manifest: Manifest) -> Dict[str, np.ndarray]:
    """Return the labels of every product, int8 [V], in record order; decodes no photo."""
    names = ["product_id", "labels"]
    found: Dict[str, np.ndarray] = {}
    shards = [shard.name for split in manifest.splits.values() for shard in split.shards]
    for shard in shards:
        photos = tf.data.TFRecordDataset(storage.join(records, shard))
        with dataset.readable(records):
            for features in photos.map(lambda e: example.parse(e, names)).as_numpy_iterator():
                product = features["product_id"].decode()
                found[product] = np.frombuffer(features["labels"], np.int8)
    return found
