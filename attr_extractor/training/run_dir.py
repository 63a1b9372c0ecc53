"""The run directory: everything that a training run leaves, and how later programs read it.

config.yaml, schema.yaml, records.json (where, fingerprint), checkpoints/, logs/, weights.npz
(arrays by layer name), thresholds.json, metrics.json, report.html.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor.config import Config
from attr_extractor.errors import InputError, require_file
from attr_extractor.model import answers, network
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, require_same


@dataclass(frozen=True)
class RunDir:
    """A run directory with its config, schema and records."""

    path: Path
    config: Config
    schema: Schema
    records: Path

    @classmethod
    def create(
        cls, path: str | Path, config: Config, schema: Schema, records: str | Path
    ) -> RunDir:
        """Makes the directory, or opens the one of an interrupted run of the same experiment.

        Raises:
          InputError: the directory holds something else, or another experiment.
        """
        path = Path(path)
        if (path / "config.yaml").is_file():
            found = cls.read(path)
            require_same(found.schema.fingerprint, schema, f"{path}: the run directory")
            if found.config != config or found.records.resolve() != Path(records).resolve():
                raise InputError(
                    f"{path}: holds a run of another config or of other records; "
                    "name a new run directory"
                )
            return found
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise InputError(f"{path}: exists and is not a run directory; name a new one")
        for folder in (path / "checkpoints", path / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        schema.write(path / "schema.yaml")
        write_json(
            path / "records.json",
            {"records": str(Path(records).resolve()), "fingerprint": schema.fingerprint},
        )
        write_json(path / "thresholds.json", {a.name: a.threshold for a in schema.attributes})
        config.write(path / "config.yaml")  # last: it marks the directory as a run
        return cls(path, config, schema, Path(records))

    @classmethod
    def read(cls, path: str | Path) -> RunDir:
        """The run in a directory; raises InputError where there is none."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path}: not a run directory: it has no config.yaml")
        schema = Schema.read(path / "schema.yaml")
        origin = read_json(path / "records.json", "the record of the run's records")
        require_same(origin["fingerprint"], schema, f"{path}/records.json")
        return cls(path, Config.read(path / "config.yaml"), schema, Path(origin["records"]))

    def manifest(self, records: str | Path | None = None) -> tuple[Path, Manifest]:
        """The records folder and manifest, of the run or another one of the same schema."""
        folder = Path(records) if records else self.records
        return folder, Manifest.read(folder, self.schema)

    def load_network(self) -> network.Network:
        """The trained network, weights from weights.npz."""
        path = require_file(self.path / "weights.npz", "the run's weights (is it trained?)")
        config = self.config.model_copy(
            update={"model": self.config.model.model_copy(update={"weights": "none"})}
        )
        built = network.build(self.schema, config)
        network.set_layer_arrays(built.logits, read_arrays(path), str(path))
        return built

    def answers(self) -> answers.Answers:
        """Post-processing with the run's thresholds."""
        thresholds = read_json(self.path / "thresholds.json", "the run's thresholds")
        by_attribute = [thresholds[name] for name in self.schema.names]
        return answers.Answers(
            self.schema,
            np.repeat(by_attribute, self.schema.sizes).astype(np.float32),
            self.config.answers.gate_by_category,
        )

    def update_metrics(self, section: str, content: Any) -> None:
        """Replaces one section of metrics.json, leaving the others."""
        path = self.path / "metrics.json"
        metrics = read_json(path, "metrics") if path.is_file() else {}
        write_json(path, {**metrics, section: content})


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file; raises InputError where it is missing or not JSON."""
    try:
        return json.loads(require_file(path, what).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(path)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file under a temporary name and renames it."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; raises InputError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: not a readable weights file: {error}") from error
