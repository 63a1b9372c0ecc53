"""Reading an exported model back: its signatures and what its assets say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from attr_extractor import files, yaml_files
from attr_extractor.config import Square
from attr_extractor.errors import InputError
from attr_extractor.model.answers import Answers
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema, require_same


class Facts(yaml_files.Model):
    """assets/model.json: what reading the answers needs besides the schema."""

    name: str
    fingerprint: str
    photo_short_side: int  # pixels of the stored photos the model was trained on
    image_size: int
    square: Square
    thresholds: Thresholds  # the temperatures are in the graph already
    gate_by_category: bool


@dataclass(frozen=True)
class ExportedModel:
    """A loaded SavedModel with its post-processing and photo policy."""

    path: Path
    answers: Answers
    photo_short_side: int
    signatures: Any

    @property
    def schema(self) -> Schema:
        """The schema the model answers in."""
        return self.answers.schema


def versions(folder: Path) -> dict[int, Path]:
    """The version folders in a model's folder, by number."""
    found = (path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())
    return {int(path.name): path for path in found}


def describe(path: str | Path) -> tuple[Path, Schema, Facts]:
    """The version folder, and what its assets say, of one or of the highest of a folder of them.

    Raises:
      InputError: no SavedModel of this package there.
    """
    path = Path(path)
    existing = versions(path)
    if not (path / "saved_model.pb").is_file() and existing:
        path = existing[max(existing)]
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: not a SavedModel: it has no saved_model.pb")
    description = path / "assets" / "model.json"
    content = files.read_json(description, "the exported model's description")
    facts = yaml_files.validate(Facts, content, str(description))
    schema = Schema.read(path / "assets" / "schema.yaml")
    require_same(facts.fingerprint, schema, str(path))
    facts.thresholds.check(schema, str(description))
    return path, schema, facts


def load(path: str | Path) -> ExportedModel:
    """Loads a version folder, or the highest version in a folder of them.

    Raises:
      InputError: no SavedModel of this package there.
    """
    path, schema, facts = describe(path)
    return ExportedModel(
        path=path,
        answers=Answers(schema, facts.thresholds.per_value(schema), facts.gate_by_category),
        photo_short_side=facts.photo_short_side,
        signatures=tf.saved_model.load(str(path)).signatures,
    )
