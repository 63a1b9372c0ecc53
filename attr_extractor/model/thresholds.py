"""thresholds.json: the temperature and the threshold that apply to each attribute's scores.

A run starts with temperature 1 and the schema's thresholds; calibrating replaces the file. The
exported model contains the same content in its model.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Dict, Optional

import numpy as np
import pydantic
from absl import logging

from attr_extractor import files, yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import Schema, require_same

Score = Annotated[float, pydantic.Field(ge=0, le=1)]


class OfAttribute(yaml_files.Model):
    """Temperature and thresholds of one attribute; no score exceeds a threshold of 1."""

    threshold: Score
    temperature: float = pydantic.Field(default=1.0, gt=0)  # divides the logits
    trust: float = pydantic.Field(default=1.0, ge=0)  # factor of the evidence besides the photo
    goal: str = ""  # calibration goal of the thresholds; empty: they are the schema's
    values: Dict[str, Score] = {}  # thresholds of the values that have their own


class Thresholds(yaml_files.Model):
    """Content of thresholds.json."""

    fingerprint: str
    split: Optional[str] = None  # used for calibration, if any
    photos: int = 0  # in that split
    weights: str = ""  # digest of the weights used for calibration; empty: valid for any
    attributes: Dict[str, OfAttribute]

    @classmethod
    def of_schema(cls, schema: Schema) -> Thresholds:
        """Return temperature 1 and the schema's thresholds."""
        attributes = {a.name: OfAttribute(threshold=a.threshold) for a in schema.attributes}
        return cls(fingerprint=schema.fingerprint, attributes=attributes)

    @classmethod
    def read(cls, path: Path, schema: Schema) -> Thresholds:
        """Read a run's thresholds.json.

        Raises:
          InputError: if the file is damaged or of another schema, or an attribute is missing.
        """
        content = files.read_json(path, "the run's thresholds")
        try:
            thresholds = yaml_files.validate(cls, content, str(path))
        except InputError as error:
            raise InputError(f"{error}; attr-extractor calibrate rewrites the file") from error
        thresholds.check(schema, str(path))
        return thresholds

    @property
    def calibrated(self) -> bool:
        """Return whether they were calibrated on specific weights, also by an older version."""
        return bool(self.weights or self.split)

    @property
    def digest(self) -> str:
        """Return 16 hex digits that depend on the temperatures and thresholds."""
        without: dict[str, Any] = {"weights": True}
        if all(each.trust == 1.0 for each in self.attributes.values()):  # as in older files
            without["attributes"] = {"__all__": {"trust"}}
        content = self.model_dump_json(exclude=without)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def require_weights(self, digest: str, run_dir: Path) -> None:
        """Verify that the thresholds belong to a run's weights; the schema's are valid for any.

        Thresholds calibrated by an older version do not record the weights: they are accepted with
        a warning.

        Raises:
          InputError: if they were calibrated on other weights.
        """
        path, cure = run_dir / "thresholds.json", f"attr-extractor calibrate --run_dir={run_dir}"
        if not self.calibrated or self.weights == digest:
            return
        if self.weights:
            raise InputError(
                f"{path}: calibrated on other weights (digest {self.weights}) than weights.npz "
                f"in the same folder (digest {digest}): run {cure}"
            )
        logging.warning(
            "%s: calibrated by an older version that did not record the weights; if they are not "
            "the run's, run %s",
            *(path, cure),
        )

    def check(self, schema: Schema, origin: str) -> None:
        """Raise InputError naming `origin` if attributes or values are not the schema's."""
        require_same(self.fingerprint, schema, origin)
        for name in [*schema.names, *self.attributes]:
            if name not in self.attributes:
                raise InputError(f"{origin}: no threshold for the attribute {name!r}")
            if name not in schema.index:
                known = did_you_mean(name, schema.names)
                raise InputError(f"{origin}: {name!r} is not an attribute of the schema{known}")
            for value in self.attributes[name].values:
                if value not in schema[name].values:
                    known = did_you_mean(value, schema[name].values)
                    raise InputError(f"{origin}: {value!r} is not a value of {name}{known}")

    def with_trust(self, trust: Dict[str, float]) -> Thresholds:
        """Return the same thresholds with other factors of the evidence, by attribute."""
        attributes = {
            name: of.model_copy(update={"trust": trust[name]})
            for name, of in self.attributes.items()
        }
        return self.model_copy(update={"attributes": attributes})

    def per_value(self, schema: Schema) -> np.ndarray:
        """Return each value's own threshold, or its attribute's: float32 [V]."""
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
        """Return the temperature of each value's attribute: float32 [V]."""
        return self._repeated("temperature", schema)

    def trust(self, schema: Schema) -> np.ndarray:
        """Return the factor of the evidence for each value: float32 [V]."""
        return self._repeated("trust", schema)

    def _repeated(self, key: str, schema: Schema) -> np.ndarray:
        of_attributes = [getattr(self.attributes[name], key) for name in schema.names]
        return np.repeat(np.array(of_attributes, np.float32), schema.sizes)
