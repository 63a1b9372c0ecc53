"""Logits of a run on a split, computed once; all measurements on the split are functions of them.

<run_dir>/predictions/<split>/logits.npy        float32 [N, V], before temperatures
<run_dir>/predictions/<split>/labels.npy        int8 [N, V]
<run_dir>/predictions/<split>/photos.parquet    product_id and image_index of each photo
<run_dir>/predictions/<split>/predictions.json  digests of inputs and files; written last

Photos are in the order of the shards. Logits are computed again if weights, photos or preprocessing
change; new labels of the same photos replace only the labels. An interrupted pass resumes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pyarrow as pa
import tensorflow as tf

from attr_extractor import files, storage, yaml_files
from attr_extractor.config import DataConfig
from attr_extractor.errors import parsing
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import dataset, index
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir

FOLDER, FILE, PROGRESS = "predictions", "predictions.json", "progress.json"
LOGITS, LABELS, PHOTOS = "logits.npy", "labels.npy", "photos.parquet"
_NUMBERS = 2**21  # logits of a block
_BATCHES = 64  # between two notes of progress


class MadeFrom(yaml_files.Model):
    """Inputs that determine the logits."""

    weights: str  # digest
    photos: str  # digest of the stored photos and their order
    image_size: yaml_files.Count
    square: str


class Contents(yaml_files.Model):
    """predictions.json."""

    made_from: MadeFrom
    labels: str  # digest of the labels in the records
    files: Dict[str, str]  # digest by name


class Progress(yaml_files.Model):
    """progress.json of an interrupted pass."""

    made_from: MadeFrom
    photos: yaml_files.Count


@dataclass(frozen=True)
class Predictions:
    """The arrays of a split, memory-mapped."""

    split: str
    logits: np.ndarray  # float32 [N, V], before temperatures
    labels: np.ndarray  # int8 [N, V]
    product_ids: list[str]
    image_indices: np.ndarray  # int64 [N]
    added: Any = None  # rows of float32 [N, V] that `blocks` and `rows` add to the logits

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Product and `image_index` of each photo."""
        return list(zip(self.product_ids, self.image_indices.tolist()))

    def rows(self, where: slice) -> Predictions:
        """Return the predictions of consecutive photos; without context, copies nothing."""
        logits = self.logits[where]
        if self.added is not None:
            logits = logits + self.added[where]
        arrays = (logits, self.labels[where], self.product_ids[where])
        return Predictions(self.split, *arrays, self.image_indices[where])

    def blocks(self, photos: int | None = None) -> Iterator[Predictions]:
        """Yield all photos in order, at most `photos` at a time; by default a few megabytes."""
        photos = photos or max(1, _NUMBERS // self.logits.shape[1])
        for start in range(0, len(self.logits), photos):
            yield self.rows(slice(start, start + photos))


def predict(
    run: RunDir, split: str, records: str | Path | None = None, home: Path | None = None
) -> Predictions:
    """Return the predictions of a run on a split; forward only photos without valid logits.

    Args:
      records: records to use instead of the run's own; must have the same schema.
      home: directory of another run, for the predictions of a run that it is compared with. The
        caller must own the directory.

    Raises:
      InputError: if there is no trained run, the records have another schema, or a shard or a file
        of the predictions is damaged.
    """
    manifest, folder = run.manifest(records), str(records or run.records)
    manifest.split(split)
    path = (home or run.path) / FOLDER / _name(run, split, records, compared=home is not None)
    storage.make_folder(path)
    photos, labels = _digests(folder, manifest, split)
    data = run.config.data
    made_from = MadeFrom(
        weights=run.weights_digest, photos=photos, image_size=data.image_size, square=data.square
    )
    stored = _contents(path)
    logits_valid = stored and stored.made_from == made_from and _same(path, stored, LOGITS)
    labels_valid = stored and stored.labels == labels and _same(path, stored, LABELS, PHOTOS)
    if not logits_valid:
        _write_logits(run, folder, manifest, split, path, made_from)
    if not (logits_valid and labels_valid):
        _write_labels(folder, manifest, split, path)
        written = {name: files.digest(path / name) for name in (LOGITS, LABELS, PHOTOS)}
        contents = Contents(made_from=made_from, labels=labels, files=written)
        files.write_json(path / FILE, contents.model_dump())
        (path / PROGRESS).unlink(missing_ok=True)
    return _open(path, split)


def with_pixels(
    predictions: Predictions, records: str | Path, manifest: Manifest, data: DataConfig
) -> Iterator[dict[str, tf.Tensor]]:
    """Yield the batches of `dataset.evaluation_batches` with the `logits` float32 [B, V].

    Args:
      data: size and batches of the photos.
    """
    photos = dataset.evaluation_batches(records, manifest, data, predictions.split)
    for batch, block in zip(photos, predictions.blocks(data.batch_size)):
        yield {**batch, "logits": tf.constant(block.logits)}


def _name(run: RunDir, split: str, records: str | Path | None, compared: bool) -> str:
    folder = storage.resolve(records or run.records)
    own = folder == storage.resolve(run.records)
    name = split if own else f"{split}_{storage.file_name(folder)}"
    return f"{name}_compared" if compared else name


def _contents(path: Path) -> Contents | None:
    if not (path / FILE).is_file():
        return None
    content = files.read_json(path / FILE, "the list of predictions (it may be removed)")
    return yaml_files.validate(Contents, content, str(path / FILE))


def _same(path: Path, contents: Contents, *names: str) -> bool:
    """Return whether files have the digests with which they were written."""
    return all(
        (path / name).is_file() and files.digest(path / name) == contents.files.get(name)
        for name in names
    )


def _digests(records: str, manifest: Manifest, split: str) -> tuple[str, str]:
    """Return the digests of a split's stored photos and of their labels."""
    shards = [shard.name for shard in manifest.splits[split].shards]
    if not all(storage.exists(index.path(records, name)) for name in shards):
        return manifest.digest, manifest.digest  # records of an older version have no index
    labels = index.read_photos(records, shards, ["labels_digest"])
    return index.photos_digest(records, manifest, shards), index.table_digest(labels)


def _write_logits(
    run: RunDir, records: str, manifest: Manifest, split: str, path: Path, made_from: MadeFrom
) -> None:
    """Forward the split's photos, or those that an interrupted pass left."""
    (path / FILE).unlink(missing_ok=True)
    shape = (manifest.splits[split].photos, manifest.schema.num_values)
    header, row_bytes = _header(shape), 4 * shape[1]
    done = _photos_done(path, made_from)
    size = (path / LOGITS).stat().st_size if done else 0
    if not done or done > shape[0] or size < len(header) + done * row_bytes:
        done = 0
        # not overwritten in place: a notebook may have mapped the old file
        for name in (PROGRESS, LOGITS):
            (path / name).unlink(missing_ok=True)
    network = run.load_network(Thresholds.of_schema(run.schema))
    forward = tf.function(
        lambda pixels: network.logits(pixels, training=False), reduce_retracing=True
    )
    batches = dataset.evaluation_batches(records, manifest, run.config.data, split, start=done)
    with (
        dataset.readable(records),
        storage.writable(path / LOGITS),
        open(path / LOGITS, "r+b" if done else "wb") as file,
    ):
        file.write(header)
        file.seek(len(header) + done * row_bytes)
        for number, batch in enumerate(batches, 1):
            logits = forward(batch["pixels"]).numpy()
            file.write(logits.tobytes())
            done += len(logits)
            if number % _BATCHES == 0:
                file.flush()
                # a power failure must not lose rows that progress.json counts
                os.fsync(file.fileno())
                note = Progress(made_from=made_from, photos=done)
                files.write_json(path / PROGRESS, note.model_dump())
        file.truncate()


def _photos_done(path: Path, made_from: MadeFrom) -> int:
    """Return how many photos an interrupted pass over the same inputs finished."""
    if not (path / PROGRESS).is_file() or not (path / LOGITS).is_file():
        return 0
    content = files.read_json(path / PROGRESS, "the progress of predictions (it may be removed)")
    progress = yaml_files.validate(Progress, content, str(path / PROGRESS))
    return progress.photos if progress.made_from == made_from else 0


def _header(shape: tuple[int, int]) -> bytes:
    """Return the first bytes of an .npy file of float32."""
    out = io.BytesIO()
    content = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, content)
    return out.getvalue()


def _write_labels(records: str, manifest: Manifest, split: str, path: Path) -> None:
    """Write the labels and ids of a split's photos."""
    labels, product_ids, indices = [], [], []
    with dataset.readable(records):
        for batch in dataset.label_batches(records, manifest, split):
            labels.append(batch["labels"].numpy())
            product_ids += [product.decode() for product in batch["product_id"].numpy()]
            indices.append(batch["image_index"].numpy())
    with storage.whole(path / LABELS) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate(labels))
    photos = {"product_id": product_ids, "image_index": np.concatenate(indices)}
    files.write_table(path / PHOTOS, pa.table(photos))


def _open(path: Path, split: str) -> Predictions:
    photos = files.read_table(path / PHOTOS)
    with parsing(f"{path}: the predictions are damaged: remove the folder"):
        return Predictions(
            split=split,
            logits=np.load(path / LOGITS, mmap_mode="r"),
            labels=np.load(path / LABELS, mmap_mode="r"),
            product_ids=photos["product_id"].to_pylist(),
            image_indices=photos["image_index"].to_numpy(),
        )
