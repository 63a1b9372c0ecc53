"""manifest.json: the contents of a records folder; written last, so it marks a finished build."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pydantic

from attr_extractor import files, storage, yaml_files
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.records import plan
from attr_extractor.schema import Schema, require_same

FILE = "manifest.json"


class Shard(yaml_files.Model):
    """One TFRecord file."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9-]+\.tfrecord$")  # no path outside the folder
    records: yaml_files.Count
    bytes: yaml_files.Count


class Counts(yaml_files.Model):
    """Labels of one attribute in one split, counted in photos."""

    present: Dict[str, yaml_files.Count]  # per value
    answered: yaml_files.Count  # at least one value present
    not_applicable: yaml_files.Count  # known not to apply
    missing: yaml_files.Count
    soft: yaml_files.Count = 0  # of the missing ones, those with soft labels


class Split(yaml_files.Model):
    """The shards of a split and their counts."""

    shards: List[Shard]
    products: yaml_files.Count
    photos: yaml_files.Count
    labels: Dict[str, Counts]


class ImagePolicy(yaml_files.Model):
    """The size and quality of stored photos."""

    short_side: int = pydantic.Field(ge=1, lt=2**16)  # pixels
    jpeg_quality: int


class Manifest(yaml_files.Model):
    """Everything needed to read the shards, and how they were built."""

    schema_name: str
    fingerprint: str  # of the schema
    schema_yaml: str  # the schema that the labels were written with
    image_policy: Dict[str, Any]  # an ImagePolicy
    build: Dict[str, Any]  # options of splits and sampling
    additions: yaml_files.Count  # number of builds that added rows
    rows: Dict[str, yaml_files.Count]  # of the last table: read, written, already there, rejected
    photos: Dict[str, yaml_files.Count]  # written by all builds, rejected
    # unusable cells of the last table, by kind
    label_issues: Dict[str, yaml_files.Count]
    near_duplicates: Dict[str, yaml_files.Count]  # by split, photos that resemble a training photo
    splits: Dict[str, Split]
    # by attribute and label source: training products for which it has a part in the soft labels
    sources: Dict[str, Dict[str, yaml_files.Count]] = {}
    soft_digest: str = ""  # of the soft labels of the training split

    @functools.cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The schema that the labels were written with."""
        return Schema.parse(self.schema_yaml, f"{FILE}: schema")

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits that identify the contents of the shards."""
        held = self.model_dump(
            mode="json",
            include={"fingerprint", "image_policy", "build", "splits", "soft_digest"},
            exclude_defaults=True,  # counts that older releases do not have
        )
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, records: str | Path) -> None:
        """Write the manifest atomically."""
        files.write_json(storage.join(records, FILE), self.model_dump(mode="json"))

    @classmethod
    def read(cls, records: str | Path, schema: Schema | None = None) -> Manifest:
        """Load the manifest of a records folder and check it against the shard files.

        Args:
          schema: if given, the records must have been built with a schema of the same fingerprint.

        Raises:
          InputError: if there is no finished build, the schema differs, or a shard is missing or
            truncated.
        """
        manifest, path = cls.load(records), storage.join(records, FILE)
        manifest.require_usable(path)
        if schema is not None:
            require_same(manifest.fingerprint, schema, path)
        for split in manifest.splits.values():
            for shard in split.shards:
                _require_whole(storage.join(records, shard.name), shard)
        return manifest

    @classmethod
    def load(cls, records: str | Path) -> Manifest:
        """Load the manifest without further checks.

        Raises:
          InputError: if the manifest is missing or unreadable.
        """
        path = storage.join(records, FILE)
        if not storage.exists(path):
            raise InputError(
                f"{records}: no {FILE} found: not a folder of records, or its build did not finish"
            )
        content = files.read_json(path, "the manifest of the records")
        return yaml_files.validate(cls, content, path)

    def require_usable(self, path: str) -> None:
        """Check that splits, counts and options are complete, consistent and match the schema.

        Raises:
          InputError: if they are not, with `path` in the message; `check` also verifies
            the shards.
        """
        require_same(self.fingerprint, self.schema, path)
        yaml_files.validate(ImagePolicy, self.image_policy, f"{path}: image_policy")
        plan.from_manifest(self.build, path)
        if sorted(self.splits) != sorted(SPLITS):
            raise InputError(f"{path}: its splits are {list(self.splits)}, not {list(SPLITS)}")
        for name, split in self.splits.items():
            where = f"{path}: the split {name!r}"
            if list(split.labels) != self.schema.names:
                raise InputError(f"{where} counts labels of attributes other than the schema's")
            if sum(shard.records for shard in split.shards) != split.photos:
                raise InputError(
                    f"{where} has {split.photos:,} photos, but its shards have another number"
                )
            for attribute, counts in split.labels.items():
                if list(counts.present) != self.schema[attribute].values:
                    raise InputError(
                        f"{where} counts values of {attribute} other than the schema's"
                    )
                if counts.answered + counts.not_applicable + counts.missing != split.photos:
                    raise InputError(
                        f"{where} has {split.photos:,} photos, but its label counts of "
                        f"{attribute} have another sum"
                    )

    def summary(self, records: str | Path) -> str:
        """Return a summary of written and rejected rows, printed at the end of a build."""
        there = self.rows["already there"]
        lines = [
            f"{self.rows['read']:,} rows read = {self.rows['written']:,} written "
            + (f"+ {there:,} already there " if there else "")
            + f"+ {self.rows['rejected']:,} rejected",
            f"{self.photos['written']:,} photos written, {self.photos['rejected']:,} rejected",
        ]
        if self.label_issues:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.label_issues.items())
            lines.append(f"{sum(self.label_issues.values()):,} cells not used: {kinds}")
        for name, split in self.splits.items():
            lines.append(
                f"  {name}: {split.products:,} products, {split.photos:,} photos, "
                f"{len(split.shards):,} shards"
            )
        if self.near_duplicates:
            kinds = ", ".join(f"{n:,} of {split}" for split, n in self.near_duplicates.items())
            lines.append(f"photos that resemble a training photo: {kinds}")
        lines.append(
            f"in {records}: report.html (coverage), rejects.csv, label_issues.csv and "
            "near_duplicates.csv (by row), index/ (by photo)"
        )
        return "\n".join(lines)

    def split(self, name: str) -> Split:
        """Return a split with at least one photo.

        Raises:
          InputError: if there is no such split, naming the existing ones, or if it is empty.
        """
        if name not in self.splits:
            raise InputError(
                f"there is no split {name!r}{did_you_mean(name, self.splits)}; "
                f"the splits are {', '.join(self.splits)}"
            )
        if not self.splits[name].photos:
            raise InputError(f"the split {name!r} of the records is empty")
        return self.splits[name]

    def present(self, split: str) -> np.ndarray:
        """Return int64[V], the photos of a split with each value."""
        labels = self.splits[split].labels
        return np.array([n for name in labels for n in labels[name].present.values()], np.int64)

    def most_frequent(self, split: str) -> dict[str, str]:
        """Return the most frequent value of every attribute in a split."""
        labels = self.splits[split].labels
        return {name: max(c.present, key=lambda v: c.present[v]) for name, c in labels.items()}

    def has_soft_labels(self, split: str) -> bool:
        """Return whether photos of a split have soft labels of sources."""
        return any(counts.soft for counts in self.splits[split].labels.values())

    def frequencies(self, split: str) -> np.ndarray:
        """Return float64[V], the share of a split's known labels that are 1.

        If an attribute's unlisted values are missing, a value is known to be absent only on photos
        to which the attribute does not apply.
        """
        schema = self.schema
        present = self.present(split)
        known = np.zeros(schema.num_values, np.int64)
        for attribute, where in zip(schema.attributes, schema.slices.values()):
            counts = self.splits[split].labels[attribute.name]
            listed = present[where] if attribute.unlisted == "missing" else counts.answered
            known[where] = listed + counts.not_applicable
        return present / np.maximum(known, 1)


def count_by_attribute(
    schema: Schema,
    present: np.ndarray,
    states: np.ndarray,
    soft: np.ndarray,
) -> dict[str, Counts]:
    """Return the counts per attribute from totals.

    Args:
      present: int64[V], photos with each value.
      states: int64[T, 3], photos whose attribute is answered, not applicable and missing.
      soft: int64[T], photos whose attribute has soft labels.
    """
    return {
        attribute.name: Counts(
            present=dict(zip(attribute.values, present[schema.slices[attribute.name]].tolist())),
            answered=int(states[t, 0]),
            not_applicable=int(states[t, 1]),
            missing=int(states[t, 2]),
            soft=int(soft[t]),
        )
        for t, attribute in enumerate(schema.attributes)
    }


def _require_whole(path: str, shard: Shard) -> None:
    if not storage.exists(path):
        raise InputError(f"{path}: the shard is missing; build the records again")
    size = storage.size(path)
    if size != shard.bytes:
        raise InputError(
            f"{path}: the shard has {size:,} bytes, but the manifest says {shard.bytes:,}: "
            "truncated or changed; build the records again"
        )
