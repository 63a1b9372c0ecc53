"""Claims about `training/progress.py`: the bar says speed, time left, loss and mean score."""

from __future__ import annotations

import re

import pytest

from attr_extractor.training.progress import Progress


def test_the_bar_counts_photos_of_the_whole_run_from_where_it_goes_on(
    capsys: pytest.CaptureFixture,
):
    progress = Progress(total_steps=100, start_step=40, batch_size=8)
    for step in range(3):
        progress.on_train_batch_end(step, {"loss": 1.23456, "score": 0.5})
    progress.on_epoch_end(4, {"loss": 1.5, "val_score": 0.25})
    progress.on_train_end()
    shown = re.split(r"[\r\n]+", capsys.readouterr().err.strip())
    assert "320/800" in shown[0]
    last = shown[-1]
    assert re.search(r"344/800 \[\d\d:\d\d<\d\d:\d\d,.*img/s", last)  # time so far < time left
    assert "loss=1.235, score=0.500" in last


def test_an_epochs_figures_stand_on_a_line_of_their_own(capsys: pytest.CaptureFixture):
    progress = Progress(total_steps=2, start_step=0, batch_size=8)
    progress.on_epoch_end(4, {"loss": 1.5, "val_score": 0.25})
    progress.close()
    assert capsys.readouterr().out == "epoch 5: loss 1.5, val_score 0.25\n"


def test_what_is_printed_after_closing_stands_on_a_new_line(capsys: pytest.CaptureFixture):
    progress = Progress(total_steps=2, start_step=0, batch_size=8)
    progress.close()
    progress.close()
    assert capsys.readouterr().err.endswith("\n")
