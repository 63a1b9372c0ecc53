"""Convert an exported model to other runtimes; compare each with it on photos of the records.

<output_dir>/<form's file>                  ONNX, OpenVINO also in int8, TFLite in float16 and int8
<output_dir>/schema.yaml, model.json        required to interpret the scores
<output_dir>/conversion.json                agreement, size and time of each form

Every form takes pixels uint8 [B, H, W, 3] and returns scores float32 [B, V]; answers.onnx also
returns `<name>` string [B, K] and `<name>_score` of each attribute, as the SavedModel does.
Decoding is left to the caller, and so is the post-processing of the other forms.
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
import tensorflow as tf

from attr_extractor import files, working_copy
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.serving import model_dir
from attr_extractor.serving.forms import FORMS, Form, Scorer
from attr_extractor.serving.model_dir import ExportedModel

_CALIBRATION_PHOTOS = 300  # of int8
_ROUNDS = 10


@dataclass(frozen=True)
class Comparison:
    """A form compared with the SavedModel on the same photos; a line of conversion.json."""

    form: str
    mib: float
    agreement: float  # share of (photo, attribute) with the same answer
    largest_difference: float  # of a score
    ms_batch_1: float  # median
    ms_batch_32: float  # TFLite: one photo at a time


def convert(
    model: str | Path, records: str | Path, output_dir: str | Path, names: Sequence[str], count: int
) -> list[Comparison]:
    """Write the named forms of an exported model.

    Args:
      records: records of the model's schema; calibration photos come from the training split,
        photos to compare on from the test split.
      count: number of photos to compare on.

    Raises:
      InputError: if there is no exported model, it is in bfloat16, there are no records of its
        schema, or an extra is not installed.
      RuntimeError: if the scores of a float32 form differ from the SavedModel's.
    """
    exported = model_dir.load(model)
    if exported.facts.precision == "bfloat16":
        raise InputError(
            f"{exported.path}: exported in bfloat16, but a conversion starts from float32: export "
            "the run again without --precision=bfloat16 and convert that"
        )
    if "scores" in exported.schema.index and any(FORMS[name].answers for name in names):
        raise InputError(
            "the attribute 'scores' would collide with the output `scores` of answers.onnx: choose "
            "other forms with --form"
        )
    manifest = Manifest.read(records, exported.schema)
    data = DataConfig(image_size=exported.facts.image_size, square=exported.facts.square)
    calibration = _read_pixels(records, manifest, data, "train", _CALIBRATION_PHOTOS)
    photos = _read_pixels(records, manifest, data, "test", count)
    function = scores_function(exported.network)
    with_answers = answers_function(exported)
    saved_model: Scorer = lambda pixels: function(pixels)["scores"].numpy()  # noqa: E731
    with working_copy.owned(output_dir, "the folder of the converted model") as output_dir:
        for asset in ("schema.yaml", "model.json"):
            shutil.copy(exported.path / "assets" / asset, output_dir / asset)
        expected = _score_in_batches(saved_model, photos)
        report = [_compare("SavedModel", exported.path, saved_model, photos, expected, exported)]
        for name in names:
            form = FORMS[name]
            path = output_dir / form.file
            form.write(with_answers if form.answers else function, path, calibration)
            row = _compare(name, path, form.open(path), photos, expected, exported)
            _require_close(row, form)
            report.append(row)
        content = {
            "photos": len(photos),
            "fingerprint": exported.schema.fingerprint,
            "forms": [dataclasses.asdict(row) for row in report],
        }
        files.write_json(output_dir / "conversion.json", content)
        return report


def format_report(report: Sequence[Comparison]) -> str:
    """Return a table with a line for each form."""
    lines = [f"{'':16}{'MiB':>8}{'agreement':>12}{'difference':>12}{'batch 1':>12}{'batch 32':>12}"]
    lines += [
        f"{row.form:16}{row.mib:8.1f}{row.agreement:12.4f}{row.largest_difference:12.1e}"
        f"{row.ms_batch_1:9.1f} ms{row.ms_batch_32:9.1f} ms"
        for row in report
    ]
    return "\n".join(lines)


def scores_function(network: Any) -> Any:
    """Return the part of a `ServedModel` from pixels to scores.

    Returns:
      A tf.function uint8 [B, H, W, 3] -> dict of `scores`.
    """
    pixels = network.inputs[0]
    spec = tf.TensorSpec(pixels.shape, pixels.dtype, "pixels")
    return tf.function(lambda pixels: {"scores": network(pixels)[0]}, input_signature=[spec])


def answers_function(exported: ExportedModel) -> Any:
    """Return the part of an exported model from pixels to scores and answers.

    The post-processing is traced again: the one in the SavedModel may be of an older release and
    contain operations that other runtimes lack.

    Returns:
      A tf.function uint8 [B, H, W, 3] -> dict of `scores` and of `Answers.strings`.
    """

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = exported.network(pixels)[0]
        answers = exported.answers
        return {"scores": scores, **answers.strings(scores, answers.chosen(scores))}

    pixels = exported.network.inputs[0]
    spec = tf.TensorSpec(pixels.shape, pixels.dtype, "pixels")
    return tf.function(answer, input_signature=[spec])


def _compare(
    name: str,
    path: Path,
    scorer: Scorer,
    photos: np.ndarray,
    expected: np.ndarray,
    exported: ExportedModel,
) -> Comparison:
    scores = _score_in_batches(scorer, photos)
    return Comparison(
        form=name,
        mib=_size(path) / 2**20,
        agreement=float(exported.answers.agree(scores, expected).mean()),
        largest_difference=float(np.abs(scores - expected).max()),
        ms_batch_1=_median_ms(scorer, photos[:1]),
        ms_batch_32=_median_ms(scorer, np.resize(photos, [32, *photos.shape[1:]])),
    )


def _score_in_batches(scorer: Scorer, pixels: np.ndarray, size: int = 32) -> np.ndarray:
    """Return the scores of all photos: float32 [N, V]."""
    return np.concatenate([scorer(pixels[i : i + size]) for i in range(0, len(pixels), size)])


def _median_ms(scorer: Scorer, pixels: np.ndarray) -> float:
    """Return the median milliseconds of one batch."""
    seconds = []
    for _ in range(2 + _ROUNDS):  # the first two warm up
        start = time.perf_counter()
        scorer(pixels)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]) * 1e3)


def _require_close(row: Comparison, form: Form) -> None:
    if form.tolerance is not None and not row.largest_difference <= form.tolerance:
        raise RuntimeError(
            f"{row.form}: scores differ from the SavedModel's by {row.largest_difference}"
        )


def _size(path: Path) -> int:
    """Return the bytes of a folder or file, including the file of OpenVINO's weights."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return sum(file.stat().st_size for file in [path, *weights])


def _read_pixels(
    records: str | Path, manifest: Manifest, data: DataConfig, split: str, count: int
) -> np.ndarray:
    """Return the first photos of a split, at most `count`: uint8 [N, H, W, 3]."""
    batches: list[np.ndarray] = []
    with dataset.readable(records):
        for batch in dataset.evaluation_batches(records, manifest, data, split):
            batches.append(batch["pixels"].numpy())
            if sum(map(len, batches)) >= count:
                break
    if not batches:
        raise InputError(f"{records}: its {split} split has no photos")
    return np.concatenate(batches)[:count]
