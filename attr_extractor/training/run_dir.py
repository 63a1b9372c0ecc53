"""The run directory: everything that a training run leaves, and how later programs read it.

config.yaml, schema.yaml, records.json (where, fingerprint), checkpoints/, logs/, weights.npz
(arrays by layer name), thresholds.json, metrics.json, report.html, model_card.md and .json,
learning_curve.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import keras
import numpy as np

from attr_extractor import files, made_from, ownership, storage, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError, make_folder, require_file
from attr_extractor.model import network
from attr_extractor.model.answers import Answers
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, require_same
from attr_extractor.training import run_files


class Origin(yaml_files.Model):
    """records.json: which records a run was trained on."""

    records: str
    fingerprint: str  # of their schema
    digest: str  # of their manifest
    photo_short_side: int  # pixels of their stored photos
    most_frequent: Dict[str, str]  # value of each attribute in the training split


def is_begun(path: Path, more: Sequence[str] = ()) -> bool:
    """Return whether a folder holds no more than `RunDir.create` leaves when it is interrupted.

    Args:
      more: names of files that may be there besides.
    """
    folders = {"checkpoints", "logs"}
    known = {*folders, "schema.yaml", "records.json", "thresholds.json", *more}
    found = {name for name in storage.names(path) if not name.endswith(storage.TEMPORARY)}
    found.discard(ownership.LOCK)
    if any(storage.names(path / name) for name in folders):
        return False
    # they are made first: without them the other files are somebody else's
    return found <= folders or folders <= found <= known


@dataclass(frozen=True)
class RunDir:
    """A run directory with its config, schema and records."""

    path: Path
    config: Config
    schema: Schema
    origin: Origin

    @classmethod
    def create(cls, path: str | Path, config: Config, records: Path, manifest: Manifest) -> RunDir:
        """Makes the directory, or opens the one of an interrupted run of the same experiment.

        Raises:
          InputError: the directory holds something else, or another experiment.
        """
        path = Path(path)
        schema = manifest.schema
        origin = Origin(
            records=str(Path(records).resolve()),
            fingerprint=schema.fingerprint,
            digest=manifest.digest,
            photo_short_side=manifest.image_policy["short_side"],
            most_frequent=manifest.most_frequent("train"),
        )
        if (path / "config.yaml").is_file():
            found = cls.read(path)
            require_same(found.schema.fingerprint, schema, f"{path}: the run directory")
            if found.config != config or found.origin != origin:
                raise InputError(
                    f"{path}: holds a run of another config or of other records; "
                    "name a new run directory"
                )
            return found
        if path.is_file() or not is_begun(path):
            raise InputError(f"{path}: exists and is not a run directory; name a new one")
        for folder in (path / "checkpoints", path / "logs"):
            make_folder(folder, "the run directory")
        schema.write(path / "schema.yaml")
        files.write_json(path / "records.json", origin.model_dump())
        files.write_json(path / "thresholds.json", Thresholds.of_schema(schema).model_dump())
        config.write(path / "config.yaml")  # last: it marks the directory as a run
        return cls(path, config, schema, origin)

    @classmethod
    def read(cls, path: str | Path) -> RunDir:
        """The run in a directory; raises InputError where there is none."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path}: not a run directory: it has no config.yaml")
        schema = Schema.read(path / "schema.yaml")
        content = files.read_json(path / "records.json", "the record of the run's records")
        origin = yaml_files.validate(Origin, content, str(path / "records.json"))
        require_same(origin.fingerprint, schema, f"{path}/records.json")
        return cls(path, Config.read(path / "config.yaml"), schema, origin)

    @property
    def records(self) -> Path:
        """The folder of the records that the run was trained on."""
        return Path(self.origin.records)

    def manifest(self, records: str | Path | None = None) -> Manifest:
        """The manifest of the run's records, or of others of the same schema.

        Raises:
          InputError: no records there, of another schema, or the run's own have been built anew:
            a photo that it was trained on could be in their test split.
        """
        manifest = Manifest.read(records or self.records, self.schema)
        if records is None and manifest.digest != self.origin.digest:
            raise InputError(
                f"{self.records}: the records were built anew since {self.path} was trained on "
                "them; train again, or name them with --records to measure on them all the same"
            )
        return manifest

    def load_network(self, thresholds: Thresholds | None = None) -> network.Network:
        """The trained network in float32, weights from weights.npz.

        Args:
          thresholds: temperatures other than the run's.

        Raises:
          InputError: the run is not trained, a file is damaged or of another network, or the
            thresholds were calibrated on other weights.
        """
        path = require_file(self.path / "weights.npz", "the run's weights (is it trained?)")
        arrays = files.read_arrays(path)
        thresholds = thresholds or self.thresholds()
        thresholds.require_weights(made_from.weights_digest(arrays), self.path)
        return self.network_of(arrays, str(path), thresholds)

    @property
    def weights_digest(self) -> str:
        """The digest of weights.npz; raises InputError as `load_network` does."""
        return made_from.run_weights_digest(self.path)

    def network_of(
        self, arrays: dict[str, np.ndarray], origin: str, thresholds: Thresholds | None = None
    ) -> network.Network:
        """The run's network in float32 with given weights, as of `load_network`.

        Raises:
          InputError: naming `origin`, where the arrays are those of another network.
        """
        keras.mixed_precision.set_global_policy("float32")
        temperatures = (thresholds or self.thresholds()).temperatures(self.schema)
        built = network.build(self.schema, self.config_to_load(), temperatures=temperatures)
        network.set_layer_arrays(built.logits, arrays, origin)
        return built

    def config_to_load(self) -> Config:
        """The config of a network whose weights come from a file, and that is not trained on."""
        model = self.config.model.model_copy(update={"weights": "none"})
        train = self.config.train.model_copy(update={"xla": "off"})
        return self.config.model_copy(update={"model": model, "train": train})

    def thresholds(self) -> Thresholds:
        """thresholds.json; raises InputError where it is damaged or of another schema."""
        return Thresholds.read(self.path / "thresholds.json", self.schema)

    def answers(self, thresholds: Thresholds | None = None) -> Answers:
        """Post-processing with the run's thresholds, or with others."""
        limits = (thresholds or self.thresholds()).per_value(self.schema)
        return Answers(self.schema, limits, self.config.answers.gate_by_category)

    def metrics(self) -> dict[str, Any]:
        """The sections of metrics.json; none where there is no such file yet."""
        return run_files.read_metrics(self.path)

    def metrics_of(self, weights_digest: str) -> dict[str, Any]:
        """The sections of metrics.json but those that were measured on other weights."""
        return {
            name: section
            for name, section in self.metrics().items()
            # a section that an older version wrote does not say
            if section.get("weights_digest", weights_digest) == weights_digest
        }

    def update_metrics(self, section: str, content: Dict[str, Any]) -> None:
        """Replaces one section of metrics.json, and drops those measured on other weights.

        Args:
          content: with the digest of the weights it is about, `weights_digest`.
        """
        kept = self.metrics_of(content["weights_digest"])
        files.write_json(self.path / run_files.FILE, {**kept, section: content})
