"""The model card of a run: model_card.json for programs, model_card.md for people.

The Markdown is the template web/templates/model_card.md. The card is generated from the run
directory and its records, so `evaluate` and `calibrate` rewrite it. Entries written by a person
are between markers in model_card.md; they are kept and copied into model_card.json. The card
contains no date: the same run gives the same card.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from attr_extractor import files, storage, yaml_files
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError, parsing
from attr_extractor.records.manifest import FILE, Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import run_files
from attr_extractor.training.run_dir import RunDir
from attr_extractor.web import pages

CARD = "model_card.json"
PAGE = "model_card.md"
ENTRIES = {  # entries that a person fills in, and their headings
    "licence_of_photos": "Licence or agreement under which the photos were used",
    "licence_of_labels": "Licence or agreement under which the catalogue's table was used",
    "licence_of_model": "Licence of the weights, and who may use them",
    "licence_of_pretrained_weights": "Licence of pretrained trunk weights, if any were used",
    "intended_use": "Intended use, in addition to the description below",
    "out_of_scope": "Uses that are out of scope",
    "contact": "Contact for questions",
}
EMPTY = "_to fill in_"
FIGURES = ("score", "interval", "accuracy", "coverage", "answered_accuracy", "most_frequent")
MORE = ("most_frequent_given_category", "macro_f1")
WORST_CATEGORIES, WEAKEST = 10, 3
_ENTRY = re.compile(r"<!-- entry: (\w+) -->\n(.*?)\n?<!-- end -->", re.DOTALL)


def write_card(run: RunDir) -> dict[str, Any]:
    """Write both files into the run, keeping the entries in model_card.md; return the card.

    Raises:
      InputError: if an entry's markers in model_card.md are damaged, because text would be lost.
    """
    card, page = make_card(run)
    files.write_json(run.path / CARD, card)
    storage.write(run.path / PAGE, page.encode())
    return card


def make_card(run: RunDir) -> tuple[dict[str, Any], str]:
    """Return the card and its page, with the entries of the run's card.

    Figures measured with other weights than the run's current ones are left out.

    Raises:
      InputError: see `write_card`.
    """
    path = run.path / CARD
    before = files.read_json(path, "the model card") if path.is_file() else {}
    yaml_files.validate(run_files.Card, before, str(path))
    metrics = _metrics(run)
    card = {
        "name": run.config.name,
        "schema": {
            "name": run.schema.name,
            "fingerprint": run.schema.fingerprint,
            "attributes": len(run.schema.attributes),
            "values": run.schema.num_values,
        },
        "data": _data(run) or before.get("data"),
        "recipe": run.config.model_dump(mode="json"),
        "training": metrics.get("training", {}),
        "scores": {
            name: _scores(run, section)
            for name, section in metrics.items()
            if name not in ("training", "calibration")
        },
        "calibration": _calibration(metrics),
        "thresholds": run.thresholds().model_dump(),
        "entries": _entries(run.path / PAGE, before.get("entries", {})),
    }
    page = pages.render_markdown(
        "model_card.md",
        card=card,
        schema=run.schema,
        headings=ENTRIES,
        empty=EMPTY,
        scores=[_score_table(run.schema, *section) for section in card["scores"].items()],
        recipe=yaml.safe_dump(card["recipe"], sort_keys=False),
    )
    return card, page


class ScoreTable(NamedTuple):
    """A section of scores in model_card.md."""

    name: str
    content: dict[str, Any]  # see `_scores`
    rows: list[tuple[str, dict[str, Any]]]  # title and figures, best first, the mean last
    unlabelled: list[str]  # titles of attributes without a known label
    no_better: list[str]  # and of those not significantly better than the most frequent value


def _score_table(schema: Schema, name: str, content: dict[str, Any]) -> ScoreTable:
    attributes = [(schema[key].title(), a) for key, a in content["attributes"].items()]
    rows = sorted(attributes, key=lambda item: -(item[1]["score"] or 0.0))
    rows.append(("mean", {**content["mean"], "photos": content["photos"]}))
    unlabelled = [title for title, a in attributes if a["score"] is None]
    no_better = [
        title
        for title, a in attributes
        if a["score"] is not None and a["interval"][0] <= a["most_frequent"]
    ]
    return ScoreTable(name, content, rows, unlabelled, no_better)


def _metrics(run: RunDir) -> dict[str, Any]:
    """Return the validated sections of metrics.json that belong to the run's current weights."""
    metrics, path = run.metrics_of(run.weights_digest), run.path / run_files.METRICS
    for name, section in metrics.items():
        if name == "training":
            yaml_files.validate(run_files.Training, section, f"{path}: {name}")
        elif name == "calibration":
            run_files.require_calibrated(section, run.schema, f"{path}: {name}")
        else:
            run_files.require_measured(section, run.schema, f"{path}: {name}")
    return metrics


def _data(run: RunDir) -> dict[str, Any] | None:
    """Return the splits with their counts; None if the records are missing or have changed."""
    if not storage.exists(storage.join(run.records, FILE)):
        return None
    manifest = Manifest.load(run.records)
    if manifest.digest != run.origin.digest:
        return None
    return {
        "records": storage.file_name(run.records),
        "digest": manifest.digest,
        "photo_short_side": run.origin.photo_short_side,
        "build": manifest.build,
        "splits": {
            name: {
                "products": split.products,
                "photos": split.photos,
                "answered": {a: counts.answered for a, counts in split.labels.items()},
                "missing": {a: counts.missing for a, counts in split.labels.items()},
            }
            for name, split in manifest.splits.items()
        },
        "near_duplicates": manifest.near_duplicates,
        # photos of the training split by attribute, and products by attribute and source
        "soft_labels": {a: c.soft for a, c in manifest.splits["train"].labels.items() if c.soft},
        "sources": manifest.sources,
    }


def _scores(run: RunDir, section: dict[str, Any]) -> dict[str, Any]:
    """Return the card's section about one evaluation."""
    keys = (*FIGURES, *MORE)
    mean = {key: section["mean"].get(key) for key in keys}
    card_section = {
        "split": section["split"],
        "photos": section["photos"],
        "thresholds_since_changed": section.get("thresholds") != run.thresholds().digest,
        "mean": mean,
        "attributes": {
            name: {**{key: a.get(key) for key in keys}, "photos": a["applicable"]}
            for name, a in section["attributes"].items()
        },
        "worst_categories": _worst(run, section),
    }
    if block := section.get("without_near_duplicates"):
        card_section["without_near_duplicates"] = {
            "left_out": block["left_out"],
            "score": block["mean"]["score"],
            "interval": block["mean"]["interval"],
        }
    return card_section


def _worst(run: RunDir, section: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the worst categories with their weakest attributes."""
    worst = section.get("worst_categories", [])[:WORST_CATEGORIES]
    path = run.path / (section.get("details") or "")
    if not worst or not path.is_file():
        return worst
    content = files.read_json(path, "the details of the scores")
    run_files.require_categories(content, run.schema, str(path))
    with_attributes = []
    for category in worst:
        of_category = content["categories"].get(category["category"], {}).get("attributes", {})
        weakest = sorted(of_category, key=lambda name: of_category[name]["score"])[:WEAKEST]
        with_attributes.append(
            {**category, "weakest": {name: of_category[name] for name in weakest}}
        )
    return with_attributes


def _calibration(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return expected calibration errors before and after, per split."""
    section = metrics.get("calibration")
    if section is None:
        return None
    return {name: result["mean"] for name, result in section.items() if name in SPLITS}


def _entries(page: Path, before: dict[str, str]) -> dict[str, str]:
    """Return the entries of the page, or those of the card if the page is missing."""
    if not page.is_file():
        return {name: before.get(name, "") for name in ENTRIES}
    with parsing(f"{page}: cannot be read as UTF-8 text"):
        text = page.read_text(encoding="utf-8")
    entries = dict(_ENTRY.findall(text))
    unreadable = text.count("<!-- entry:") != len(entries) or text.count("<!-- end -->") != len(
        entries
    )
    if unreadable or entries.keys() != ENTRIES.keys():
        raise InputError(
            f"{page}: the markers <!-- entry: NAME --> and <!-- end --> around the entries are "
            f"damaged; there must be one pair for each of {', '.join(ENTRIES)}"
        )
    return {
        name: "" if entries[name].strip() == EMPTY else entries[name].strip() for name in ENTRIES
    }
