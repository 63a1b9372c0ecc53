"""A trained run in a notebook: its history, metrics, predictions and Keras model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from attr_extractor import storage
from attr_extractor.api import child
from attr_extractor.config import Config
from attr_extractor.errors import require_folder
from attr_extractor.evaluation import predictions
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import Contender
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.serving import export as exporter
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir


def train(config: Config | str | Path, records: str | Path, run_dir: str | Path) -> Run:
    """Train in a child process, or resume an interrupted run of the same config and records.

    Args:
      config: a config, its file, or the name of one that comes with the package, as `pretrained`.
      records: folder of records.
      run_dir: a new run directory, or that of an interrupted run.

    Raises:
      InputError: if config, records and run directory cannot be used together.
      TemporaryError: if another program writes to the run directory.
    """
    config = config if isinstance(config, Config) else Config.read(config)
    child.call(fit.train, config, records, run_dir)
    return Run(run_dir)


def export(
    run_dir: str | Path | Run,
    output_dir: str | Path,
    version: int | None = None,
    parts: int = 1,
) -> str | Path:
    """Export a run, in a child process, as a SavedModel; return its folder.

    In this process, TensorFlow would change the settings of Python's loggers. For arguments and
    errors see `serving.export.export`.
    """
    return child.call(exporter.export, os.fspath(run_dir), os.fspath(output_dir), version, parts)


class Run:
    """A run directory. All functions that take the path of a run directory also take a `Run`."""

    def __init__(self, path: str | Path):
        """Open the directory; raise InputError if it is not a run directory."""
        self._address = os.fspath(path)
        self._read = RunDir.read(path)
        self._model: tuple[tuple[str, str], Any] | None = None

    @property
    def _dir(self) -> RunDir:
        """The run as it is now: one in a bucket is copied again if it changed."""
        is_remote = storage.is_remote(self._address)
        return RunDir.read(self._address) if is_remote else self._read

    @property
    def path(self) -> str | Path:
        """The directory, or its address in a bucket."""
        return self._address if storage.is_remote(self._address) else self._read.path

    @property
    def config(self) -> Config:
        """The config that the run was trained with."""
        return self._read.config

    @property
    def schema(self) -> Schema:
        """The schema of the run's records."""
        return self._read.schema

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def metrics(self) -> dict[str, Any]:
        """Sections of metrics.json, as written by `train`, `calibrate` and `evaluate`."""
        return self._dir.metrics()

    @property
    def history(self) -> pd.DataFrame:
        """Curves of the training: a row per epoch, indexed by the step of its end.

        Columns: `train/loss`, `train/score`, `train/lr`, `validation/loss`, `validation/score`, and
        `<split>/attribute_loss/<name>` and `<split>/attribute_score/<name>`.

        Raises:
          InputError: if the directory has no logs, for example because it was migrated.
        """
        path = self._dir.path
        require_folder(path / "logs" / "train", "the folder of the training's logs")
        columns: dict[str, pd.Series] = {}
        for split in ("train", "validation"):
            if not (path / "logs" / split).is_dir():
                continue  # records without validation photos
            events = EventAccumulator(str(path / "logs" / split), {"tensors": 0}).Reload()
            for tag in events.Tags()["tensors"]:
                # a resumed epoch is logged again: the last point of a step counts
                points = {event.step: event.tensor_proto for event in events.Tensors(tag)}
                if all(not proto.tensor_shape.dim for proto in points.values()):  # not the photos
                    values = {s: float(tensor_util.make_ndarray(p)) for s, p in points.items()}
                    columns[f"{split}/{tag}"] = pd.Series(values, dtype="float64")
        return pd.DataFrame(columns).rename_axis("step").sort_index()

    @property
    def model(self) -> Any:
        """The trained network as a functional Keras model with the run's temperatures.

        uint8 [B, H, W, 3] -> a dict of scores float32 [B, V_t] in 0 .. 1, by attribute. The same
        object is returned until weights or temperatures of the run change.

        Raises:
          InputError: if the run is not trained, or its files do not belong together.
        """
        run = self._dir
        made_from = (run.weights_digest, run.thresholds().digest)
        if self._model is None or self._model[0] != made_from:
            self._model = (made_from, run.load_network().scores_model())
        return self._model[1]

    def predictions(self, split: str = "validation") -> pd.DataFrame:
        """Return the answers for the photos of a split: a row per photo, in the records' order.

        Columns: `product_id`, `image_index`; per attribute `<name>`, the answered values separated
        by `|`, `<name>_score`, the score of its best value, and `<name>_label`, the values of its
        label, None if missing. The logits are computed once and stored in the run directory.

        Raises:
          InputError: if the run is not trained, its records are missing, or the split is empty.
        """
        with RunDir.owned(self._address) as run:
            found = predictions.predict(run, split)
            rules = Contender(run.scoring().scores_of, run.answers())
            frames = [_answers(block, rules, self.schema) for block in found.blocks()]
        return pd.concat(frames, ignore_index=True)


def _answers(block: Predictions, rules: Contender, schema: Schema) -> pd.DataFrame:
    answered = rules.answer(block.logits)
    columns: dict[str, Any] = {
        "product_id": block.product_ids,
        "image_index": block.image_indices,
    }
    for attribute in schema.attributes:
        where, values = schema.slices[attribute.name], np.array(attribute.values, object)
        labels = block.labels[:, where]
        columns[attribute.name] = _joined(answered.chosen[:, where], values)
        columns[f"{attribute.name}_score"] = answered.scores[:, where].max(axis=1)
        columns[f"{attribute.name}_label"] = [
            text if is_known else None
            for text, is_known in zip(
                _joined(labels == PRESENT, values), (labels != MISSING).any(axis=1)
            )
        ]
    return pd.DataFrame(columns)


def _joined(marked: np.ndarray, values: np.ndarray) -> list[str]:
    """Return the marked values of each row, bool [N, V_t], separated by `|`."""
    return [SEPARATOR.join(values[row]) for row in marked]
