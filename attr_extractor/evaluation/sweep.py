"""Ablation sweep: train variants of a recipe, score them on validation photos of catalogues.

The result is one table: for every row (a set of `--set` overrides), catalogue and seed, the
accuracy of the best value, always answered, over samples to which the attribute applies, averaged
over attributes. Test photos are never read. A row is written as soon as it is measured; rows that
are already written are not trained again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pydantic

from attr_extractor import errors, files, storage, working_copy, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.evaluation import predictions, scores
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import Contender
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir

ROWS = "rows.jsonl"


class Rows(yaml_files.Model):
    """The content of a sweep file."""

    rows: Dict[str, List[str]] = pydantic.Field(min_length=1)  # overrides by the row's name


def sweep(
    config: str | Path,
    rows: str | Path,
    catalogues: Mapping[str, str | Path],
    seeds: Sequence[int],
    output_dir: str | Path,
) -> str:
    """Train and score every row that is not in `<output_dir>/rows.jsonl` yet.

    Each training runs in a separate process, so that memory is not shared between trainings.

    Args:
      rows: a YAML file, see `Rows`.
      catalogues: folders of records, by name.

    Returns:
      The table: one line per row, one column per catalogue.

    Raises:
      InputError: if a config, an override or records are invalid.
    """
    named = yaml_files.validate(Rows, yaml_files.read_mapping(rows, "the sweep file"), str(rows))
    for overrides in named.rows.values():
        Config.read(config, overrides)  # invalid overrides fail before the first training
    for records in catalogues.values():
        Manifest.read(records).split("validation")
    with working_copy.owned(output_dir, "the folder of the sweep") as folder:
        done = read_rows(folder)
        cells = itertools.product(named.rows.items(), seeds, catalogues.items())
        for (name, overrides), seed, (catalogue, records) in cells:
            key = {"row": name, "catalogue": catalogue, "seed": seed, "overrides": overrides}
            if any(key.items() <= row.items() for row in done):
                continue
            sets = [*overrides, f"train.seed={seed}"]
            run_dir = folder / "runs" / f"{name}-{catalogue}-{seed}".replace(" ", "_")
            job = {"config": str(config), "sets": sets, "records": str(records)}
            done.append({**key, **_in_a_process({**job, "run_dir": str(run_dir)})})
            lines = "".join(json.dumps(row) + "\n" for row in done)
            storage.write(folder / ROWS, lines.encode())
    return table(done)


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """Return the rows that a sweep has measured so far, in order.

    Raises:
      InputError: if the file is damaged.
    """
    path = Path(folder) / ROWS
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [files.parse_json(line, f"{path}, line {i}") for i, line in enumerate(lines, 1)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the mean over seeds of each row and catalogue, followed by the figure per seed."""
    catalogues = list(dict.fromkeys(row["catalogue"] for row in rows))
    names = list(dict.fromkeys(row["row"] for row in rows))
    width = max([len("row"), *map(len, names)])
    lines = [f"{'row':{width}}" + "".join(f"  {name:>28}" for name in catalogues)]
    for name in names:
        cells = []
        for catalogue in catalogues:
            of_cell = [r for r in rows if (r["row"], r["catalogue"]) == (name, catalogue)]
            accuracies = [row["accuracy"] for row in of_cell]
            each = " ".join(f"{accuracy:.4f}" for accuracy in accuracies)
            seconds = np.mean([row["seconds"] for row in of_cell]) if of_cell else 0
            mean = f"{np.mean(accuracies):.4f} ({each}) {seconds:.0f}s" if accuracies else "-"
            cells.append(f"  {mean:>28}")
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def _measure(run: RunDir) -> dict[str, Any]:
    """Return the figures of a trained run on its validation photos."""
    plain = Thresholds.of_schema(run.schema)
    network, manifest, data = run.load_network(plain), run.manifest(), run.config.data
    contender = Contender(network.scores_of, run.answers(plain))
    usual = MostFrequent.of(run.schema, run.origin.most_frequent)
    predicted = predictions.predict(run, "validation")

    def both_ways() -> Iterator[Predictions]:
        """Yield predictions with the mean logits of each photo and its mirror image."""
        batches = predictions.with_pixels(predicted, run.records, manifest, data)
        for batch, block in zip(batches, predicted.blocks(data.batch_size)):
            mirrored = network.logits(batch["pixels"][:, :, ::-1], training=False).numpy()
            yield dataclasses.replace(block, logits=(block.logits + mirrored) / 2)

    measured, _ = scores.measure(contender, predicted.blocks(), usual)
    with dataset.readable(run.records):
        both, _ = scores.measure(contender, both_ways(), usual)
    return {
        "accuracy": measured["mean"]["accuracy"],
        "interval": measured["mean"]["accuracy_interval"],
        "both_ways": both["mean"]["accuracy"],
        "attributes": {name: a["accuracy"] for name, a in measured["attributes"].items()},
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
    for error in (InputError, TemporaryError):
        if done.returncode == error.exit_code:
            raise error(f"{job['run_dir']}: the training failed, see the error above")
    if done.returncode:
        raise RuntimeError(f"{job['run_dir']}: the training failed, exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])  # keras-cv prints when it is imported


def _one_row() -> None:
    """Run one job: read it from standard input, print its figures as the last line."""
    job = json.load(sys.stdin)
    config = Config.read(job["config"], job["sets"])
    print(json.dumps(_measure(fit.train(config, job["records"], job["run_dir"]))))


if __name__ == "__main__":
    errors.run_program(_one_row)
