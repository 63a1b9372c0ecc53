"""Evaluation of a trained run on a split: metrics.json, its details, report.html, model card."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor import files, storage
from attr_extractor.errors import InputError
from attr_extractor.evaluation import (
    baselines,
    context,
    gates,
    learning_curve,
    model_card,
    predictions,
    report,
    scores,
)
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.example_photos import (
    EXAMPLES,
    ConfusedPhotos,
    ExamplePhoto,
    collect_examples,
)
from attr_extractor.evaluation.explain import heat_map, told
from attr_extractor.evaluation.explain.explainer import Explainer, find_value
from attr_extractor.evaluation.report import DrawHeat, ReportExtras
from attr_extractor.evaluation.scores import Contender
from attr_extractor.model.evidence import KNOWN, TEXT
from attr_extractor.records import dataset, near_duplicates
from attr_extractor.records import manifest as manifests
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import SEPARATOR, require_same
from attr_extractor.training import run_files, tracking
from attr_extractor.training.run_dir import RunDir


def evaluate(
    run_dir: str | Path,
    split: str = "test",
    records: str | Path | None = None,
    other_dir: str | Path | None = None,
    require: str = "",
    use: Sequence[str] = (context.PHOTO,),
) -> dict[str, Any]:
    """Evaluate a run on a split; write metrics, a report and the model card into the run.

    The report on the run's own test split is `report.html`, others are `report_SPLIT.html`.

    `metrics.json` gets the figures; `metrics_SPLIT_details.json` the long tables by value and
    category (see `scores.measure` for the contents of each). If the records list the photos that
    resemble a training photo, the score without them is reported as well.

    Args:
      records: records to use instead of the run's own; must have the same schema. The names of the
        figures and the report then include the folder's name; those of the run's own are kept.
      other_dir: a run to compare with, on the same photos.
      use: inputs: "photo" and, if the network reads them, "known" and "text". The names of the
        figures and the report then include those besides the photo.
      require: requirements, see `gates`; `failed_requirements` has a line for each figure that
        does not meet its requirement.

    Raises:
      InputError: if there is no trained run, the records have another schema, the split is empty,
        the other run cannot be compared, or a requirement is invalid.
    """
    with RunDir.owned(run_dir) as run:
        return _evaluate(run, split, records, other_dir, require, use)


def _evaluate(
    run: RunDir,
    split: str,
    records: str | Path | None,
    other_dir: str | Path | None,
    require: str,
    use: Sequence[str],
) -> dict[str, Any]:
    inputs = context.names_of(use, run.config.model.context.names, str(run.path))
    manifest = run.manifest(records)
    folder = str(records or run.records)
    manifest.split(split)  # fails before the network is built
    other = _read_other(other_dir, run, on_own_records=not records) if other_dir else None
    similar = _similar(run, folder, manifest, split)
    usual = MostFrequent.of(run.schema, run.origin.most_frequent)
    nothing, _ = scores.Measurement(run.schema, usual, similar, other is not None).result()
    requirements = gates.parse(require, gates.figures(nothing))

    usual = _given_category(run, folder, manifest, usual)
    contender = Contender(run.scoring().scores_of, run.answers())
    predicted, compared = predictions.predict(run, split, records), None
    predicted = context.in_context(predicted, run, records, inputs)
    if other is not None:
        rules = Contender(other.scoring().scores_of, other.answers())
        of_other = predictions.predict(other, split, folder, home=run.path)
        both = context.names_of(use, other.config.model.context.names, str(other.path))
        compared = rules, context.in_context(of_other, other, folder, both).blocks()
    measured, details = scores.measure(contender, predicted.blocks(), usual, similar, compared)
    with dataset.readable(folder):
        confused = ConfusedPhotos(run.schema)
        for batch in predictions.with_pixels(predicted, folder, manifest, run.config.data):
            answered = contender.answer(batch["logits"])
            confused.add(batch, batch["labels"].numpy(), answered.chosen)
        batches = predictions.with_pixels(predicted, folder, manifest, run.config.data)
        examples = collect_examples(contender.scores_of, batches, contender.answers)
        explainer = Explainer(run)
        if inputs:
            first = next(iter(dataset.label_batches(folder, manifest, split, EXAMPLES)))
            texts = [text.decode() for text in first["text"].numpy()]
            examples = [_told(*each, inputs, explainer) for each in zip(examples, texts)]

    suffix = f"_{storage.file_name(storage.resolve(folder))}" if records else ""
    suffix += f"_with_{'_'.join(inputs)}" if inputs else ""
    measured = {
        "split": split,
        "records": folder,
        "use": [context.PHOTO, *inputs],
        "weights_digest": run.weights_digest,
        "thresholds": run.thresholds().digest,
        **measured,
    }
    measured["details"] = f"metrics_{split}{suffix}_details.json"
    own_test = split == "test" and not suffix
    measured["report"] = "report.html" if own_test else f"report_{split}{suffix}.html"
    if other_dir:
        measured["comparison"] = {"run": os.fspath(other_dir), **measured["comparison"]}
    if requirements:
        figures = gates.figures(measured)
        failed = [line for r in requirements for line in r.failures(figures)]
        measured["failed_requirements"] = failed
    files.write_json(run.path / measured["details"], details)
    run.update_metrics(split + suffix, measured)
    extras = ReportExtras(examples, confused, heat=_draw_heat(explainer))
    if not records:
        curve = learning_curve.read(run)
        calibration = None if inputs else _calibration(run, split)  # it is of the photo alone
        extras = extras._replace(calibration=calibration, learning_curve=curve)
        if manifest.digest == run.origin.digest:
            extras = extras._replace(training=manifest)
    page = report.render(run.config.name, run.schema, measured, details, extras)
    storage.write(run.path / measured["report"], page.encode())
    model_card.write_card(run)
    with tracking.continued(run) as tracker:
        names = (run_files.METRICS, measured["report"], model_card.PAGE)
        tracker.log_section(split + suffix, names)
    return measured


def _read_other(path: str | Path, run: RunDir, on_own_records: bool) -> RunDir:
    """Read the run that `run` is compared with.

    Args:
      on_own_records: whether the split belongs to the records of `run`.

    Raises:
      InputError: if `path` is not a run directory, its schema differs, or `on_own_records` is
        true and the second run was trained on other records.
    """
    other = RunDir.read(path)
    require_same(other.schema.fingerprint, run.schema, f"{path}: the run to compare with")
    if on_own_records and other.origin.digest != run.origin.digest:
        raise InputError(
            f"{path}: trained on other records ({other.records}) than {run.path}, so photos of "
            "this split may have been in its training split; pass --records with records that "
            "neither run was trained on"
        )
    return other


def _told(
    example: ExamplePhoto, text: str, inputs: Sequence[str], explainer: Explainer
) -> ExamplePhoto:
    """Return a photo with `told_by` of its answers, from the inputs that the answers use."""
    cells = {a.attribute: SEPARATOR.join(a.labelled) for a in example.answers if a.labelled}
    context_of_photo = explainer.told(
        cells if KNOWN in inputs else {}, text if TEXT in inputs else ""
    )
    answers = []
    for answer in example.answers:
        if answer.answered:
            value = find_value(explainer.schema, answer.attribute, answer.answered[0])
            assert value is not None  # an answer is one of the schema's values
            shares = context_of_photo.shares(value)
            answer = dataclasses.replace(answer, told_by=told.as_text(shares))
        answers.append(answer)
    return dataclasses.replace(example, answers=answers)


def _draw_heat(explainer: Explainer) -> DrawHeat:
    def draw(photo: np.ndarray, attribute: str, value: str) -> np.ndarray:
        return heat_map.overlay(photo, explainer.heat(photo, attribute, value))

    return draw


def _calibration(run: RunDir, split: str) -> dict[str, Any] | None:
    """Return the results of the calibration, on this split if measured; None without one."""
    section = run.metrics_of(run.weights_digest).get("calibration")
    if section is None:
        return None
    run_files.require_calibrated(
        section, run.schema, f"{run.path / run_files.METRICS}: calibration"
    )
    split = split if split in section else section["thresholds"]["split"]
    return {"thresholds": section["thresholds"], "split": split, "measured": section[split]}


def _similar(
    run: RunDir, folder: str, manifest: Manifest, split: str
) -> set[tuple[str, int]] | None:
    """Return the photos of a split that resemble a training photo of the run; None if unknown."""
    if split == "train" or manifest.digest != run.origin.digest:
        return None  # the list compares held-out photos with the training photos of its own build
    rows = near_duplicates.read(folder)
    if rows is None:
        return None
    return {(row.product_id, row.image_index) for row in rows if row.split == split}


def _given_category(
    run: RunDir, folder: str, manifest: Manifest, usual: MostFrequent
) -> MostFrequent:
    """Add counts by category from the run's training photos; return `usual` if they are missing."""
    if manifest.digest != run.origin.digest:
        folder = run.records
        if not storage.exists(storage.join(folder, manifests.FILE)):
            return usual
        manifest = Manifest.load(folder)
        if manifest.digest != run.origin.digest:
            return usual
    with dataset.readable(folder):
        batches = dataset.label_batches(folder, manifest, "train").as_numpy_iterator()
        return baselines.count(run.schema, usual, (batch["labels"] for batch in batches))
