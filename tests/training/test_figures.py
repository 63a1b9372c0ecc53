"""When the figures of the steps are read, and that a training step reads no number."""

from __future__ import annotations

import time

import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.training import fit
from attr_extractor.training.figures import STEPS, StepFigures
from attr_extractor.training.loop import Loop
from benchmarks.host_reads import count_reads


def figures_of(loss: float) -> dict[str, tf.Tensor]:
    return {"loss": tf.constant(loss), "score": tf.constant(0.25)}


def test_one_process_reads_the_first_step_and_then_once_a_second(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    figures, read = StepFigures(), []
    for step in range(8):
        figures.add(figures_of(step))
        read.append(figures.read_if_due().get("loss"))
        clock[0] += 0.375
    assert read == [0, None, None, 3, None, None, 6, None]
    assert figures.read() == {"loss": 7, "score": 0.25}


def test_several_workers_read_after_the_same_steps(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    figures, read = StepFigures(workers=2), []
    for step in range(3 * STEPS):
        figures.add(figures_of(step))
        if figures.read_if_due():
            read.append(step + 1)
        clock[0] += 17.0  # a slow machine
    assert read == [STEPS, 2 * STEPS, 3 * STEPS]


def test_the_losses_are_those_of_the_last_read():
    figures = StepFigures()
    assert figures.read() == {} and figures.losses() == []
    for losses in ([1.0, 2.0], [3.0, 4.0, 5.0]):
        for loss in losses:
            figures.add(figures_of(loss))
        assert figures.read()["loss"] == losses[-1]
        assert figures.read()["loss"] == losses[-1]  # again, without a step in between
        assert figures.losses() == losses


@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_no_step_reads_a_number(built, tmp_path, monkeypatch, strategy: str):
    """Also with all callbacks: all reads are those of the first and the last step of an epoch."""
    config = Config.read(built.config, [f"train.strategy={strategy}", "train.epochs=2"])
    reads: list[int] = []
    whole = Loop.__init__

    def counted(self, *arguments):
        whole(self, *arguments)
        train_step = self.train_step

        def step(batches):
            result = train_step(batches)
            reads.append(reader.count)
            return result

        self.train_step = step

    monkeypatch.setattr(Loop, "__init__", counted)
    monkeypatch.setattr(StepFigures, "read_if_due", lambda self: {})
    with count_reads() as reader:
        fit.train(config, built.records, tmp_path / "run")
    epoch = len(reads) // 2
    assert epoch > 5 and reader.count > reads[-1] > reads[0]
    for first in (0, epoch):
        assert set(reads[first : first + epoch]) == {reads[first]}
