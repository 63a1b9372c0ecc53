"""cells.parquet: seller value and model prediction of each cell, one row per row and attribute.

It is the input of the catalogue report, the review page and a spreadsheet. Attributes that do not
apply to a product's category have no row. The file's metadata names the model that predicted.
`CellsFile` reads it in batches and checks each batch against SCHEMA and the attribute schema.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Dict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import logging

from attr_extractor import files, made_from, working_copy, yaml_files
from attr_extractor.errors import InputError, did_you_mean, require_file
from attr_extractor.schema import SEPARATOR, Schema, require_same

if TYPE_CHECKING:
    from attr_extractor.serving.model_dir import ModelFacts  # TensorFlow

# cells with a seller's value, compared with the model
AGREED, CONTRADICTED, DOUBTFUL = "agreed", "contradicted", "doubtful"
# empty cells
FILLED, UNANSWERED = "filled", "unanswered"
UNSEEN = "unseen"  # either kind, if no photo was readable
VERDICTS = (AGREED, CONTRADICTED, DOUBTFUL, FILLED, UNANSWERED, UNSEEN)
BOX, TOLD_BY = "box", "told_by"
_OPTIONAL = (BOX, TOLD_BY)  # texts that older versions did not write

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # row number in the table, from 1
        ("product_id", pa.string()),
        ("seller", pa.string()),  # the cell of --seller_column, "" without that flag
        ("category", pa.string()),  # the seller's, in the schema's spelling; "" if unknown
        ("attribute", pa.string()),
        ("given", pa.string()),  # seller's known values in the schema's spelling, separated by |
        ("given_score", pa.float32()),  # lowest score of the given values; null if none is known
        ("answer", pa.string()),  # values above their thresholds, best first, separated by |
        ("proposed", pa.list_(pa.string())),  # the best allowed values, at most MAX_ANSWERS
        ("proposed_scores", pa.list_(pa.float32())),  # scores of `proposed`, best first
        ("verdict", pa.dictionary(pa.int32(), pa.string())),
        ("image", pa.string()),  # the table's cell: paths below the image root, separated by |
        (BOX, pa.string()),  # the row's product boxes, see `boxes.join`; "" without
        # known cells and words with the largest shares in the best proposed value, in log-odds
        (TOLD_BY, pa.string()),
        ("error", pa.string()),  # why photos of the row are unreadable, "" if all were read
    ]
)
METADATA = b"attr_extractor"  # key in the Parquet metadata; the value is a MadeBy as JSON
CELLS_PER_BATCH = 65_536
_NOT_NULL = ("row", "product_id", "seller", "category", "attribute", "given", "answer", "verdict")
_JOINT = "\x1f"  # separates attribute and value; a value that contains it is still checked


class MadeBy(yaml_files.Model):
    """The model that predicted the answers and scores of a cells file."""

    model: str  # digest of the exported model
    weights: str  # digest of the run's weights; empty in an older export
    fingerprint: str
    temperatures: Dict[str, float]  # by attribute

    @classmethod
    def of(cls, facts: ModelFacts) -> MadeBy:
        """Return the MadeBy of a described model."""
        attributes = facts.thresholds.attributes
        return cls(
            model=facts.digest,
            weights=facts.weights,
            fingerprint=facts.fingerprint,
            temperatures={name: attributes[name].temperature for name in attributes},
        )

    @classmethod
    def metadata(cls, facts: ModelFacts) -> dict[bytes, bytes]:
        """Return the metadata of a cells file; empty if an older version exported the model."""
        return {METADATA: cls.of(facts).model_dump_json().encode()} if facts.digest else {}


def schema_of(
    schema: str | Path | None, model: str | Path | None
) -> tuple[Schema, ModelFacts | None]:
    """Return the schema of a cells file and, if `model` is given, the model's description.

    Args:
      schema: YAML file; or pass `model`.
      model: an exported model, whose assets contain schema and description.

    Raises:
      InputError: if both or neither are given, or if the given one cannot be read.
    """
    if (schema is None) == (model is None):
        raise InputError("pass either --schema or --model, whose assets contain the schema")
    if model is None:
        return Schema.read(str(schema)), None
    from attr_extractor.serving.model_dir import describe  # imports TensorFlow

    described = describe(model)
    return described.schema, described.facts


class CellsFile:
    """A cells file with the columns of `SCHEMA`; batches are checked while they are read."""

    def __init__(self, path: str | Path, schema: Schema, model: ModelFacts | None = None):
        """Open a file.

        Args:
          path: the cells file.
          schema: schema of its attributes.
          model: the model that must have written the cells. A file that does not record its model
            (written by an older version, or rewritten) is accepted with a warning.

        Raises:
          InputError: if the file is missing, is not a cells file, or belongs to another schema or
            model.
        """
        self.path = require_file(working_copy.file(path), "the cells file")
        self.schema = schema
        try:
            # newer releases of PyArrow would prefetch the whole file
            self._file = pq.ParquetFile(self.path, pre_buffer=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._refusal(f"not a readable Parquet file: {error}") from error
        columns = self._file.schema_arrow
        for field in SCHEMA:
            if field.name in _OPTIONAL and field.name not in columns.names:
                continue
            if field.name not in columns.names:
                raise self._refusal(f"the column {field.name!r} is missing")
            kind = columns.field(field.name).type
            if not (kind == field.type or (field.name == "verdict" and kind == pa.string())):
                wanted = f"of type {kind}, not {field.type}"
                raise self._refusal(f"the column {field.name!r} is {wanted}")
        self._seen: set[str] = set()
        self.made_by = self._made_by()
        if model is not None:
            self._require_model(model)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def require_run(self, run_dir: str | Path) -> None:
        """Raise InputError if the run's weights are not those of the model that wrote the cells."""
        if self.made_by is None:
            return
        weights = made_from.run_weights_digest(run_dir)
        if weights != self.made_by.weights:
            raise InputError(
                f"{run_dir}: its weights (digest {weights}) are not those of the model that wrote "
                f"{self.path} (digest {self.made_by.weights}): pass the run that the model was "
                "exported from"
            )

    def _made_by(self) -> MadeBy | None:
        told = (self._file.schema_arrow.metadata or {}).get(METADATA)
        if told is None:
            return None
        origin = f"{self.path}, metadata"
        content = files.parse_json(told, origin)
        made_by = yaml_files.validate(MadeBy, content, origin)
        require_same(made_by.fingerprint, self.schema, str(self.path))
        return made_by

    def _require_model(self, model: ModelFacts) -> None:
        if self.made_by is None:
            logging.warning(
                "%s: does not record which model wrote it (written by an older version, or a "
                "copy); cannot verify that it was --model",
                self.path,
            )
        elif self.made_by.model != model.digest:
            raise InputError(
                f"{self.path}: written by another model (digest {self.made_by.model}) than "
                f"--model (digest {model.digest or 'unknown: an older export'}): pass the model "
                "that wrote it, or write it again with attr-extractor predict --cells"
            )

    def fingerprint(self) -> str:
        """Return a digest of all bytes of the file, 32 hex digits; about a second per gigabyte."""
        digest = hashlib.blake2b(digest_size=16)
        with open(self.path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all cells in the order of the file, at most CELLS_PER_BATCH at a time.

        Raises:
          InputError: if the file is damaged, or if a cell is not of the schema.
        """
        names = SCHEMA.names
        there = [name for name in names if name in self._file.schema_arrow.names]
        try:
            for batch in self._file.iter_batches(CELLS_PER_BATCH, columns=there):
                read = {name: pa.array([""] * len(batch), pa.string()) for name in _OPTIONAL}
                read.update({name: batch.column(name) for name in there})
                columns = {name: read[name] for name in names}
                columns["verdict"] = columns["verdict"].cast(pa.string())
                checked = pa.RecordBatch.from_pydict(columns)
                checked.validate(full=True)  # detects invalid UTF-8, for example
                self._check(checked)
                yield checked
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._refusal(f"damaged: {error}") from error

    def _check(self, batch: pa.RecordBatch) -> None:
        for name in _NOT_NULL:
            if batch.column(name).null_count:
                raise self._refusal(f"the column {name!r} has a cell without a value")
        attribute = batch.column("attribute")
        for name in pc.unique(attribute).to_pylist():
            if name not in self.schema.index:
                known = did_you_mean(name, self.schema.names)
                raise self._other_schema(f"{name!r} is not one of its attributes{known}")
        for verdict in pc.unique(batch.column("verdict")).to_pylist():
            if verdict not in VERDICTS:
                known = ", ".join(VERDICTS)
                raise self._refusal(f"the verdict {verdict!r} is not one of {known}")
        category = pa.array([self.schema.category] * len(batch), pa.string())
        self._require_known(category, batch.column("category"))
        for name in ("given", "answer"):
            self._require_known(attribute, batch.column(name))
        lengths = []
        for name in ("proposed", "proposed_scores"):
            if batch.column(name).null_count or batch.column(name).flatten().null_count:
                raise self._refusal(f"the column {name!r} has a cell without a value")
            lengths.append(pc.list_value_length(batch.column(name)).to_numpy())
        if (lengths[0] != lengths[1]).any():
            raise self._refusal("a cell's proposed and proposed_scores differ in length")
        self._require_known(
            attribute.take(pc.list_parent_indices(batch.column("proposed"))),
            batch.column("proposed").flatten(),
        )
        for scores in (batch.column("proposed_scores").flatten(), batch.column("given_score")):
            numbers = pc.drop_null(scores).to_numpy()
            if not ((numbers >= 0) & (numbers <= 1)).all():  # also false for NaN
                raise self._refusal("a score is not between 0 and 1")

    def _require_known(self, attribute: pa.Array, texts: pa.Array) -> None:
        """Raise InputError if a text lists a value that its attribute does not have."""
        for pair in pc.unique(pc.binary_join_element_wise(attribute, texts, _JOINT)).to_pylist():
            if pair in self._seen:
                continue
            name, _, text = pair.partition(_JOINT)
            for value in text.split(SEPARATOR):
                if value and value not in self.schema[name].values:
                    known = did_you_mean(value, self.schema[name].values)
                    raise self._other_schema(f"{value!r} is not a value of {name}{known}")
            self._seen.add(pair)

    def _refusal(self, why: str) -> InputError:
        return InputError(f"{self.path}: not a cells file of attr-extractor predict --cells: {why}")

    def _other_schema(self, why: str) -> InputError:
        return InputError(
            f"{self.path}: written with another schema than {self.schema.name!r}: {why}"
        )


def first_of_lists(lists: pa.ListArray) -> pa.Array:
    """Return the first entry of each list; no list may be empty."""
    return lists.values.take(lists.offsets[:-1])
