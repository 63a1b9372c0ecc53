"""Convert an exported model to other forms; compare each with it on photos of the records.

<output_dir>/<form's file>                  see forms.py
<output_dir>/schema.yaml, model.json        required to interpret the scores
<output_dir>/conversion.json                agreement, size and time of each form
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor import files, ownership
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.serving import model_dir
from attr_extractor.serving.forms import FORMS, Form, Run, scores_of

_CALIBRATION = 200  # photos to calibrate the int8 range of every tensor
_ROUNDS = 10


@dataclass(frozen=True)
class Converted:
    """The results of a form, compared with the SavedModel on the same photos."""

    form: str
    mib: float
    agreement: float  # share of (photo, attribute) with the same answer
    largest_difference: float  # of a score
    ms_batch_1: float  # median
    ms_batch_32: float  # TFLite: one photo at a time


def convert(
    model: str | Path, records: str | Path, output_dir: str | Path, names: Sequence[str], count: int
) -> list[Converted]:
    """Write the named forms of an exported model.

    Args:
      records: records of the model's schema; calibration photos come from the training split,
        photos to compare on from the test split.
      count: number of photos to compare on.

    Raises:
      InputError: if there is no exported model, there are no records of its schema, or an extra is
        not installed.
      RuntimeError: if the scores of a float32 form differ from the SavedModel's.
    """
    exported = model_dir.load(model)
    manifest = Manifest.read(records, exported.schema)
    data = DataConfig(image_size=exported.facts.image_size, square=exported.facts.square)
    calibration = _pixels(records, manifest, data, "train", _CALIBRATION)
    photos = _pixels(records, manifest, data, "test", count)
    function = scores_of(exported.network)
    served: Run = lambda pixels: function(pixels)["scores"].numpy()  # noqa: E731
    output_dir = Path(output_dir)
    with ownership.folder(output_dir, "the folder of the converted model"):
        for asset in ("schema.yaml", "model.json"):
            shutil.copy(exported.path / "assets" / asset, output_dir / asset)
        expected = in_batches(served, photos)
        report = [_measured("SavedModel", exported.path, served, photos, expected, exported)]
        for name in names:
            form = FORMS[name]
            path = output_dir / form.file
            form.write(function, path, calibration)
            row = _measured(name, path, form.open(path), photos, expected, exported)
            _require_close(row, form)
            report.append(row)
        lines = [dataclasses.asdict(row) for row in report]
        content = {
            "photos": len(photos),
            "fingerprint": exported.schema.fingerprint,
            "forms": lines,
        }
        files.write_json(output_dir / "conversion.json", content)
        return report


def table(rows: Sequence[Converted]) -> str:
    """Return a table with a line for each form."""
    lines = [f"{'':16}{'MiB':>8}{'agreement':>12}{'difference':>12}{'batch 1':>12}{'batch 32':>12}"]
    lines += [
        f"{row.form:16}{row.mib:8.1f}{row.agreement:12.4f}{row.largest_difference:12.1e}"
        f"{row.ms_batch_1:9.1f} ms{row.ms_batch_32:9.1f} ms"
        for row in rows
    ]
    return "\n".join(lines)


def in_batches(run: Run, pixels: np.ndarray, size: int = 32) -> np.ndarray:
    """Return the scores of all photos: float32 [N, V]."""
    return np.concatenate([run(pixels[i : i + size]) for i in range(0, len(pixels), size)])


def median_ms(run: Run, pixels: np.ndarray, rounds: int = _ROUNDS) -> float:
    """Return the median milliseconds of one batch."""
    seconds = []
    for _ in range(2 + rounds):  # the first two warm up
        start = time.perf_counter()
        run(pixels)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]) * 1e3)


def _measured(
    name: str, path: Path, run: Run, photos: np.ndarray, expected: np.ndarray, exported: Any
) -> Converted:
    scores = in_batches(run, photos)
    chosen, before = (exported.answers.chosen(s).numpy() for s in (scores, expected))
    starts = [where.start for where in exported.schema.slices.values()]
    same = np.logical_and.reduceat(chosen == before, starts, axis=1)  # [N, T]
    return Converted(
        form=name,
        mib=_size(path) / 2**20,
        agreement=float(same.mean()),
        largest_difference=float(np.abs(scores - expected).max()),
        ms_batch_1=median_ms(run, photos[:1]),
        ms_batch_32=median_ms(run, np.resize(photos, [32, *photos.shape[1:]])),
    )


def _require_close(row: Converted, form: Form) -> None:
    if form.tolerance is not None and not row.largest_difference <= form.tolerance:
        raise RuntimeError(
            f"{row.form}: scores differ from the SavedModel's by {row.largest_difference}"
        )


def _size(path: Path) -> int:
    """Return the bytes of a folder or file, including the file of OpenVINO's weights."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return sum(part.stat().st_size for part in parts)


def _pixels(
    records: str | Path, manifest: Manifest, data: DataConfig, split: str, count: int
) -> np.ndarray:
    """Return the first photos of a split, at most `count`: uint8 [N, H, W, 3]."""
    found: list[np.ndarray] = []
    with dataset.readable(records):
        for batch in dataset.evaluation_batches(records, manifest, data, split):
            found.append(batch["pixels"].numpy())
            if sum(map(len, found)) >= count:
                break
    if not found:
        raise InputError(f"{records}: its {split} split has no photos")
    return np.concatenate(found)[:count]
