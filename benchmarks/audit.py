"""Share of planted wrong labels that an audit finds, compared with other rankings of the cells.

A run is trained on records with wrong labels planted into all splits, then audited. The sellers'
own labels contain errors too, which count as false positives here: precision is a lower bound.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from attr_extractor.config import Config
from attr_extractor.evaluation.audit import audit
from attr_extractor.labels import PRESENT
from attr_extractor.model.loss import MaskedLoss
from attr_extractor.model.per_attribute import sum_values
from attr_extractor.records import dataset
from attr_extractor.records.runner import Local
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir
from benchmarks import audit_planted
from benchmarks.audit_planted import Cell

SHARE = 0.05  # of the filled cells of exclusive attributes
AUDIT, LOSS, RANDOM = "audit: refitted out of fold", "loss of the run itself", "at random"


def measure(config: Config, records: str | Path) -> str:
    """Plant wrong labels, train, audit, and return the result as a table."""
    with tempfile.TemporaryDirectory() as folder, Local(1) as runner:
        spoiled, run_dir = Path(folder, "records"), Path(folder, "run")
        planted = audit_planted.plant(records, spoiled, SHARE, runner)
        fit.train(config, spoiled, run_dir)
        return compare(RunDir.read(run_dir), planted, Path(folder, "audit.csv"))


def compare(run: RunDir, planted: Dict[Cell, str], output: Path) -> str:
    """Audit a run that was trained on planted labels; return the table."""
    audit.audit(run.path, output, most=10 * len(planted))
    with open(output, newline="", encoding="utf-8") as file:
        listed = [row for row in csv.DictReader(file) if row["kind"] == audit.WRONG]
    audited = [(row["product_id"], row["attribute"]) for row in listed]
    proposed = {cell: row["proposed"] for cell, row in zip(audited, listed)}
    losses, trained_on = by_loss(run)
    filled = set(losses)
    lines = [f"{'':44}  planted  precision and recall at n  at n/2: precision  recall"]
    for name, wanted in {
        "all products": filled,
        "training split: the trunk saw the labels": trained_on,
        "held-out splits: the trunk did not": filled - trained_on,
    }.items():
        lines.append(name)
        truth = wanted & planted.keys()
        for how, ranked in ((AUDIT, audited), (LOSS, losses)):
            first, half = hits([cell for cell in ranked if cell in wanted], truth)
            lines.append(_line(how, len(truth), first, half))
        chance = len(truth) / max(1, len(wanted))
        lines.append(_line(RANDOM, len(truth), chance, chance))
    found = planted.keys() & proposed.keys()
    right = sum(proposed[cell] == planted[cell] for cell in found)
    lines.append(
        f"{len(audited):,} cells listed, among them {len(found):,} of {len(planted):,} planted "
        f"ones; for {right / max(1, len(found)):.3f} of these the seller's own value is proposed"
    )
    return "\n".join(lines)


def hits(ranked: Sequence[Cell], planted: Collection[Cell]) -> Tuple[float, float]:
    """Return the shares of planted cells among the first n and n/2 of `ranked`; n are planted."""
    found = np.zeros(len(planted))
    for i, cell in enumerate(ranked[: len(planted)]):
        found[i] = cell in planted
    return float(found.mean()), float(found[: len(found) // 2].mean())


def by_loss(run: RunDir) -> Tuple[List[Cell], set[Cell]]:
    """Rank all filled cells by the run's own loss, highest first.

    A product's loss is the mean over its photos.

    Returns:
      The ranked cells, and those of the training split.
    """
    schema, manifest, network = run.schema, run.manifest(), run.load_network()
    equation_1 = MaskedLoss(schema, run.config.loss, network.softmax)
    losses: Dict[Cell, List[float]] = {}
    trained_on: set[Cell] = set()
    for split in manifest.splits:
        batches = dataset.evaluation_batches(run.records, manifest, run.config.data, split)
        for batch in batches:
            logits = network.logits(batch["pixels"], training=False)
            values = sum_values(equation_1.of_values(logits, batch["labels"]), schema)  # [B, T]
            filled = sum_values(batch["labels"] == PRESENT, schema).numpy() > 0  # [B, T]
            names = [product.decode() for product in batch["product_id"].numpy()]
            for i, t in np.argwhere(filled).tolist():
                cell = (names[i], schema.names[t])
                losses.setdefault(cell, []).append(float(values[i, t]))
                if split == "train":
                    trained_on.add(cell)
    return sorted(losses, key=lambda cell: -float(np.mean(losses[cell]))), trained_on


def _line(how: str, planted: int, first: float, half: float) -> str:
    return f"  {how:42}  {planted:7,}  {first:25.3f}  {half:17.3f}  {half / 2:6.3f}"
