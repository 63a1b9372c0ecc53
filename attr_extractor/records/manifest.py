"""manifest.json: what a folder of shards holds; written last, so without it nothing is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from attr_extractor import yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import Schema, require_same

FILE = "manifest.json"


class Shard(yaml_files.Model):
    """One TFRecord file."""

    name: str
    records: int
    bytes: int


class Counts(yaml_files.Model):
    """Labels of one attribute in one split, counted in photos."""

    present: Dict[str, int]  # per value
    answered: int  # at least one value present
    not_applicable: int  # known to have none
    missing: int


class Split(yaml_files.Model):
    """The shards of a split and what is in them."""

    shards: List[Shard]
    products: int
    photos: int
    labels: Dict[str, Counts]


class Manifest(yaml_files.Model):
    """Everything that reading the shards needs, and where they came from."""

    schema_name: str
    fingerprint: str
    schema_yaml: str
    image_policy: Dict[str, Any]
    build: Dict[str, Any]  # the options that decided splits and sampling
    rows: Dict[str, int]  # read, written, rejected
    photos: Dict[str, int]  # written, rejected
    splits: Dict[str, Split]

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        """The schema that the labels were written with."""
        return Schema.parse(self.schema_yaml, f"{FILE}: schema")

    def write(self, records: Path) -> None:
        """Writes the manifest under a temporary name and renames it."""
        temporary = records / (FILE + ".tmp")
        content = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        temporary.write_text(content + "\n", encoding="utf-8")
        temporary.replace(records / FILE)

    @classmethod
    def read(cls, records: str | Path, schema: Schema | None = None) -> Manifest:
        """The manifest of a records folder, checked against the files beside it.

        Args:
          schema: where given, the records must have been made with a schema of this meaning.

        Raises:
          InputError: no finished build there, another schema, a shard missing or cut short.
        """
        path = Path(records) / FILE
        if not path.is_file():
            raise InputError(
                f"{records}: no {FILE} there: not a folder of records, or its build did not finish"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: not a JSON file: {error}") from error
        manifest = yaml_files.validate(cls, content, str(path))
        require_same(manifest.fingerprint, manifest.schema, str(path))
        if schema is not None:
            require_same(manifest.fingerprint, schema, str(path))
        for split in manifest.splits.values():
            for shard in split.shards:
                _require_whole(Path(records) / shard.name, shard)
        return manifest

    def summary(self, records: str | Path) -> str:
        """What was written and left out, for the end of a build."""
        lines = [
            f"{self.rows['read']:,} rows read = {self.rows['written']:,} written "
            f"+ {self.rows['rejected']:,} rejected",
            f"{self.photos['written']:,} photos written, {self.photos['rejected']:,} rejected",
        ]
        for name, split in self.splits.items():
            lines.append(
                f"  {name}: {split.products:,} products, {split.photos:,} photos, "
                f"{len(split.shards):,} shards"
            )
        lines.append(
            f"in {records}: {FILE}, rejects.csv (rows and photos left out and why), "
            "label_issues.csv (cells that could not be used)"
        )
        return "\n".join(lines)

    def split(self, name: str) -> Split:
        """One split with at least one photo; raises InputError naming those there are."""
        if name not in self.splits:
            raise InputError(
                f"there is no split {name!r}{did_you_mean(name, self.splits)}; "
                f"there are {', '.join(self.splits)}"
            )
        if not self.splits[name].photos:
            raise InputError(f"the split {name!r} of the records is empty")
        return self.splits[name]

    def present(self, split: str) -> np.ndarray:
        """int64[V]: photos of a split that have each value."""
        labels = self.splits[split].labels
        return np.array([n for name in labels for n in labels[name].present.values()], np.int64)

    def known(self, split: str) -> np.ndarray:
        """int64[T]: photos of a split whose label of each attribute is not missing."""
        labels = self.splits[split].labels.values()
        return np.array([counts.answered + counts.not_applicable for counts in labels], np.int64)


def count_labels(schema: Schema, present: np.ndarray, states: np.ndarray) -> dict[str, Counts]:
    """Counts per attribute from totals.

    Args:
      present: int64[V], photos with each value.
      states: int64[T, 3], photos whose attribute is answered, not applicable and missing.
    """
    return {
        attribute.name: Counts(
            present=dict(zip(attribute.values, present[schema.slices[attribute.name]].tolist())),
            answered=int(states[t, 0]),
            not_applicable=int(states[t, 1]),
            missing=int(states[t, 2]),
        )
        for t, attribute in enumerate(schema.attributes)
    }


def _require_whole(path: Path, shard: Shard) -> None:
    if not path.is_file():
        raise InputError(f"{path}: the shard is missing; build the records again")
    size = path.stat().st_size
    if size != shard.bytes:
        raise InputError(
            f"{path}: the shard has {size:,} bytes, its manifest says {shard.bytes:,}: "
            "cut short or changed; build the records again"
        )
