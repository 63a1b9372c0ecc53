"""The run directory: all files of a training run, and how later programs read them.

config.yaml, schema.yaml, records.json (path, fingerprint), checkpoints/, logs/, weights.npz
(arrays by layer name), thresholds.json, metrics.json, report.html, model_card.md and .json,
learning_curve.json, predictions/ (logits and labels by split), tracker.json (its tracked run),
trunk/ (if the trunk is a preset of KerasHub: its architecture).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict

import numpy as np

from attr_extractor import files, made_from, ownership, storage, working_copy, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError, make_folder, require_file
from attr_extractor.model import network, scoring
from attr_extractor.model.answers import Answers
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.model.trunks import hub
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, require_same
from attr_extractor.training import run_files

CHECKPOINTS = "checkpoints"  # read by training only


class Origin(yaml_files.Model):
    """Content of records.json: the records that a run was trained on."""

    records: str
    fingerprint: str  # of their schema
    digest: str  # of their manifest
    photo_short_side: int  # pixels of their stored photos
    most_frequent: Dict[str, str]  # each attribute's most frequent value in the training split


def is_begun(path: Path, more: Sequence[str] = ()) -> bool:
    """Return whether a folder contains no more than an interrupted `RunDir.create` leaves.

    Args:
      more: names of further allowed files.
    """
    folders = {CHECKPOINTS, "logs"}
    known = {*folders, "schema.yaml", "records.json", "thresholds.json", *more}
    present = {name for name in storage.names(path) if not name.endswith(storage.TEMPORARY)}
    present = {name for name in present if not ownership.is_lock(name)}
    if any(storage.names(path / name) for name in folders):
        return False
    # the folders are created first: without them, the other files come from another program
    return present <= folders or folders <= present <= known


@dataclass(frozen=True)
class RunDir:
    """A run directory with its config, schema and records."""

    path: Path  # on the disk
    config: Config
    schema: Schema
    origin: Origin

    @classmethod
    def create(
        cls, path: str | Path, config: Config, records: str | Path, manifest: Manifest
    ) -> RunDir:
        """Create the directory, or open that of an interrupted run of the same experiment.

        Raises:
          InputError: if the directory contains something else, or another experiment.
        """
        path = Path(path)
        schema = manifest.schema
        origin = Origin(
            records=storage.resolve(records),
            fingerprint=schema.fingerprint,
            digest=manifest.digest,
            photo_short_side=manifest.image_policy["short_side"],
            most_frequent=manifest.most_frequent("train"),
        )
        if (path / "config.yaml").is_file():
            run = cls.read(path)
            require_same(run.schema.fingerprint, schema, f"{path}: the run directory")
            if run.config.untracked != config.untracked or run.origin != origin:
                raise InputError(
                    f"{path}: contains a run of another config or of other records; "
                    "name a new run directory"
                )
            if run.config != config:  # another tracker from now on
                config.write(path / "config.yaml")
            return replace(run, config=config)
        if path.is_file() or not is_begun(path):
            raise InputError(f"{path}: exists and is not a run directory; name a new one")
        for folder in (path / CHECKPOINTS, path / "logs"):
            make_folder(folder, "the run directory")
        schema.write(path / "schema.yaml")
        files.write_json(path / "records.json", origin.model_dump())
        files.write_json(path / "thresholds.json", Thresholds.of_schema(schema).model_dump())
        config.write(path / "config.yaml")  # last: it marks the directory as a run
        return cls(path, config, schema, origin)

    @classmethod
    def read(cls, path: str | Path) -> RunDir:
        """Read the run in a directory, or in a copy, without checkpoints, of one in a bucket.

        Raises:
          InputError: if it is not a run directory.
        """
        path = working_copy.folder(os.fspath(path), without=CHECKPOINTS)
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path}: not a run directory: it has no config.yaml")
        schema = Schema.read(path / "schema.yaml")
        content = files.read_json(path / "records.json", "the reference to the run's records")
        origin = yaml_files.validate(Origin, content, str(path / "records.json"))
        require_same(origin.fingerprint, schema, f"{path}/records.json")
        return cls(path, Config.read(path / "config.yaml"), schema, origin)

    @classmethod
    @contextmanager
    def owned(cls, path: str | Path) -> Iterator[RunDir]:
        """Own a run directory, see `working_copy.owned`, and read it; raises as `read` does."""
        path = os.fspath(path)
        if not storage.exists(storage.join(path, "config.yaml")):
            raise InputError(f"{path}: not a run directory: it has no config.yaml")
        with working_copy.owned(path, "the run directory", without=CHECKPOINTS) as folder:
            yield cls.read(folder)

    @property
    def records(self) -> str:
        """Folder of the records that the run was trained on."""
        return self.origin.records

    @property
    def trunk(self) -> Path:
        """Folder of the trunk's architecture, if the trunk is a preset of KerasHub."""
        return self.path / "trunk"

    def manifest(self, records: str | Path | None = None) -> Manifest:
        """Read the manifest of the run's records, or of other records with the same schema.

        Raises:
          InputError: if the records are missing or have another schema, or if the run's own were
            rebuilt: a photo that it was trained on could be in their test split.
        """
        manifest = Manifest.read(records or self.records, self.schema)
        if records is None and manifest.digest != self.origin.digest:
            raise InputError(
                f"{self.records}: the records were rebuilt since {self.path} was trained on them; "
                "train again, or name them with --records to measure on them anyway"
            )
        return manifest

    def load_network(
        self, thresholds: Thresholds | None = None, precision: str = "float32"
    ) -> network.Network:
        """Load the trained network, with the weights of weights.npz.

        Args:
          thresholds: their temperatures replace the run's.
          precision: Keras policy of the layers.

        Raises:
          InputError: if the run is not trained, a file is damaged or of another network, or the
            thresholds were calibrated on other weights.
        """
        path = require_file(self.path / "weights.npz", "the run's weights (is it trained?)")
        arrays = files.read_arrays(path)
        thresholds = thresholds or self.thresholds()
        thresholds.require_weights(made_from.weights_digest(arrays), self.path)
        return self.network_of(arrays, str(path), thresholds, precision)

    def scoring(self, thresholds: Thresholds | None = None) -> scoring.Scoring:
        """Return the rule from the run's logits to scores, without loading the network.

        Args:
          thresholds: their temperatures replace the run's.

        Raises:
          InputError: if the run is not trained, or its thresholds are damaged or were calibrated on
            other weights.
        """
        thresholds = thresholds or self.thresholds()
        thresholds.require_weights(self.weights_digest, self.path)
        softmax = scoring.softmax_values(self.schema, self.config.model)
        temperatures, trust = (f(self.schema) for f in (thresholds.temperatures, thresholds.trust))
        return scoring.Scoring(self.schema, softmax, temperatures, trust)

    @property
    def weights_digest(self) -> str:
        """Digest of weights.npz; raises InputError if it is missing or damaged."""
        return made_from.run_weights_digest(self.path)

    def network_of(
        self,
        arrays: dict[str, np.ndarray],
        origin: str,
        thresholds: Thresholds | None = None,
        precision: str = "float32",
    ) -> network.Network:
        """Build the run's network with given weights; see `load_network`.

        Raises:
          InputError: if the arrays are those of another network; names `origin`.
        """
        thresholds = thresholds or self.thresholds()
        temperatures, trust = (f(self.schema) for f in (thresholds.temperatures, thresholds.trust))
        built = network.build(
            self.schema,
            self.config_to_load(),
            temperatures=temperatures,
            trust=trust,
            precision=precision,
        )
        network.set_layer_arrays(built.trained, arrays, origin)
        return built

    def config_to_load(self) -> Config:
        """Return the config of a network that loads its weights from a file and is not trained."""
        update = {"weights": "none"}
        if self.trunk.is_dir():
            update["trunk"] = f"{hub.PREFIX}{self.trunk}"
        model = self.config.model.model_copy(update=update)
        train = self.config.train.model_copy(update={"xla": "off"})
        return self.config.model_copy(update={"model": model, "train": train})

    def thresholds(self) -> Thresholds:
        """Read thresholds.json; raise InputError if it is damaged or of another schema."""
        return Thresholds.read(self.path / "thresholds.json", self.schema)

    def answers(self, thresholds: Thresholds | None = None) -> Answers:
        """Return the post-processing with the run's thresholds, or with others."""
        limits = (thresholds or self.thresholds()).per_value(self.schema)
        return Answers(self.schema, limits, self.config.answers.gate_by_category)

    def metrics(self) -> dict[str, Any]:
        """Return the sections of metrics.json; none if the file does not exist yet."""
        return run_files.read_metrics(self.path)

    @property
    def trunk_weights(self) -> Dict[str, str]:
        """Origin of the trunk's weights (see `WeightsSource`); empty if random or not recorded."""
        content = self.metrics_of(self.weights_digest).get("training", {})
        origin = f"{self.path / run_files.METRICS}: training"
        source = yaml_files.validate(run_files.Training, content, origin).trunk_weights
        return source.model_dump(include={"file", "sha256", "naming"}) if source else {}

    def metrics_of(self, weights_digest: str) -> dict[str, Any]:
        """Return the sections of metrics.json except those measured on other weights."""
        return {
            name: section
            for name, section in self.metrics().items()
            # a section written by an older version has no digest
            if section.get("weights_digest", weights_digest) == weights_digest
        }

    def update_metrics(self, section: str, content: Dict[str, Any]) -> None:
        """Replace one section of metrics.json, and drop those measured on other weights.

        Args:
          content: includes the digest of the measured weights, `weights_digest`.
        """
        kept = self.metrics_of(content["weights_digest"])
        files.write_json(self.path / run_files.METRICS, {**kept, section: content})
