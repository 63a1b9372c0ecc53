"""A model card as Markdown: generated facts, and marked entries that a person fills in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from attr_extractor.evaluation.words import figure, interval
from attr_extractor.schema import Schema

EMPTY = "_to fill in_"


def render(card: Mapping[str, Any], entries: Mapping[str, str], schema: Schema) -> str:
    """Render the page.

    Args:
      card: the content of model_card.json.
      entries: names and headings of the entries that a person fills in.
    """
    training, shape = card["training"], card["schema"]
    parts = [
        f"# Model card: {card['name']}",
        "Generated from the run by evaluate.py and calibrate.py. Edit only the text between the "
        "markers `entry` and `end`; it is kept. Machine-readable version: model_card.json.",
        "## Licences and use",
        *(
            f"**{asked}**\n\n<!-- entry: {name} -->\n{card['entries'][name] or EMPTY}\n<!-- end -->"
            for name, asked in entries.items()
        ),
        "## What it does",
        f"Predicts {shape['attributes']} attributes with {shape['values']:,} values from one "
        f"fashion photo (schema {_cell(shape['name'])}, fingerprint `{shape['fingerprint']}`): "
        f"{', '.join(_cell(a.title()) for a in schema.attributes)}. An attribute whose score is "
        "not above its threshold gets no answer.",
        "## Data",
        *_data(card["data"]),
        "## Training",
        _table(
            ("", ""),
            [
                ("Hardware", training.get("hardware", "not recorded")),
                ("Wall time", _time(training.get("seconds"))),
                ("Photos per second", training.get("images_per_second", "not recorded")),
                ("Parameters", _count(training.get("parameters"))),
                ("Weights", training.get("weights", "not recorded")),
                ("TensorFlow", training.get("tensorflow", "not recorded")),
            ],
        ),
        "## Scores",
        *(_scores(name, found, schema) for name, found in card["scores"].items()),
        *([] if card["scores"] else ["Not evaluated yet."]),
        "## Calibration and thresholds",
        *_thresholds(card, schema),
        "## Limits",
        *_limits(card, schema),
        "## Recipe",
        f"```yaml\n{yaml.safe_dump(card['recipe'], sort_keys=False)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _data(data: Mapping[str, Any] | None) -> list[str]:
    if data is None:
        return ["The training records are missing."]
    splits = [
        (name, _count(s["products"]), _count(s["photos"])) for name, s in data["splits"].items()
    ]
    build = ", ".join(f"{name} {value}" for name, value in data["build"].items() if value)
    near = sum(data["near_duplicates"].values())
    return [
        f"Records {_cell(data['records'])}, digest `{data['digest']}`; photos stored with a "
        f"short side of {data['photo_short_side']} pixels. Built with: {_cell(build)}. Held-out "
        f"photos that resemble a training photo: {near:,}.",
        _table(("Split", "Products", "Photos"), splits),
    ]


def _scores(name: str, found: Mapping[str, Any], schema: Schema) -> str:
    rows = sorted(found["attributes"].items(), key=lambda item: -(item[1]["score"] or 0.0))
    named = [(schema[attribute].title(), a) for attribute, a in rows]
    lines = [
        (
            _cell(title),
            figure(a["score"]),
            interval(a["interval"]),
            *(figure(a[k]) for k in ("most_frequent", "accuracy", "coverage", "macro_f1")),
            _count(a.get("photos")),
        )
        for title, a in [*named, ("mean", {**found["mean"], "photos": found["photos"]})]
    ]
    head = ("Attribute", "Score", "95 % interval", "Most frequent value", "Accuracy of best value")
    parts = [
        f"### {name}: {found['photos']:,} photos",
        "Score: intersection over union of answered and true values (equation 2 of the paper), "
        "computed over photos to which the attribute applies and whose label is known."
        + " Measured with other thresholds than those below: run evaluate.py again."
        * found["thresholds_since_changed"],
        _table((*head, "Answered", "Macro F1", "Photos"), lines),
    ]
    if "without_near_duplicates" in found:
        block = found["without_near_duplicates"]
        parts.append(
            f"Without the {block['left_out']:,} photos that resemble a training photo: "
            f"{figure(block['score'])} ({interval(block['interval'])})."
        )
    if found["worst_categories"]:
        worst = [
            (
                _cell(c["category"]),
                figure(c["score"]),
                _count(c["photos"]),
                ", ".join(
                    f"{_cell(schema[n].title())} {figure(a['score'])} ({a['photos']:,})"
                    for n, a in c.get("weakest", {}).items()
                ),
            )
            for c in found["worst_categories"]
        ]
        columns = ("Weakest categories", "Score", "Photos", "Weakest attributes (photos)")
        parts.append(_table(columns, worst))
    return "\n\n".join(parts)


def _thresholds(card: Mapping[str, Any], schema: Schema) -> list[str]:
    chosen, errors = card["thresholds"], card["calibration"]
    text = "Not calibrated: temperature 1 and the thresholds of the schema."
    if errors is not None:
        found = "; ".join(
            f"on {split} {figure(mean['ece_before'])} before, {figure(mean['ece_after'])} after"
            for split, mean in errors.items()
        )
        text = f"Chosen on {chosen['split']}. Expected calibration error, mean: {found}."
    rows = [
        (
            _cell(schema[name].title()),
            f"{a['temperature']:.3f}",
            f"{a['threshold']:.3f}",
            a["goal"] or "the schema's",
            _count(len(a["values"])),
        )
        for name, a in chosen["attributes"].items()
    ]
    head = ("Attribute", "Temperature", "Threshold", "Goal", "Values with their own threshold")
    return [text, _table(head, rows)]


def _limits(card: Mapping[str, Any], schema: Schema) -> list[str]:
    """Return the general limits, and those that follow from the figures."""
    lines = [
        "The model knows only the values of its schema; a garment with none of them gets the most "
        "probable value or no answer.",
        "Photos unlike those of its catalogue (other cameras, several garments, drawings) are not "
        "covered by the scores above.",
        "Labels were written by sellers; their errors count as errors of the model in the scores.",
    ]
    for name, found in card["scores"].items():
        attributes = found["attributes"].items()
        unknown = [schema[n].title() for n, a in attributes if a["score"] is None]
        useless = [
            schema[n].title()
            for n, a in attributes
            if a["score"] is not None and a["interval"][0] <= a["most_frequent"]
        ]
        if unknown:
            lines.append(f"On {name}, no labels are known for: {', '.join(map(_cell, unknown))}.")
        if useless:
            lines.append(
                f"On {name}, not significantly better than always the most frequent value: "
                f"{', '.join(map(_cell, useless))}."
            )
    return ["\n".join(f"- {line}" for line in lines)]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Escape text of a catalogue: it must not break a table or be read as Markdown or HTML."""
    for sign in "\\`*_{}[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
