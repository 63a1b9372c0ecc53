"""Compare a delivery with the records and write the result to a folder.

drift.html   a report page
drift.json   its figures; written last, so it marks a complete folder
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

import numpy as np
from absl import logging

from attr_extractor import files, storage, working_copy
from attr_extractor.catalogue import raw_files
from attr_extractor.enrichment.drift import aspects, delivery, embeddings, photos, reference
from attr_extractor.enrichment.drift.aspects import ASPECTS, EMBEDDING, LABELS, PHOTOS, SCORES
from attr_extractor.enrichment.drift.compare import (
    AUC,
    PSI,
    SHARE,
    Comparison,
    Permutations,
    judge,
)
from attr_extractor.enrichment.drift.report import DriftReport, render
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, require_same
from attr_extractor.serving import model_dir

PAGE, FIGURES = "drift.html", "drift.json"
LEAST_DRAWS = 2000
MOST_SAMPLE = 5000  # limits the size of a matrix product of embeddings
_BETWEEN = {"psi": (0, 10), "share": (0, 1), "auc": (0.5, 1), "alpha": (0.001, 1)}


@dataclass(frozen=True)
class DriftOptions:
    """What to compare, and the thresholds of drift."""

    aspects: Tuple[str, ...] = ()  # the flag --parts; empty: all available
    split: str = "validation"  # that photos are compared with
    sample: int = 2000  # products per side, with one photo each
    seed: int = 0
    psi: float = 0.2  # drift threshold beyond chance
    share: float = 0.02  # drift threshold of the increase
    auc: float = 0.7  # drift threshold
    alpha: float = 0.05  # probability of a false alarm, over all comparisons together

    def __post_init__(self) -> None:
        for aspect in self.aspects:
            if aspect not in ASPECTS:
                guess = did_you_mean(aspect, ASPECTS)
                raise InputError(f"--parts: {aspect!r} is not one of {', '.join(ASPECTS)}{guess}")
        if not 1 <= self.sample <= MOST_SAMPLE:
            raise InputError(f"--sample={self.sample}: must be between 1 and {MOST_SAMPLE:,}")
        for name, (low, high) in _BETWEEN.items():
            if not low < getattr(self, name) < high:
                given = f"--{name}={getattr(self, name):g}"
                raise InputError(f"{given}: must be above {low:g} and below {high:g}")

    @property
    def limits(self) -> dict[str, float]:
        """Drift threshold of the size beyond chance, by kind; half of it is worth a look."""
        return {PSI: self.psi, SHARE: self.share, AUC: self.auc - 0.5}

    def includes(self, aspect: str) -> bool:
        """Return whether an aspect is to be compared."""
        return not self.aspects or aspect in self.aspects


def drift(
    catalogue: str | Path,
    records: str | Path,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    model: str | Path | None = None,
    schema: str | Path | None = None,
    box_columns: Sequence[str] | None = None,
    options: DriftOptions | None = None,
) -> DriftReport:
    """Compare a delivery with records and write the output folder.

    Args:
      catalogue: the delivery's table.
      image_root: folder that its image paths are relative to; None: the table's folder.
      model: an exported model, for scores and embedding.
      schema: YAML file with the fingerprint of the records' schema, if the delivery has other
        column names or spellings.
      box_columns: four columns of the product box; None: those the records were built with.

    Raises:
      InputError: if an argument is invalid, or the output folder is not empty.
    """
    options = options or DriftOptions()
    manifest = Manifest.read(records)
    used = manifest.schema if schema is None else Schema.read(schema)
    require_same(manifest.fingerprint, used, str(records))
    exported = _load_model(model, manifest, options)
    if options.includes(PHOTOS) or exported is not None:
        manifest.split(options.split)  # must exist
    if box_columns is None:
        box_columns = manifest.build["box_columns"]
    root = raw_files.image_root_of(catalogue, image_root)
    with working_copy.new(output_dir, "--output_dir") as folder:
        table = delivery.read_delivery(catalogue, used, box_columns, options.sample, options.seed)
        report = _compare(table, records, manifest, used, root, exported, options)
        storage.write(folder / PAGE, render(report).encode())
        files.write_json(folder / FIGURES, report.as_json())
        return report


def _compare(
    table: delivery.Delivery,
    records: str | Path,
    manifest: Manifest,
    schema: Schema,
    image_root: str,
    model: Optional[model_dir.ExportedModel],
    options: DriftOptions,
) -> DriftReport:
    """Compare the aspects that the options include; scores and embedding only with a model."""
    sampled = [photo.product for photo in table.sample]
    trained = reference.read_training_split(records, manifest, sampled, options.seed)
    permutations = Permutations(_draws(schema, options), np.random.default_rng(options.seed))
    comparisons: list[Comparison] = []
    if options.includes(LABELS):
        comparisons += aspects.compare_labels(schema, trained.counts, table, permutations)
        usable = (manifest.rows["read"] - manifest.rows["rejected"], table.products)
        unknown = reference.read_unknown_values(records, manifest)
        comparisons += aspects.compare_unknown_values(schema, unknown, table.unknown, usable)
        comparisons.append(aspects.compare_rows(table, manifest.rows))
    delivered, distances = photos.DeliveredPhotos(), None
    if options.includes(PHOTOS) or model is not None:
        short_side = manifest.image_policy["short_side"]
        delivered = photos.read_photos(image_root, table.sample, short_side)
        stored = reference.read_stored_photos(
            records, manifest, options.split, options.sample, options.seed
        )
        before = photos.compute_features(
            [encoded for _, encoded in stored], model, f"inspecting {options.split}"
        )
        now = photos.compute_features(
            [encoded for _, encoded in delivered.stored], model, "inspecting the delivery"
        )
        if options.includes(PHOTOS):
            comparisons += aspects.compare_files(
                trained,
                delivered,
                manifest.photos["rejected"],
                manifest.photos["written"],
                permutations,
            )
            comparisons += aspects.compare_appearance(
                before.appearance, now.appearance, permutations
            )
        if model is not None and options.includes(SCORES):
            comparisons += aspects.compare_scores(
                model.answers, before.scores, now.scores, permutations
            )
        if model is not None and options.includes(EMBEDDING):
            sides = (before.embedding, now.embedding)
            comparisons += aspects.compare_embeddings(*sides, permutations)
            if len(before.embedding) > embeddings.NEIGHBOURS:
                distances = embeddings.measure_distances(*sides, delivered.stored)
    return DriftReport(
        schema_name=schema.name,
        schema=manifest.fingerprint,
        records=manifest.digest,
        rows=table.rows,
        products=table.products,
        rejects=dict(table.rejects.most_common()),
        split=options.split,
        cap_per_category=manifest.build["cap_per_category"],
        group_column=manifest.build["group_column"],
        train_products=manifest.splits[reference.TRAIN].products,
        sample=len(table.sample),
        sample_trained_on=trained.in_sample,
        photos_inspected=len(delivered.stored),
        photos_unreadable=len(delivered.rejects),
        seed=options.seed,
        alpha=options.alpha,
        limits=options.limits,
        comparisons=tuple(judge(comparisons, options.limits, options.alpha)),
        distances=distances,
    )


def _load_model(
    model: str | Path | None, manifest: Manifest, options: DriftOptions
) -> model_dir.ExportedModel | None:
    needs_model = [aspect for aspect in (SCORES, EMBEDDING) if aspect in options.aspects]
    if model is None:
        if needs_model:
            raise InputError(f"--parts={needs_model[0]}: requires an exported model; pass --model")
        return None
    if options.aspects and not needs_model:
        raise InputError(f"--model: not used by --parts={','.join(options.aspects)}")
    described = model_dir.describe(model)
    require_same(described.facts.fingerprint, manifest.schema, str(described.path))
    short_side = manifest.image_policy["short_side"]
    if described.facts.photo_short_side != short_side:
        raise InputError(
            f"{described.path}: trained on photos with a short side of "
            f"{described.facts.photo_short_side}, but the records have {short_side}; use the "
            "records it was trained on"
        )
    if described.facts.records not in ("", manifest.digest):
        logging.warning(
            "%s: trained on other records (digest %s) than these (digest %s); if the split %s "
            "contains photos that it was trained on, its scores may falsely appear to have drifted",
            *(described.path, described.facts.records, manifest.digest, options.split),
        )
    exported = model_dir.load(model)
    _ = exported.network  # an older export has none: raise before the output folder is created
    return exported


def _draws(schema: Schema, options: DriftOptions) -> int:
    """Return enough draws for the smallest p-value to be significant after adjustment."""
    comparisons = 5 * len(schema.attributes) + 12
    return max(LEAST_DRAWS, math.ceil(2 * comparisons / options.alpha))
