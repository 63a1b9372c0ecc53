"""The model card of a run: model_card.json for programs, model_card.md for people.

Made of what the run directory and its records say, so evaluate.py and calibrate.py write it anew.
What only a person knows stands in model_card.md between two marks and is taken over each time, into
model_card.json as well. There is no date in it: the same run gives the same card.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attr_extractor import files, storage, yaml_files
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError, parsing
from attr_extractor.evaluation import model_card_text
from attr_extractor.records.manifest import FILE, Manifest
from attr_extractor.training import run_files
from attr_extractor.training.run_dir import RunDir

CARD = "model_card.json"
PAGE = "model_card.md"
ENTRIES = {  # what a person fills in, and what is asked
    "licence_of_photos": "Under which licence or agreement the photos were used",
    "licence_of_labels": "The same for the catalogue's table",
    "licence_of_model": "Under which licence the weights may be used, and by whom",
    "licence_of_pretrained_weights": "Licence of pretrained trunk weights, if any were used",
    "intended_use": "What answers of this model are used for, besides what is said below",
    "out_of_scope": "What they must not be used for",
    "contact": "Who answers questions",
}
FIGURES = ("score", "interval", "accuracy", "coverage", "answered_accuracy", "most_frequent")
MORE = ("most_frequent_given_category", "macro_f1")
WORST_CATEGORIES, WEAKEST = 10, 3
_ENTRY = re.compile(r"<!-- entry: (\w+) -->\n(.*?)\n?<!-- end -->", re.DOTALL)


def write(run: RunDir) -> dict[str, Any]:
    """Writes both files into the run, or anew with the entries that stand there; returns the card.

    Raises:
      InputError: the marks of an entry in model_card.md are damaged: text would be lost.
    """
    card, page = make(run)
    files.write_json(run.path / CARD, card)
    storage.write(run.path / PAGE, page.encode())
    return card


def make(run: RunDir) -> tuple[dict[str, Any], str]:
    """The card and its page, with the entries of those in the run; raises as `write` does.

    Figures measured on other weights than the run's present ones stay out.
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
    return card, model_card_text.render(card, ENTRIES, run.schema)


def _metrics(run: RunDir) -> dict[str, Any]:
    """The sections of metrics.json about the run's present weights, checked."""
    metrics, path = run.metrics_of(run.weights_digest), run.path / run_files.FILE
    for name, section in metrics.items():
        if name == "training":
            yaml_files.validate(run_files.Training, section, f"{path}: {name}")
        elif name == "calibration":
            run_files.require_calibrated(section, run.schema, f"{path}: {name}")
        else:
            run_files.require_measured(section, run.schema, f"{path}: {name}")
    return metrics


def _data(run: RunDir) -> dict[str, Any] | None:
    """Splits with their counts; None where the records are gone or others by now."""
    if not storage.exists(storage.join(run.records, FILE)):
        return None
    manifest = Manifest.load(run.records)
    if manifest.digest != run.origin.digest:
        return None
    return {
        "records": run.records.name,
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
    }


def _scores(run: RunDir, section: dict[str, Any]) -> dict[str, Any]:
    """What a card says of one evaluation."""
    keys = (*FIGURES, *MORE)
    mean = {key: section["mean"].get(key) for key in keys}
    found = {
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
        found["without_near_duplicates"] = {
            "left_out": block["left_out"],
            "score": block["mean"]["score"],
            "interval": block["mean"]["interval"],
        }
    return found


def _worst(run: RunDir, section: dict[str, Any]) -> list[dict[str, Any]]:
    """The worst categories with their weakest attributes."""
    worst = section.get("worst_categories", [])[:WORST_CATEGORIES]
    path = run.path / (section.get("details") or "")
    if not worst or not path.is_file():
        return worst
    content = files.read_json(path, "the details of the scores")
    run_files.require_categories(content, run.schema, str(path))
    found = []
    for category in worst:
        of_category = content["categories"].get(category["category"], {}).get("attributes", {})
        weakest = sorted(of_category, key=lambda name: of_category[name]["score"])[:WEAKEST]
        found.append({**category, "weakest": {name: of_category[name] for name in weakest}})
    return found


def _calibration(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Expected calibration errors before and after, per split."""
    section = metrics.get("calibration")
    if section is None:
        return None
    return {name: found["mean"] for name, found in section.items() if name in SPLITS}


def _entries(page: Path, before: dict[str, str]) -> dict[str, str]:
    """What a person wrote: in the page, else where it is missing what the card had."""
    if not page.is_file():
        return {name: before.get(name, "") for name in ENTRIES}
    with parsing(f"{page}: cannot be read as UTF-8 text"):
        text = page.read_text(encoding="utf-8")
    found = dict(_ENTRY.findall(text))
    unreadable = text.count("<!-- entry:") != len(found) or text.count("<!-- end -->") != len(found)
    if unreadable or found.keys() != ENTRIES.keys():
        raise InputError(
            f"{page}: the marks <!-- entry: NAME --> and <!-- end --> around the entries are "
            f"damaged; there must be one pair for each of {', '.join(ENTRIES)}"
        )
    return {
        name: "" if found[name].strip() == model_card_text.EMPTY else found[name].strip()
        for name in ENTRIES
    }
