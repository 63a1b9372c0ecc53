"""A split's predictions with what is known of each product: its other filled cells and its text.

The evidence is computed from the predictions' labels and the texts in the records. An attribute's
own cell is left out of it (model/evidence.py), so a cell is scored as if it alone were empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.evaluation.predictions import FOLDER, Predictions
from attr_extractor.labels import MISSING
from attr_extractor.model import evidence
from attr_extractor.model.network import Network
from attr_extractor.records import dataset, words
from attr_extractor.training.run_dir import RunDir

PHOTO = "photo"


def names_of(use: Sequence[str], known: Sequence[str], origin: str) -> list[str]:
    """Return the inputs besides the photo that a flag asks for, of those that a model has.

    Raises:
      InputError: if the photo is not among them, or the model lacks an input; names `origin`.
    """
    if PHOTO not in use:
        raise InputError(f"--use={','.join(use)}: {PHOTO} must be among them")
    for name in use:
        if name not in (PHOTO, *known):
            there = [PHOTO, *known]
            lacks = f"{origin}: reads only {', '.join(there)}"
            cure = f"; train with model.context.{name}=true" if name in evidence.NAMES else ""
            raise InputError(f"--use: {name!r}{did_you_mean(name, there)}: {lacks}{cure}")
    return [name for name in known if name in use]


def in_context(
    predicted: Predictions,
    run: RunDir,
    records: str | Path | None,
    names: Sequence[str],
    hidden_together: Sequence[Sequence[str]] = (),
) -> Predictions:
    """Return the predictions with the evidence of some inputs, times the factors of the run.

    Args:
      records: records to use instead of the run's own.
      names: inputs to use, of `evidence.NAMES`.
      hidden_together: sets of attributes; a cell's evidence leaves out all attributes of its set.
    """
    if not names:
        return predicted
    rule = run.scoring()
    found = of_split(predicted, run, records, names, hidden_together)
    return dataclasses.replace(predicted, added=_Scaled(found, rule.temperatures * rule.trust))


def of_split(
    predicted: Predictions,
    run: RunDir,
    records: str | Path | None,
    names: Sequence[str],
    hidden_together: Sequence[Sequence[str]] = (),
    network: Network | None = None,
) -> np.ndarray:
    """Return the evidence for every photo of a split, float32 [N, V], memory-mapped.

    Args:
      network: the run's, if it is loaded; for other arguments see `in_context`.
    """
    manifest, folder = run.manifest(records), str(records or run.records)
    network, schema = network or run.load_network(), run.schema
    path = run.path / FOLDER / f"evidence_{predicted.split}_{'_'.join(names)}.npy"
    storage.make_folder(path.parent)
    owner = schema.attribute_of_value
    sets = [{schema.index[name] for name in together} for together in hidden_together]
    rest = set(range(len(schema.names))).difference(*sets)
    # one pass for the attributes that hide only themselves, and one for each set
    passes = [(np.isin(owner, list(rest)), np.zeros(len(owner), bool))]
    passes += [(np.isin(owner, list(each)), np.isin(owner, list(each))) for each in sets]

    @tf.function(reduce_retracing=True)
    def forward(labels: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        pieces = words.pieces(text)
        total = tf.zeros(tf.shape(labels), tf.float32)
        for judged, hidden in passes:
            given = {
                evidence.KNOWN: tf.where(hidden, tf.constant(MISSING, tf.int8), labels)
                if evidence.KNOWN in names
                else tf.fill(tf.shape(labels), tf.constant(MISSING, tf.int8)),
                evidence.TEXT: pieces if evidence.TEXT in names else tf.zeros_like(pieces),
            }
            values = network.evidence({name: given[name] for name in network.context})
            total += tf.where(judged, values, 0.0)
        return total

    with storage.writable(path):
        # not overwritten in place: an earlier result may be mapped
        temporary = path.with_suffix(".tmp")
        array = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float32, shape=predicted.logits.shape
        )
        row = 0
        with dataset.readable(folder):
            for batch in dataset.label_batches(folder, manifest, predicted.split):
                where = slice(row, row + len(batch["text"]))
                array[where] = forward(predicted.labels[where], batch["text"]).numpy()
                row = where.stop
        array.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


class _Scaled:
    """Rows of a memory-mapped array times a factor per column, computed when they are read."""

    def __init__(self, array: np.ndarray, factor: np.ndarray):
        self._array, self._factor = array, factor

    def __getitem__(self, where: slice) -> np.ndarray:
        return self._array[where] * self._factor
