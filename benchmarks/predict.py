"""Benchmark of `predict` and of `Predictor` against the model alone, in photos per second.

The model is built from the config and exported untrained. A row has one photo, as records store
it, and its known labels as cells; `predict` runs with `--cells`, `Predictor.stream` takes the paths
of the same photos. The three measurements alternate.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor import files, labels, storage
from attr_extractor.api.predictor import Predictor
from attr_extractor.catalogue import table as tables
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.config import Config
from attr_extractor.enrichment import scoring
from attr_extractor.enrichment.fill import predict
from attr_extractor.model import network
from attr_extractor.records import example
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.serving import export, model_dir
from attr_extractor.training.run_dir import RunDir

_ROUNDS = 3


def measure(config: Config, records: str | Path, rows: int) -> dict[str, float]:
    """Return the throughputs of the three and their ratios, each a median.

    Args:
      config: experiment config.
      records: folder of records.
      rows: number of rows of the table, rounded up to whole batches; the photos are the first of
        the training split, repeated.

    Raises:
      InputError: if the records cannot be used.
    """
    manifest = Manifest.read(records)
    rows = -(-rows // scoring.BATCH) * scoring.BATCH
    rates = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        run = RunDir.create(folder / "run", config, Path(records), manifest)
        untrained = network.layer_arrays(network.build(manifest.schema, config).logits)
        files.write_arrays(run.path / "weights.npz", untrained)
        model = export.export(run.path, folder / "model")
        _write_table(folder, records, manifest, rows)
        bare, predictor = model_dir.load(model).network, Predictor(model)
        for turn in range(_ROUNDS + 1):  # the first round loads the model and is not counted
            table, number = ("table.csv", rows) if turn else ("first.csv", scoring.BATCH)
            alone = _bare(bare, config.data.image_size, number)
            filled = _filled(folder, table, number)
            rates.append([alone, filled, _streamed(predictor, folder, number)])
    of_model, of_table, of_stream = np.transpose(rates[1:])
    return {
        "photos/s of the model alone": float(np.median(of_model)),
        "rows/s of attr-extractor predict": float(np.median(of_table)),
        "ratio": float(np.median(of_table / of_model)),
        "photos/s of Predictor.stream": float(np.median(of_stream)),
        "ratio to attr-extractor predict": float(np.median(of_stream / of_table)),
    }


def _write_table(folder: Path, records: str | Path, manifest: Manifest, rows: int) -> None:
    """Write table.csv with `rows` rows, first.csv with one batch of rows, and the photos."""
    schema: Schema = manifest.schema
    shards = [storage.join(records, shard.name) for shard in manifest.split("train").shards]
    lines: list[list[str]] = []
    for found in tf.data.TFRecordDataset(shards).take(rows).map(example.parse).as_numpy_iterator():
        name = f"{len(lines)}.jpg"
        (folder / name).write_bytes(found["image/encoded"])
        cells = labels.decode(schema, np.frombuffer(found["labels"], np.int8))
        lines.append([name, *(SEPARATOR.join(cells[a] or ()) for a in schema.names)])
    header = [schema.column(name) for name in (tables.PRODUCT_ID, tables.IMAGE, *schema.names)]
    for name, count in (("table.csv", rows), ("first.csv", scoring.BATCH)):
        write_csv(folder / name, header, ([i, *lines[i % len(lines)]] for i in range(count)))


def _bare(function, side: int, photos: int) -> float:
    """Return photos per second from decoded pixels to scores, in batches."""
    pixels = np.random.default_rng(0).integers(0, 256, [scoring.BATCH, side, side, 3], np.uint8)
    start = time.perf_counter()
    for _ in range(photos // scoring.BATCH):
        function(tf.constant(pixels))[0].numpy()
    return photos / (time.perf_counter() - start)


def _streamed(predictor: Predictor, folder: Path, photos: int) -> float:
    """Return photos per second of `Predictor.stream`."""
    paths = sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem))
    start = time.perf_counter()
    for _ in predictor.stream(paths[i % len(paths)] for i in range(photos)):
        pass
    return photos / (time.perf_counter() - start)


def _filled(folder: Path, table: str, rows: int) -> float:
    """Return rows per second, from opening the table to the written files."""
    catalogue = folder / table
    outputs = folder / "filled.csv", folder / "cells.parquet"
    start = time.perf_counter()
    predict.predict(folder / "model", catalogue, outputs[0], folder, cells_output=outputs[1])
    seconds = time.perf_counter() - start
    for output in outputs:
        output.unlink()
    return rows / seconds
