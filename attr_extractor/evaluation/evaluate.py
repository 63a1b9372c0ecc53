"""A trained run on a split: metrics.json, the table on the screen, report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attr_extractor.evaluation import report, samples, scores
from attr_extractor.records import dataset, near_duplicates
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir


def evaluate(
    run_dir: str | Path, split: str = "test", records: str | Path | None = None
) -> dict[str, Any]:
    """Measures a run on a split and writes `metrics.json` and `report.html` into the run.

    Where the records list the photos that resemble a training photo, the score without them
    stands beside the score.

    Args:
      records: records of the same schema instead of the run's own; figures and report then carry
        their folder's name, beside the run's own.

    Raises:
      InputError: no trained run there, records of another schema, or an empty split.
    """
    run = RunDir.read(run_dir)
    manifest = run.manifest(records)
    folder = Path(records) if records else run.records
    manifest.split(split)  # fails before the network is built
    similar = _similar(run, folder, manifest, split)
    network = run.load_network()
    batches = dataset.evaluation_batches(folder, manifest, run.config.data, split)
    answers = run.answers()
    baseline = scores.always(run.schema, run.origin.most_frequent)
    with dataset.readable(folder):
        measured = scores.measure(network.flat_scores, batches, answers, baseline, similar)
        shown = samples.collect(network.flat_scores, batches, answers)
    measured = {"split": split, "records": str(folder), **measured}
    suffix = f"_{folder.resolve().name}" if records else ""
    run.update_metrics(split + suffix, measured)
    page = report.render(run.config.name, run.schema, measured, shown)
    (run.path / f"report{suffix}.html").write_text(page, encoding="utf-8")
    return measured


def _similar(
    run: RunDir, folder: Path, manifest: Manifest, split: str
) -> set[tuple[str, int]] | None:
    """Photos of a split that resemble one that the run was trained on; None where not known."""
    if split == "train" or manifest.digest != run.origin.digest:
        return None  # the list compares held-out photos with the training photos of its own build
    rows = near_duplicates.read(folder)
    if rows is None:
        return None
    return {(row.product_id, row.image_index) for row in rows if row.split == split}


def table(measured: dict[str, Any]) -> str:
    """The score table for a terminal: one line an attribute, best first, the mean last."""
    rows = sorted(measured["attributes"].items(), key=lambda item: -(item[1]["score"] or 0.0))
    width = max(len("mean over attributes"), *(len(name) for name, _ in rows))
    lines = [
        f"{'attribute':{width}}  score  95 % interval   most freq.  beats it  answered  photos"
    ]
    for name, a in rows:
        if a["score"] is None:
            lines.append(f"{name:{width}}  no photo of this split has a value")
            continue
        low, high = a["interval"]
        beats = "yes" if a["gain_interval"][0] > 0 else "no"
        lines.append(
            f"{name:{width}}  {a['score']:.3f}  [{low:.3f}, {high:.3f}]  {a['most_frequent']:10.3f}"
            f"  {beats:>8}  {a['coverage']:8.3f}  {a['applicable']:6d}"
        )
    mean = measured["mean"]
    if mean["score"] is not None:
        low, high = mean["interval"]
        lines.append(
            f"{'mean over attributes':{width}}  {mean['score']:.3f}  [{low:.3f}, {high:.3f}]"
            f"  {mean['most_frequent']:10.3f}  {mean['attributes_beating_most_frequent']:3d} of "
            f"{mean['attributes_measured']:<2d} {mean['coverage']:7.3f}  {measured['photos']:6d}"
        )
        low, high = mean["accuracy_interval"]
        lines.append(
            f"accuracy of the best value, always answered: {mean['accuracy']:.3f} "
            f"[{low:.3f}, {high:.3f}]"
        )
    if "without_near_duplicates" in measured:
        lines.append(_line_without(measured["without_near_duplicates"]))
    return "\n".join(lines)


def _line_without(block: dict[str, Any]) -> str:
    mean, left_out = block["mean"], block["left_out"]
    if not left_out:
        return "no photo of this split resembles a training photo"
    start = f"without the {left_out:,} photos that resemble a training photo:"
    if mean["score"] is None:
        return f"{start} nothing left to measure"
    low, high = mean["interval"]
    return (
        f"{start} {mean['score']:.3f} [{low:.3f}, {high:.3f}], most frequent "
        f"{mean['most_frequent']:.3f}, {block['photos']:,} photos"
    )
