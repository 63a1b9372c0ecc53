"""Read an exported model: its signatures and its assets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Literal

import tensorflow as tf

from attr_extractor import files, made_from, storage, working_copy, yaml_files
from attr_extractor.config import ContextConfig, Square
from attr_extractor.errors import InputError, parsing
from attr_extractor.model.answers import Answers
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema, require_same
from attr_extractor.serving.raw_photos.batch import PhotoReader

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")  # in a version folder, TF Serving's


class ModelFacts(yaml_files.Model):
    """Contents of assets/model.json: settings required to decode answers, besides the schema."""

    name: str
    fingerprint: str
    photo_short_side: int  # pixels of the stored photos the model was trained on
    image_size: int
    square: Square
    thresholds: Thresholds  # the graph applies the temperatures already
    gate_by_category: bool
    parts: int = 1  # computed concurrently, one per core; see parts.py
    precision: Literal["float32", "bfloat16"] = "float32"  # of a part of the network
    bfloat16_side: int = 0  # that part begins where maps have this height; see precision.py
    webp: bool = False  # whether the graph reads WebP
    least_tensorflow: str = ""  # the first release that loads the graph, "" for every supported one
    weights: str = ""  # digest of the run's; empty in older exports, as are the fields below
    network: Dict[str, Any] = {}  # the config's section `model` without its `weights`
    trunk_weights: Dict[str, str] = {}  # their file, sha256 and naming; empty: random or unknown
    records: str = ""  # digest of the records that the model was trained on
    release: str = ""  # version of this package that exported the graph
    digest: str = ""  # `made_from.description_digest` of these fields; the graph returns it too


@dataclass(frozen=True)
class Description:
    """The metadata of an exported model, in a folder or on a server."""

    origin: str  # its folder or address, for messages
    facts: ModelFacts
    answers: Answers

    @property
    def schema(self) -> Schema:
        """The schema of the model's answers."""
        return self.answers.schema

    @property
    def context(self) -> list[str]:
        """What the model reads besides photos: "known", "text", both or neither."""
        content = self.facts.network.get("context", {})
        return yaml_files.validate(ContextConfig, content, self.origin).names


@dataclass(frozen=True)
class ModelFolder(Description):
    """A version folder whose graph is not loaded."""

    path: Path

    def description_digest(self) -> str:
        """Return 32 hex digits over model.json; works for exports of any release."""
        return files.digest(self.path / "assets" / "model.json")

    def digest(self) -> str:
        """Return 32 hex digits over graph and weights, then the short side of its input photos."""
        weights = sorted((self.path / "variables").glob("variables.*"))
        graph = files.digest(self.path / "saved_model.pb", *weights)
        return f"{graph}-{self.facts.photo_short_side}"


@dataclass(frozen=True)
class ExportedModel(ModelFolder):
    """A loaded SavedModel with its post-processing and photo policy."""

    module: Any  # the loaded object; its functions are valid while it is referenced

    @property
    def signatures(self) -> Any:
        """The functions of `ServedModel.signatures` by name."""
        return self.module.signatures

    @property
    def network(self) -> Any:
        """uint8 [B, H, W, 3] -> scores float32 [B, V], embedding float32 [B, D].

        Raises:
          InputError: if the model was exported by an older release, which did not store it.
        """
        if not hasattr(self.module, "network"):
            raise InputError(f"{self.path}: exported by an older release; export the run again")
        return self.module.network

    def of_stored(self) -> Any:
        """Return the network as a tf.function of photos as records store them.

        Returns:
          string [B] -> scores float32 [B, V], embeddings float32 [B, D] and errors string [B].
        """
        network, facts = self.network, self.facts
        reader = PhotoReader(facts.photo_short_side, facts.image_size, facts.square)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def forward(stored: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pixels, errors = reader.read_stored(stored)
            return (*network(pixels), errors)

        return forward


def versions(folder: str | Path) -> dict[int, str]:
    """Return the version folders in a model's folder, by number."""
    return {
        int(name): storage.join(folder, name)
        for name in storage.names(folder)
        if name.isdecimal() and (storage.is_remote(folder) or Path(folder, name).is_dir())
    }


def describe(path: str | Path) -> ModelFolder:
    """Read the assets of a version folder, or of the highest version in a model's folder.

    Raises:
      InputError: if there is no SavedModel of this package.
    """
    existing = versions(path)
    if not storage.exists(storage.join(path, "saved_model.pb")) and existing:
        path = existing[max(existing)]
    origin, path = str(path), working_copy.folder(path)
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: not a SavedModel: saved_model.pb is missing")
    content = files.read_json(path / "assets" / "model.json", "the exported model's description")
    schema = Schema.read(path / "assets" / "schema.yaml")
    facts, answers = _checked(content, schema, str(path / "assets" / "model.json"))
    return ModelFolder(origin, facts, answers, path)


def parse_description(model_json: str, schema_yaml: str, address: str) -> Description:
    """Return the description that a server at `address` returns; raises as `describe` does."""
    content = files.parse_json(model_json.encode(), f"{address}: the model's description")
    facts, answers = _checked(content, Schema.parse(schema_yaml, address), address)
    return Description(address, facts, answers)


def _checked(content: Any, schema: Schema, origin: str) -> tuple[ModelFacts, Answers]:
    """Return the content of model.json and its post-processing; both belong together."""
    facts = yaml_files.validate(ModelFacts, content, origin)
    if facts.digest and facts.digest != made_from.description_digest(content):
        raise InputError(
            f"{origin}: edited after the export, so it does not match saved_model.pb: set "
            "the thresholds in the run's thresholds.json and export again"
        )
    require_same(facts.fingerprint, schema, origin)
    facts.thresholds.check(schema, origin)
    return facts, Answers(schema, facts.thresholds.per_value(schema), facts.gate_by_category)


def load(path: str | Path) -> ExportedModel:
    """Load a model; raise as `describe` does, and if graph and model.json do not match."""
    described = describe(path)
    path, facts = described.path, described.facts
    with parsing(f"{path}: the SavedModel cannot be loaded"):
        module = tf.saved_model.load(str(path))
    graph_digest = module.digest().numpy().decode() if hasattr(module, "digest") else ""
    if graph_digest != facts.digest:
        raise InputError(
            f"{path}/assets/model.json: from another export than saved_model.pb "
            f"(digests {facts.digest or '-'}, {graph_digest or '-'}): copy or export it again"
        )
    return ExportedModel(described.origin, facts, described.answers, path, module)
