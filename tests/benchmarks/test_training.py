"""The benches of training: equal work for all contenders, honest ratios, clear refusals."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import keras
import numpy as np
import pytest

from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.model.branches import TILE
from benchmarks import growth, loop_step, our_step, plain_keras_step, step, timing
from benchmarks.step import KERAS, LOOP, OURS, OURS_HALF, TIMM, TIMM_HALF
from tests.conftest import ROOT, require_bad_input, run_tool

B0 = Config.model_validate(
    {
        "name": "b0",
        "data": {"image_size": 32, "batch_size": 4},
        "model": {"trunk": "efficientnetb0", "weights": "none", "fuse_stages": 1, "hidden": [8, 8],
                  "attention": {"num_heads": 4, "key_dim": 8, "feed_forward_dim": 16}},
    }
)  # fmt: skip


def equation_1(logits: np.ndarray, labels: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits))
    entropy = -np.where(labels > 0, np.log(p), np.log(1 - p))
    return float(np.where(labels >= 0, entropy, 0).sum() / len(labels))


def made_up(num_values: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=[5, num_values]).astype(np.float32)
    return logits, generator.integers(-1, 2, logits.shape, dtype=np.int8)


def test_plain_keras_learns_equation_1(schema):
    logits, labels = made_up(schema.num_values)
    scores = 1 / (1 + np.exp(-logits))
    total = sum(
        np.mean(
            plain_keras_step.masked_cross_entropy(
                labels[:, where].astype(np.float32), scores[:, where]
            )
        )
        for where in schema.slices.values()
    )
    assert total == pytest.approx(equation_1(logits, labels), rel=1e-5)


def test_timm_learns_equation_1(schema):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from benchmarks import timm_step

    logits, labels = made_up(schema.num_values)
    found = timm_step.masked_cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert found.item() == pytest.approx(equation_1(logits, labels), rel=1e-5)


def test_plain_keras_and_ours_are_one_network_but_for_padding_and_scales(schema):
    ours = our_step.parameters(network.build(schema, B0).logits)
    theirs = plain_keras_step.build(B0, schema)
    assert {name: output.shape[-1] for name, output in theirs.output.items()} == dict(
        zip(schema.names, schema.sizes)
    )
    scales = 2 * 1280  # of what the transformer block adds
    padding = 8 * sum(TILE - size for size in schema.sizes)  # hidden width 8
    assert our_step.parameters(theirs) == ours - scales - padding


def test_timm_and_plain_keras_are_one_network(schema):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from benchmarks import timm_step

    net = timm_step.Net(B0, schema)
    expected = our_step.parameters(plain_keras_step.build(B0, schema))
    assert sum(parameter.numel() for parameter in net.parameters()) == expected
    pixels = torch.from_numpy(timing.made_up_batch(B0, schema)["pixels"])
    assert net(pixels).shape == (4, schema.num_values)


def test_made_up_attributes_are_missing_as_a_whole(schema):
    config = B0.model_copy(update={"data": B0.data.model_copy(update={"batch_size": 60})})
    batch = timing.made_up_batch(config, schema)
    assert batch["pixels"].shape == (60, 32, 32, 3) and batch["pixels"].dtype == np.uint8
    missing = np.stack(
        [(batch["labels"][:, where] == -1).mean(axis=1) for where in schema.slices.values()]
    )
    assert set(np.unique(missing)) == {0, 1} and 0.2 < missing.mean() < 0.5


def test_every_step_is_timed_and_a_loss_that_is_no_number_stops():
    losses = iter([1.0] * 8)
    assert len(timing.time_steps(lambda: next(losses), 5)) == 1 + timing.WARMUP + 5
    losses = iter([1.0, float("nan")])
    with pytest.raises(FloatingPointError, match="the loss of step 2 is nan"):
        timing.time_steps(lambda: next(losses), 5)


def test_peak_memory_is_what_a_process_itself_has_held():
    held = np.ones(2**29, np.int8)  # by the parent: no affair of the child's
    script = (
        "import numpy as np; from benchmarks import timing\n"
        "np.ones(2**28, np.int8); print(timing.peak_memory())"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert 0.25 < float(child.stdout) < held.nbytes / 2**30


def passes(*rounds: tuple[float, float]) -> list[dict]:
    """Of (first step, other steps); the warm-up is slow and must not count."""
    return [
        {"seconds": [first, 99.0, 99.0, step, step, step], "parameters": 1234, "peak_gib": 2.5}
        for first, step in rounds
    ]


def test_ratios_compare_passes_of_one_round():
    measured = {
        OURS: passes((4, 1), (8, 2), (4, 1)),  # the second round met a busy machine
        KERAS: passes((16, 1.5), (32, 3), (99, 1.5)),
        TIMM: passes((1, 2), (2, 4), (1, 99)),
    }
    ours, plain, timm, first, faster = step.table(measured, 32).splitlines()[1:]
    assert ours.removeprefix(OURS).split() == (
        ["4.00", "s", "1.00", "1.000", "s", "1.00", "32.0", "2.50", "1,234"]
    )
    assert plain.removeprefix(KERAS).split()[:6] == ["32.00", "s", "4.00", "1.500", "s", "1.50"]
    assert timm.removeprefix(TIMM).split()[3:7] == ["4.000", "s", "2.00", "8.0"]
    assert first == "first step: 0.25 of plain Keras'"
    assert faster == f"{OURS}: 2.00 times as fast as {TIMM}"


def test_half_precision_is_compared_with_half_precision_and_the_loop_by_mean_steps():
    loop = passes((4, 1))
    loop[0]["seconds"][-1] = 2.0  # a stall that a median would hide
    measured = {
        OURS: passes((4, 1)),
        OURS_HALF: passes((4, 2)),
        TIMM_HALF: passes((4, 3)),
        LOOP: loop,
    }
    *_, half, whole = step.table(measured, 32).splitlines()
    assert half == f"{OURS_HALF}: 1.50 times as fast as {TIMM_HALF}"
    assert whole.startswith("the whole loop: 75.0% of the bare step's speed")


def test_who_cannot_take_part_is_said_in_a_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "timm" or None)
    names, lines = step.contenders(B0, None)
    assert names == [OURS, OURS_HALF, KERAS]
    assert len(lines) == 1 and "timm not installed" in lines[0] and "[bench]" in lines[0]
    small = B0.model_copy(update={"model": B0.model.model_copy(update={"trunk": "small_cnn"})})
    names, lines = step.contenders(small, "records")
    assert names == [OURS, OURS_HALF, LOOP]
    assert len(lines) == 2 and "efficientnetb0" in lines[0] and "efficientnetlite0" in lines[1]


def test_the_loop_is_timed_step_by_step_and_stops_where_it_should(built, schema):
    config = Config.read(built.config)
    seconds, parameters = loop_step.run(config, schema, 9, str(built.records))  # two epochs
    assert len(seconds) == 1 + timing.WARMUP + 9 and min(seconds) > 0
    assert parameters == our_step.parameters(network.build(schema, config).logits)


def test_values_are_spread_evenly():
    assert growth.even_schema(3, 11).sizes == [4, 4, 3]


def test_graph_ops_do_not_grow_with_attributes_and_parameters_are_counted():
    few, many = (growth.measure_size(B0, t, 7 * t, 1) for t in (3, 30))
    assert few.ops == many.ops
    per_branch = (1280 + 1) * 8 + (8 + 1) * 8 + 8 * TILE + 7
    assert (few.parameters, many.parameters) == (3 * per_branch, 30 * per_branch)
    assert len(growth.table([few, many]).splitlines()) == 3


def test_a_config_that_cannot_be_is_one_line(built):
    wrong = ["--what=step", f"--config={built.config}", f"--schema={built.schema_file}"]
    result = run_tool("bench", *wrong, "--count=1", "--set=model.trunk=small_cmm")
    require_bad_input(result, "small_cmm", "small_cnn")


@pytest.mark.slow
def test_the_program_measures_step_and_loop(built):
    some = [f"--config={built.config}", f"--records={built.records}", "--count=2"]
    result = run_tool("bench", "--what=step", *some)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == [OURS, OURS_HALF, LOOP]
    assert "of the bare step's speed" in lines[4] and "skipped" in lines[5]


@pytest.mark.slow
def test_every_contender_runs_a_pass(schema):
    names, _ = step.contenders(B0, None)
    for name in names:
        measured = step.run_pass(name, B0, schema, 1, None)
        assert len(measured["seconds"]) == 1 + timing.WARMUP + 1
        assert 0.1 < measured["peak_gib"] < 20
    assert keras.mixed_precision.global_policy().name == "float32"  # the passes' own affair
