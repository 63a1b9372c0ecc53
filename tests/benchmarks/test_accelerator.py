"""The bench of an accelerator: its rows on a CPU, the budget, the largest batch and the report."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from benchmarks import accelerator, accelerator_rows, timing
from benchmarks.accelerator import ON_ACCELERATOR, ON_CPU, Jobs, Row
from benchmarks.host_reads import count_reads
from tests.conftest import require_bad_input, run_tool

MACHINE = {"hardware": "1 x H", "tensorflow": "2", "keras": "3", "accelerator": True}


def job_of(built, kind: str, *settings: str) -> accelerator_rows.Job:
    config = Config.read(built.config, settings)
    return accelerator_rows.Job(
        {
            "kind": kind,
            "config": config.model_dump_json(),
            "schema": Manifest.read(built.records).schema.to_yaml(),
            "tf32": True,
            "steps": 2,
            "records": str(built.records),
        }
    )


def test_the_hosts_reads_of_tensors_are_counted():
    tensor, variable = tf.constant([1.5, 2.5]), tf.Variable(3)
    with count_reads() as reads:
        tensor + 1.0  # stays on the device
        assert reads.count == 0
        float(tensor[0])
        tensor.numpy()
        bool(tensor[1] > 2)
        int(variable)
    assert reads.count == 4
    tensor.numpy()
    assert reads.count == 4


def test_the_rates_of_a_row_follow_from_its_step(built):
    figures = accelerator_rows.step(job_of(built, "step"))
    assert figures["images_per_s"] == pytest.approx(8 / figures["step_s"])
    assert figures["first_step_s"] > 0 and 0.05 < figures["peak_gib"] < 20
    figures = accelerator_rows.augment(job_of(built, "augment", "augmentation.mixup=0.5"))
    assert figures["images_per_s"] == pytest.approx(8 / figures["step_s"])


def test_the_loop_reads_no_number_in_a_step_that_is_not_logged(built, monkeypatch):
    logged = iter([True, False, False, True, False])
    from attr_extractor.training.figures import StepFigures

    monkeypatch.setattr(
        StepFigures, "read_if_due", lambda self: self.read() if next(logged) else {}
    )
    figures = accelerator_rows.loop(job_of(built, "loop"))
    assert figures["loop_steps"] == 1 + timing.WARMUP + 2 and figures["logged_steps"] == 2
    assert figures["reads_per_other_step"] == 0
    bare, fed, whole = (figures[f"{name}images_per_s"] for name in ("", "fed_", "loop_"))
    assert figures["loop_of_bare"] == pytest.approx(whole / bare)
    assert fed > 0 and figures["input_stall"] < 1


@pytest.mark.slow
def test_an_exported_model_answers_batches(built):
    figures = accelerator_rows.serve(job_of(built, "serve"))
    for rows in accelerator_rows.SERVED:
        assert 0 < figures[f"batch_{rows}_median_ms"] <= figures[f"batch_{rows}_longest_ms"]


# Order and budget


def test_rows_that_differ_in_fewer_settings_come_first():
    rows = accelerator.ordered(ON_ACCELERATOR)
    steps = [row for row in rows if row.kind == "step"]
    assert len(set(steps)) == len(steps) == 3 * 3 * 3 * 3
    base = (256, "bfloat16", "activations")
    differences = [
        sum(a != b for a, b in zip((row.batch, row.precision, row.xla), base)) for row in steps
    ]
    assert differences == sorted(differences) and differences.count(1) == 3 * 6
    assert [row.kind for row in rows[:7]] == ["step"] * 3 + ["loop", "augment", "augment", "serve"]
    assert {row.precision for row in accelerator.ordered(ON_CPU)} == {"bfloat16", "float32"}


def test_the_largest_batch_is_doubled_until_one_fails():
    tried: list[int] = []

    def one(row: Row, left: float) -> dict:
        tried.append(row.batch)
        return {"failed": accelerator.OUT_OF_MEMORY} if row.batch > 3000 else {"images_per_s": 1.0}

    rows = [Row("step", "B0", 1024), Row("largest", "B0", 512), Row("step", "B0", 32)]
    measured, missing = accelerator.measure(rows, 2**16, one, time.monotonic() + 60)
    assert tried == [1024, 2048, 4096, 32] and not missing
    assert accelerator.fitting(measured, "B0") == [1024, 2048, 32]
    tried.clear()
    accelerator.measure([Row("largest", "B0", 512)], 2048, one, time.monotonic() + 60)
    assert tried == [512, 1024, 2048]  # the cap


def test_rows_after_the_budget_are_named():
    rows = [Row("step", "B0", 4), Row("step", "B0", 8), Row("serve", "B0", 8)]

    def one(row: Row, left: float) -> dict:
        if row.batch == 8:
            raise TimeoutError
        return step_of(10.0)

    measured, missing = accelerator.measure(rows, 16, one, time.monotonic() + 60)
    assert list(measured) == rows[:1] and missing == rows[1:]
    text = accelerator.table(MACHINE, measured, missing)
    assert "not reached in the budget, 2 rows:" in text
    assert "step, batch 8: B0 bfloat16 activations" in text and "serve, batch 8: B0" in text


@pytest.mark.parametrize(
    "code, stderr, expected",
    [
        (-9, "", accelerator.OUT_OF_MEMORY),
        (1, "ResourceExhaustedError: OOM when allocating\n", accelerator.OUT_OF_MEMORY),
        (-6, "terminate called after throwing std::bad_alloc\n", accelerator.OUT_OF_MEMORY),
        (1, "Traceback\nInternalError: no ptxas\n", "exit code 1: InternalError: no ptxas"),
        (-11, "", "exit code -11: no message"),
    ],
)
def test_a_failed_row_has_its_reason(code: int, stderr: str, expected: str):
    assert accelerator.reason(code, stderr) == expected


# Report


def step_of(rate: float) -> dict:
    return {"images_per_s": rate, "step_s": 4 / rate, "first_step_s": 1.0, "peak_gib": 2.0}


LOOP = {
    "images_per_s": 1000.0, "fed_images_per_s": 990.0, "input_images_per_s": 5000.0,
    "input_stall": 0.01, "loop_images_per_s": 980.0, "loop_of_bare": 0.98, "loop_steps": 23,
    "logged_steps": 2, "reads_per_other_step": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "loop, augment, expected",
    [
        ({"input_stall": 0.25}, 1e5, "the input: the step waits for photos 25% of the time; 5,000"),
        ({"loop_of_bare": 0.8}, 1e5, "the host: the loop has 80% of the bare step's speed"),
        ({}, 2000.0, "augmentation: 50% of the step's time"),
        ({}, 1e5, "the computation of the step on the device"),
    ],
)
def test_the_bottleneck_is_named(loop: dict, augment: float, expected: str):
    measured = {
        Row("loop", batch=4): {**LOOP, **loop},
        Row("augment", batch=4): {"images_per_s": augment, "step_s": 1.0},
    }
    assert accelerator.bottleneck(measured).startswith(expected)


def test_the_flags_are_those_of_the_fastest_row():
    measured = {
        Row("step", "Lite0", 32): step_of(10.0),
        Row("step", "Lite0", 256, "TF32", "off"): step_of(30.0),
        Row("step", "Lite0", 1024, "bfloat16", "step"): {"failed": accelerator.OUT_OF_MEMORY},
        Row("step", "B0", 32, "bfloat16", "step"): step_of(20.0),
    }
    assert accelerator.advice(measured) == {
        "Lite0": "--set train.precision=float32 --set train.xla=off --set data.batch_size=256",
        "B0": "--set train.precision=mixed_bfloat16 --set train.xla=step --set data.batch_size=32",
    }
    text = accelerator.table(MACHINE, measured, [])
    assert "out of memory" in text and "largest batch that was trained, Lite0: 32" in text


def test_the_table_shows_loop_and_reads():
    text = accelerator.table(MACHINE, {Row("loop", batch=4): LOOP}, [])
    assert "stall 1.0%" in text and "98.0% of synthetic, 0 host reads per step" in text
    assert "in the 2 of 23 steps that were logged" in text


# In processes


@pytest.mark.slow
def test_each_row_is_a_process_with_the_rows_settings(built, schema):
    config = Config.read(built.config)
    jobs = Jobs(config, schema, 1, str(built.records), dataclasses.replace(ON_CPU, image_size=32))
    job = jobs._job(Row("step", "B0", 2, "float32", "off"))
    sent = Config.model_validate_json(job["config"])
    assert (sent.model.trunk, sent.data.batch_size) == ("efficientnetb0", 2)
    assert (sent.train.precision, sent.train.xla, job["tf32"]) == ("float32", "off", False)
    assert Config.model_validate_json(jobs._job(Row("step", "paper", 2))["config"]).name == "paper"
    assert jobs.measure(Row("step", "Lite0", 2), 300)["images_per_s"] > 0
    with pytest.raises(TimeoutError):
        jobs.measure(Row("step", "Lite0", 2), 0.5)


def test_the_report_writes_table_and_json(built, schema, tmp_path, monkeypatch):
    """The machine has an accelerator here, and the budget ends at the second network's step."""

    def one(self, row: Row, left: float) -> dict:
        if row.kind == "machine":
            return MACHINE
        if row.network == "B0":
            raise TimeoutError
        return step_of(row.batch / 2)

    monkeypatch.setattr(Jobs, "measure", one)
    out = tmp_path / "figures.json"
    config = Config.read(built.config)
    text = accelerator.report(config, schema, 0, str(built.records), 60, str(out))
    content = json.loads(out.read_text())
    (row,) = content["rows"]
    assert (row["network"], row["batch"], row["images_per_s"]) == ("Lite0", 256, 128.0)
    assert content["steps"] == ON_ACCELERATOR.steps
    assert content["not_reached"] == [
        dataclasses.asdict(row) for row in accelerator.ordered(ON_ACCELERATOR)[1:]
    ]
    assert content["flags"]["Lite0"] in text and content["bottleneck"] in text


def test_a_budget_in_which_tensorflow_does_not_start_is_one_line(built, schema):
    with pytest.raises(InputError, match="budget_minutes: TensorFlow did not start in 0.001 min"):
        accelerator.report(Config.read(built.config), schema, 0, "", 0.001, "")


def test_an_output_that_exists_is_one_line(tmp_path):
    out = tmp_path / "figures.json"
    out.touch()
    result = run_tool("bench", "--what=accelerator", f"--output={out}")
    require_bad_input(result, str(out), "exists already")
