"""thresholds.json: per attribute the temperature and the threshold that its scores are read with.

A run begins with temperature 1 and the schema's thresholds; calibrate.py replaces the file. The
exported model carries the same content in its model.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Dict, Optional

import numpy as np
import pydantic
from absl import logging

from attr_extractor import files, yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import Schema, require_same

Score = Annotated[float, pydantic.Field(ge=0, le=1)]


class OfAttribute(yaml_files.Model):
    """How the scores of one attribute are read; a threshold of 1 is one that no score exceeds."""

    threshold: Score
    temperature: float = pydantic.Field(default=1.0, gt=0)  # divides the logits
    goal: str = ""  # what the thresholds were chosen for; empty: the schema's
    values: Dict[str, Score] = {}  # of values with their own threshold


class Thresholds(yaml_files.Model):
    """The content of thresholds.json."""

    fingerprint: str
    split: Optional[str] = None  # that temperatures and thresholds were chosen on, if any
    photos: int = 0  # of that split
    weights: str = ""  # digest of those they were calibrated on; empty: fit any
    attributes: Dict[str, OfAttribute]

    @classmethod
    def of_schema(cls, schema: Schema) -> Thresholds:
        """Temperature 1 and the schema's thresholds."""
        attributes = {a.name: OfAttribute(threshold=a.threshold) for a in schema.attributes}
        return cls(fingerprint=schema.fingerprint, attributes=attributes)

    @classmethod
    def read(cls, path: Path, schema: Schema) -> Thresholds:
        """The content of a run's thresholds.json.

        Raises:
          InputError: the file is damaged, of another schema, or lacks an attribute.
        """
        content = files.read_json(path, "the run's thresholds")
        try:
            found = yaml_files.validate(cls, content, str(path))
        except InputError as error:
            raise InputError(f"{error}; calibrate.py writes the file anew") from error
        found.check(schema, str(path))
        return found

    @property
    def calibrated(self) -> bool:
        """Whether they were chosen for certain weights, be it by an older version."""
        return bool(self.weights or self.split)

    @property
    def digest(self) -> str:
        """16 hex digits: other temperatures or thresholds, another digest."""
        held = self.model_dump_json(exclude={"weights"})
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def require_weights(self, digest: str, run_dir: Path) -> None:
        """Checks that thresholds belong to a run's weights; those of the schema fit any.

        Thresholds that an older version calibrated do not tell: they are taken with a warning.

        Raises:
          InputError: they were calibrated on other weights.
        """
        path, cure = run_dir / "thresholds.json", f"python tools/calibrate.py --run_dir={run_dir}"
        if not self.calibrated or self.weights == digest:
            return
        if self.weights:
            raise InputError(
                f"{path}: calibrated on other weights (digest {self.weights}) than weights.npz "
                f"beside it (digest {digest}): run {cure}"
            )
        logging.warning(
            "%s: calibrated by an older version, which did not note on which weights; if they are "
            "not the run's, run %s",
            *(path, cure),
        )

    def check(self, schema: Schema, origin: str) -> None:
        """Raises InputError naming `origin` where attributes or values are not the schema's."""
        require_same(self.fingerprint, schema, origin)
        for name in [*schema.names, *self.attributes]:
            if name not in self.attributes:
                raise InputError(f"{origin}: no threshold for the attribute {name!r}")
            if name not in schema.index:
                known = did_you_mean(name, schema.names)
                raise InputError(f"{origin}: {name!r} is no attribute of the schema{known}")
            for value in self.attributes[name].values:
                if value not in schema[name].values:
                    known = did_you_mean(value, schema[name].values)
                    raise InputError(f"{origin}: {value!r} is no value of {name}{known}")

    def per_value(self, schema: Schema) -> np.ndarray:
        """float32 [V]: each value's own threshold, or its attribute's."""
        return np.array(
            [
                self.attributes[attribute.name].values.get(
                    value, self.attributes[attribute.name].threshold
                )
                for attribute in schema.attributes
                for value in attribute.values
            ],
            np.float32,
        )

    def temperatures(self, schema: Schema) -> np.ndarray:
        """float32 [V]: the temperature of each value's attribute."""
        of_attributes = [self.attributes[name].temperature for name in schema.names]
        return np.repeat(np.array(of_attributes, np.float32), schema.sizes)
