"""A recipe's switches, each trained and scored on the validation photos of several catalogues.

One table decides: for every row (a set of `--set` overrides), catalogue and seed the accuracy of
the best value, always answered, over samples to which the attribute applies, averaged over
attributes. Test photos are never read. A row is written as soon as it is measured, and rows that
are written are not trained again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pydantic

from attr_extractor import errors, files, ownership, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.evaluation import bootstrap
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir

ROWS = "rows.jsonl"


class Rows(yaml_files.Model):
    """The file of a sweep."""

    rows: Dict[str, List[str]] = pydantic.Field(min_length=1)  # overrides by the row's name


def sweep(
    config: str | Path,
    rows: str | Path,
    catalogues: Mapping[str, str | Path],
    seeds: Sequence[int],
    output_dir: str | Path,
) -> str:
    """Train and score every row that is not in `<output_dir>/rows.jsonl` yet.

    Each training is a process of its own, so that none starts with another's memory.

    Args:
      rows: a YAML file, see `Rows`.
      catalogues: folders of records, by name.

    Returns:
      the table: a line a row, a column a catalogue.

    Raises:
      InputError: a config, an override or records that cannot be.
    """
    named = yaml_files.validate(Rows, yaml_files.read_mapping(rows, "the sweep file"), str(rows))
    for overrides in named.rows.values():
        Config.read(config, overrides)  # all of them fail before the first one trains
    for records in catalogues.values():
        Manifest.read(records).split("validation")
    folder = Path(output_dir)
    with ownership.folder(folder, "the folder of the sweep"):
        for name, overrides in named.rows.items():
            for seed in seeds:
                for catalogue, records in catalogues.items():
                    key = {
                        "row": name,
                        "catalogue": catalogue,
                        "seed": seed,
                        "overrides": overrides,
                    }
                    if any(key.items() <= row.items() for row in read_rows(folder)):
                        continue
                    sets = [*overrides, f"train.seed={seed}"]
                    run_dir = folder / "runs" / f"{name}-{catalogue}-{seed}".replace(" ", "_")
                    job = {"config": str(config), "sets": sets, "records": str(records)}
                    measured = _in_a_process({**job, "run_dir": str(run_dir)})
                    with open(folder / ROWS, "a", encoding="utf-8") as file:
                        file.write(json.dumps({**key, **measured}) + "\n")
        return table(read_rows(folder))


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows that a sweep has measured so far, in their order."""
    path = Path(folder) / ROWS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The mean over seeds of each row and catalogue, the seeds' own figures behind it."""
    catalogues = list(dict.fromkeys(row["catalogue"] for row in rows))
    names = list(dict.fromkeys(row["row"] for row in rows))
    width = max([len("row"), *map(len, names)])
    lines = [f"{'row':{width}}" + "".join(f"  {name:>28}" for name in catalogues)]
    for name in names:
        cells = []
        for catalogue in catalogues:
            of_cell = [r for r in rows if (r["row"], r["catalogue"]) == (name, catalogue)]
            found = [row["accuracy"] for row in of_cell]
            each = " ".join(f"{accuracy:.4f}" for accuracy in found)
            seconds = np.mean([row["seconds"] for row in of_cell]) if of_cell else 0
            mean = f"{np.mean(found):.4f} ({each}) {seconds:.0f}s" if found else "-"
            cells.append(f"  {mean:>28}")
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def accuracy(scores: np.ndarray, labels: np.ndarray, schema: Schema) -> np.ndarray:
    """Whether each attribute's best value is right: float64 [B, T], NaN where it does not count.

    Args:
      scores: [B, V], of any scale.
      labels: int8 [B, V] of 1, 0, -1.
    """
    found = np.full([len(labels), len(schema.names)], np.nan)
    for t, part in enumerate(schema.slices.values()):
        best = scores[:, part].argmax(axis=1)
        label = labels[np.arange(len(labels)), part.start + best]
        counts = (labels[:, part] == PRESENT).any(axis=1) & (label != MISSING)
        found[counts, t] = label[counts] == PRESENT
    return found


def _measure(run: RunDir) -> dict[str, Any]:
    """The figures of a trained run on its validation photos, and their logits in a file."""
    network = run.load_network(Thresholds.of_schema(run.schema))
    manifest = run.manifest()
    batches = dataset.evaluation_batches(run.records, manifest, run.config.data, "validation")
    labels, logits, flipped, products = [], [], [], []
    with dataset.readable(run.records):
        for batch in batches:
            pixels = batch["pixels"]
            labels.append(batch["labels"].numpy())
            products += batch["product_id"].numpy().tolist()
            logits.append(network.logits(pixels, training=False).numpy())
            flipped.append(network.logits(pixels[:, :, ::-1], training=False).numpy())
    known = np.concatenate(labels)
    files.write_arrays(
        run.path / "validation.npz",
        {
            "labels": known,
            "logits": np.concatenate(logits),
            "flipped": np.concatenate(flipped),
            "product_id": np.array(products),
        },
    )
    right = accuracy(np.concatenate(logits), known, run.schema)
    both = accuracy(np.concatenate(logits) + np.concatenate(flipped), known, run.schema)
    draws = bootstrap.weights(products)  # [R, B]
    with np.errstate(invalid="ignore"):  # a replicate may draw no photo of a rare attribute
        replicates = draws @ np.nan_to_num(right) / (draws @ ~np.isnan(right))  # [R, T]
    return {
        "accuracy": round(float(np.nanmean(right, axis=0).mean()), 5),
        "interval": bootstrap.interval_of_mean(replicates),
        "both_ways": round(float(np.nanmean(both, axis=0).mean()), 5),
        "attributes": dict(zip(run.schema.names, np.nanmean(right, axis=0).round(5).tolist())),
        "seconds": run.metrics()["training"]["seconds"],
    }


def _in_a_process(job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == errors.BAD_INPUT:
        raise InputError(f"{job['run_dir']}: the training ended, see the line above")
    if done.returncode:
        raise RuntimeError(f"{job['run_dir']}: the training failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])  # keras-cv prints when it is imported


def _one_row() -> None:
    """The program of such a process: a job on standard input, figures in the last line printed."""
    job = json.load(sys.stdin)
    config = Config.read(job["config"], job["sets"])
    start = time.time()
    run = fit.train(config, job["records"], job["run_dir"])
    print(json.dumps({**_measure(run), "wall": round(time.time() - start)}))


if __name__ == "__main__":
    errors.run_program(_one_row)
