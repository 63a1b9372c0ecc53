"""The JSON files of a run, typed as far as later programs read them.

metrics.json and its details, learning_curve.json and model_card.json. Further keys are allowed and
kept unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Dict, List, Optional

import pydantic
from pydantic import Field

from attr_extractor import files, yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema
from attr_extractor.yaml_files import Count

METRICS = "metrics.json"
FileName = Annotated[str, Field(pattern=r"^[^/]+$")]  # in the run directory
Number = Optional[float]  # None if nothing was measured
Share = Annotated[float, Field(ge=0, le=1)]
Shares = List[Optional[Share]]
Ends = Annotated[List[float], Field(min_length=2, max_length=2)]  # of an interval


class JsonObject(pydantic.BaseModel):
    """An object in one of these files; it keeps keys that are not listed here."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Sections(pydantic.RootModel[Dict[str, Dict[str, Any]]]):
    """Content of metrics.json."""


class Figures(JsonObject):
    """Figures of a model for an attribute, or their mean."""

    score: Number
    interval: Optional[Ends]
    accuracy: Number = None
    coverage: Number = None
    answered_accuracy: Number = None
    most_frequent: Number = None
    most_frequent_given_category: Number = None
    macro_f1: Number = None


class AttributeFigures(Figures):
    """Figures of one attribute."""

    applicable: Count  # photos

    @pydantic.model_validator(mode="after")
    def _a_score_has_its_interval(self) -> AttributeFigures:
        if self.score is not None and (self.interval is None or self.most_frequent is None):
            raise ValueError("a score without interval or without that of the most frequent value")
        return self


class CategoryScore(JsonObject):
    """Score of one category, or of one attribute within it."""

    score: float
    photos: Count


class WorstCategory(CategoryScore):
    """One of the worst categories."""

    category: str


class WithoutNearDuplicates(JsonObject):
    """Figures without photos that resemble a training photo."""

    left_out: Count
    mean: Figures


class SplitFigures(JsonObject):
    """Section of metrics.json: a run measured on a split."""

    split: str
    photos: Count
    details: Optional[FileName] = None
    mean: Figures
    attributes: Dict[str, AttributeFigures]
    worst_categories: List[WorstCategory] = []
    without_near_duplicates: Optional[WithoutNearDuplicates] = None


class CategoryDetails(JsonObject):
    """One category in the details of a section."""

    attributes: Dict[str, CategoryScore]


class DetailsByCategory(JsonObject):
    """Details of a section, by category."""

    categories: Dict[str, CategoryDetails]


class TrunkWeights(JsonObject):
    """Origin of the trunk's weights before training; see `pretrained.WeightsSource`."""

    file: str
    sha256: str
    naming: str


class Training(JsonObject):
    """Section `training` of metrics.json."""

    seconds: Number = None
    parameters: Optional[Count] = None
    trunk_weights: Optional[TrunkWeights] = None  # None: random


class ApplicableCount(JsonObject):
    """Figures of an attribute that the cost of filling cells requires."""

    applicable: Count


class MeasuredForCosts(JsonObject):
    """Section of metrics.json, as far as the cost of filling cells requires it."""

    photos: Count
    thresholds: str  # their digest
    details: FileName
    attributes: Dict[str, ApplicableCount]


class RiskCurve(JsonObject):
    """Coverage and accuracy above each cut-off."""

    coverage: Shares
    accuracy: Shares


class AttributeRisk(JsonObject):
    """One attribute in the details of a section."""

    risk_coverage: RiskCurve


class Risks(JsonObject):
    """Details of a section, by attribute."""

    cut_offs: List[float]
    attributes: Dict[str, AttributeRisk]

    @pydantic.model_validator(mode="after")
    def _curves_have_all_cut_offs(self) -> Risks:
        for name, a in self.attributes.items():
            sizes = {len(a.risk_coverage.coverage), len(a.risk_coverage.accuracy)}
            if sizes != {len(self.cut_offs)}:
                raise ValueError(f"attributes.{name}: the length of a curve differs from cut_offs")
        return self


class ReliabilityDiagram(JsonObject):
    """Bins of a reliability diagram."""

    score: List[Share]
    right: List[Share]
    count: List[Count]


class Reliability(JsonObject):
    """Calibration error and reliability diagram of one attribute's scores."""

    ece: Number
    reliability: ReliabilityDiagram


class AttributeCalibration(JsonObject):
    """One attribute before and after calibration."""

    before: Reliability
    after: Reliability
    precision: Number
    recall: Number
    f1: Number
    coverage: Number


class CalibrationErrors(JsonObject):
    """Means over attributes."""

    ece_before: Number
    ece_after: Number


class SplitCalibration(JsonObject):
    """Results for one split in the section `calibration` of metrics.json."""

    mean: CalibrationErrors
    attributes: Dict[str, AttributeCalibration]


class Gain(JsonObject):
    """Estimated gain from more labels."""

    gain: float
    interval: Ends


class Gains(JsonObject):
    """Gains from twice as many labels and from a thousand more."""

    twice: Gain
    thousand: Optional[Gain]


class PowerLawFit(JsonObject):
    """Fit of a power law."""

    exponent: float = Field(ge=-100, le=100)
    error: float = Field(ge=0, le=100)
    gains: Gains


class CurvePoints(JsonObject):
    """Points of one attribute; the last one is for all labels."""

    labels: List[Annotated[int, Field(ge=1, lt=2**53)]] = Field(min_length=1)
    score: Shares = Field(min_length=1)
    fit: Optional[PowerLawFit]

    @pydantic.model_validator(mode="after")
    def _points_carry_the_fit(self) -> CurvePoints:
        if self.fit and None in self.score:
            raise ValueError("a fit without points")
        return self


class TrainingSize(JsonObject):
    """One of the trainings behind a learning curve."""

    photos: Count


class Curve(JsonObject):
    """Content of learning_curve.json."""

    weights_digest: Optional[str] = None  # of the last point, trained on all photos
    points: List[TrainingSize]
    attributes: Dict[str, CurvePoints]


class SplitSize(JsonObject):
    """Split in the model card."""

    products: Count
    photos: Count


class CardData(JsonObject):
    """Records in the model card."""

    records: str
    digest: str
    photo_short_side: Count
    build: Dict[str, Any]
    splits: Dict[str, SplitSize]
    near_duplicates: Dict[str, Count]


class Card(JsonObject):
    """Content of model_card.json, as far as the next model card reuses it."""

    data: Optional[CardData] = None
    entries: Dict[str, str] = {}


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """Return the sections of metrics.json; none if the file does not exist yet.

    Raises:
      InputError: if it is not JSON, or not sections by name.
    """
    path = run_dir / METRICS
    if not path.is_file():
        return {}
    content = files.read_json(path, "the run's metrics")
    yaml_files.validate(Sections, content, str(path))
    return dict(content)


def require_measured(section: Any, schema: Schema, origin: str) -> None:
    """Verify a section of a split; raise InputError naming `origin`."""
    figures = yaml_files.validate(SplitFigures, section, origin)
    require_attributes(figures.attributes, schema, origin)


def require_calibrated(section: dict[str, Any], schema: Schema, origin: str) -> None:
    """Verify the section `calibration`; raise InputError naming `origin`."""
    thresholds = yaml_files.validate(Thresholds, section.get("thresholds"), f"{origin}.thresholds")
    thresholds.check(schema, f"{origin}.thresholds")
    if thresholds.split not in section:
        raise InputError(f"{origin}: the split {thresholds.split!r} of its thresholds is missing")
    for split, results in section.items():
        if split not in ("thresholds", "weights_digest"):
            calibration = yaml_files.validate(SplitCalibration, results, f"{origin}.{split}")
            require_attributes(calibration.attributes, schema, f"{origin}.{split}")


def require_categories(details: Any, schema: Schema, origin: str) -> None:
    """Verify the details of a section by category; raise InputError naming `origin`."""
    by_category = yaml_files.validate(DetailsByCategory, details, origin)
    for category, scores in by_category.categories.items():
        for name in scores.attributes:
            if name not in schema.index:
                known = did_you_mean(name, schema.names)
                raise InputError(f"{origin}: {category}: {name!r} is not an attribute{known}")


def require_attributes(names: Iterable[str], schema: Schema, origin: str) -> None:
    """Raise InputError if `names` are not the schema's attributes."""
    if differ := sorted(set(names) ^ set(schema.names)):
        raise InputError(f"{origin}: its attributes differ from the schema's: {differ[0]!r}")
