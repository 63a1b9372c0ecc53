"""Reading an exported model back: its signatures and what its assets say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import tensorflow as tf

from attr_extractor import files, made_from, yaml_files
from attr_extractor.config import Square
from attr_extractor.errors import InputError, parsing
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
    parts: int = 1  # that cores compute side by side, see parts.py
    weights: str = ""  # digest of the run's; this and what follows: empty in an older export
    network: Dict[str, Any] = {}  # the config's section `model`, but for where weights began
    records: str = ""  # digest of those that it was trained on
    release: str = ""  # of this package, whose photos and answers the graph computes
    digest: str = ""  # `made_from.description_digest` of all this; the graph tells it, too


@dataclass(frozen=True)
class Description:
    """What an exported model's assets say; nothing is loaded for it."""

    path: Path
    facts: Facts
    answers: Answers

    @property
    def schema(self) -> Schema:
        """The schema the model answers in."""
        return self.answers.schema

    def description_digest(self) -> str:
        """32 hex digits over model.json, of whatever version exported it."""
        return files.digest(self.path / "assets" / "model.json")

    def digest(self) -> str:
        """32 hex digits over graph and weights, and the size of photos that they are fed with."""
        weights = sorted((self.path / "variables").glob("variables.*"))
        graph = files.digest(self.path / "saved_model.pb", *weights)
        return f"{graph}-{self.facts.photo_short_side}"


@dataclass(frozen=True)
class ExportedModel(Description):
    """A loaded SavedModel with its post-processing and photo policy."""

    module: Any  # what is loaded; its functions live as long as it does

    @property
    def signatures(self) -> Any:
        """The functions of `ServedModel.signatures` by name."""
        return self.module.signatures

    @property
    def network(self) -> Any:
        """uint8 [B, H, W, 3] -> scores float32 [B, V], embedding float32 [B, D].

        Raises:
          InputError: the model was exported by a version of this package that did not keep it.
        """
        if not hasattr(self.module, "network"):
            raise InputError(f"{self.path}: an older export; export the run again")
        return self.module.network


def versions(folder: Path) -> dict[int, Path]:
    """The version folders in a model's folder, by number."""
    found = (path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())
    return {int(path.name): path for path in found}


def describe(path: str | Path) -> Description:
    """Reads the assets of a version folder, or of the highest version in a folder of them.

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
    if facts.digest and facts.digest != made_from.description_digest(content):
        raise InputError(
            f"{description}: edited since the export, and the graph beside it was not: set the "
            "thresholds in the run's thresholds.json and export again"
        )
    schema = Schema.read(path / "assets" / "schema.yaml")
    require_same(facts.fingerprint, schema, str(path))
    facts.thresholds.check(schema, str(description))
    answers = Answers(schema, facts.thresholds.per_value(schema), facts.gate_by_category)
    return Description(path, facts, answers)


def load(path: str | Path) -> ExportedModel:
    """Loads what `describe` describes; raises as it does, and where the graph is of another."""
    found = describe(path)
    with parsing(f"{found.path}: not a SavedModel that can be loaded"):
        module = tf.saved_model.load(str(found.path))
    told = module.digest().numpy().decode() if hasattr(module, "digest") else ""
    if told != found.facts.digest:
        raise InputError(
            f"{found.path}/assets/model.json: of another export (digest {found.facts.digest or '-'}"
            f") than saved_model.pb beside it (digest {told or '-'}): copy or export it again"
        )
    return ExportedModel(found.path, found.facts, found.answers, module)
