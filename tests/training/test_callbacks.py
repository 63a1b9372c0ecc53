"""The progress bar, and the one-line error when numbers are no longer finite."""

from __future__ import annotations

import re
from itertools import islice
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit
from attr_extractor.training.callbacks import Progress, StopAtNaN
from attr_extractor.training.checkpoints import saved_steps
from attr_extractor.training.figures import StepFigures
from attr_extractor.training.step import TrainingModel
from tests.conftest import require_bad_input, run_tool

EVERY_STEP = "train.checkpoint_minutes=1e-9"


def products_of(built, config: Config, step: int) -> list[str]:
    """Return the products of the batch of a step, counted from 0."""
    manifest = Manifest.read(built.records)
    stream = dataset.training_batches(built.records, manifest, config.data, config.train.seed)
    (batch,) = islice(stream.as_numpy_iterator(), step, step + 1)
    return list(dict.fromkeys(product.decode() for product in batch["product_id"]))


def network_with(weight: float = 0.0) -> keras.Model:
    network = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2)])
    network.set_weights([np.full([3, 2], weight, np.float32), np.zeros(2, np.float32)])
    return network


def stop_after(built, config: Config, step: int, weight: float = 0.0) -> StopAtNaN:
    """Return the callback with a model after a number of steps."""
    stop = StopAtNaN(built.records, Manifest.read(built.records), config, StepFigures())
    optimizer = SimpleNamespace(iterations=tf.Variable(step))
    stop.set_model(SimpleNamespace(optimizer=optimizer, network=network_with(weight)))
    return stop


@pytest.mark.slow
def test_an_absurd_learning_rate_ends_with_one_line_and_a_finite_checkpoint(built, tmp_path):
    run = tmp_path / "run"
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}", f"--run_dir={run}",
        "--set=train.learning_rate=1e30", f"--set={EVERY_STEP}",
    )  # fmt: skip
    require_bad_input(result, "the loss is not finite", "a train.learning_rate below 1e+30")
    step = int(re.findall(r"^error: step (\d+): ", result.stderr, re.MULTILINE)[0])
    products = products_of(built, Config.read(built.config), step - 1)
    assert f"contains the products {', '.join(products)};" in result.stderr
    assert not (run / "weights.npz").exists()
    (newest, *_) = saved_steps(run / "checkpoints")
    assert 0 < newest < step
    saved = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{newest}"))
    kernels = [name for name in saved.get_variable_to_dtype_map() if name.startswith("network/")]
    assert len(kernels) > 10
    assert all(np.isfinite(saved.get_tensor(name)).all() for name in kernels)


@pytest.mark.filterwarnings("ignore:overflow encountered")  # the rate is infinite in float32
def test_infinite_weights_after_a_finite_loss_are_not_saved(built, tmp_path):
    config = Config.read(
        built.config, ["train.learning_rate=1e39", "train.warmup_epochs=0", EVERY_STEP]
    )
    with pytest.raises(InputError, match="step 1: the weights .* are not finite after the step"):
        fit.train(config, built.records, tmp_path / "run")
    assert saved_steps(tmp_path / "run" / "checkpoints") == []


def test_the_loss_is_checked_before_a_checkpoint_is_saved(built, tmp_path, monkeypatch):
    def third_step_fails(self, batch, logs=None):
        if self.model.optimizer.iterations == 3:
            raise InputError("stop")

    monkeypatch.setattr(StopAtNaN, "on_train_batch_end", third_step_fails)
    with pytest.raises(InputError, match="stop"):
        fit.train(Config.read(built.config, [EVERY_STEP]), built.records, tmp_path / "run")
    assert saved_steps(tmp_path / "run" / "checkpoints") == [2, 1]


def figures_of(*losses: float) -> list[dict[str, tf.Tensor]]:
    return [{"loss": tf.constant(loss), "score": tf.constant(0.5)} for loss in losses]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("reads", ["on_train_batch_end", "on_test_begin", "require_finite"])
def test_the_error_names_the_first_step_without_a_finite_loss_and_its_products(
    built, loss: float, reads: str
):
    """Five steps were made since the last read; the third of them is to blame."""
    config = Config.read(built.config)
    stop = stop_after(built, config, 9)
    stop.figures.add(*figures_of(2.0))
    stop.on_train_batch_end(0, stop.figures.read())
    for figures in figures_of(3.0, 2.0, loss, float("nan"), float("nan")):
        stop.figures.add(figures)
        stop.on_train_batch_end(0, {})  # not read
    calls = {
        "on_train_batch_end": lambda: stop.on_train_batch_end(0, stop.figures.read()),
        "on_test_begin": stop.on_test_begin,
        "require_finite": stop.require_finite,
    }
    with pytest.raises(InputError) as caught:
        calls[reads]()
    names = ", ".join(products_of(built, config, 6))
    assert str(caught.value).startswith(
        f"step 7: the loss is not finite; its batch contains the products {names}; in a new run"
    )


def test_a_loss_that_is_not_finite_is_found_late_and_never_saved(built, tmp_path, monkeypatch):
    """No step is read on its own: the end of the epoch finds the fifth step, before any save."""
    made: list[TrainingModel] = []

    def spoil(self, data):
        figures = whole(self, data)
        made.append(self)
        bad = tf.equal(self.optimizer.iterations, 5)
        self.losses_seen.sums.assign_add(tf.where(bad, float("nan"), 0.0) * tf.ones([4]))
        return {**figures, "loss": self.losses_seen.result()}

    whole = TrainingModel.train_step
    monkeypatch.setattr(TrainingModel, "train_step", spoil)
    monkeypatch.setattr(StepFigures, "read_if_due", lambda self: {})
    with pytest.raises(InputError, match="^step 5: the loss is not finite"):
        fit.train(Config.read(built.config), built.records, tmp_path / "run")
    assert saved_steps(tmp_path / "run" / "checkpoints") == []
    assert int(tf.convert_to_tensor(made[0].optimizer.iterations)) > 5


def after_nan(built, config: Config, step: int) -> None:
    """Read a loss that is no number after a number of steps."""
    stop = stop_after(built, config, step)
    stop.figures.add(*figures_of(float("nan")))
    stop.on_train_batch_end(0, stop.figures.read())


def test_the_error_names_at_most_8_products(built):
    config = Config.read(built.config, ["data.batch_size=24"])
    products = products_of(built, config, 1)
    with pytest.raises(InputError) as caught:
        after_nan(built, config, 2)
    expected = f"products {', '.join(products[:8])} and {len(products) - 8} more; in a new"
    assert expected in str(caught.value)


def test_a_validation_loss_that_is_not_finite_raises(built):
    stop = stop_after(built, Config.read(built.config), 9)
    stop.on_epoch_end(0, {"loss": 1.0})  # a run without validation
    stop.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    with pytest.raises(InputError, match="step 9: the validation loss is not finite"):
        stop.on_epoch_end(0, {"loss": 1.0, "val_loss": float("nan")})


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_raises(built, weight: float):
    config = Config.read(built.config)
    stop_after(built, config, 2, 1e38).require_finite()
    with pytest.raises(InputError, match="step 2: the weights .*kernel.* are not finite"):
        stop_after(built, config, 2, weight).require_finite()


@pytest.mark.parametrize(
    "settings, tips",
    [
        (
            ["train.learning_rate=0.25"],
            "a train.learning_rate below 0.25, train.clip_norm=1 or train.warmup_epochs=1.5",
        ),
        (
            ["train.clip_norm=5", "train.warmup_epochs=0", "train.precision=mixed_bfloat16"],
            "a train.learning_rate below 0.002, train.clip_norm=0.5, train.warmup_epochs=1 or "
            "train.precision=float32",
        ),
    ],
)
def test_the_suggested_remedies_depend_on_the_config(built, settings: list[str], tips: str):
    with pytest.raises(InputError) as caught:
        after_nan(built, Config.read(built.config, settings), 1)
    assert str(caught.value).endswith(f"; in a new run directory, try {tips}")


# Progress bar


def test_the_bar_counts_photos_of_the_whole_run_from_the_resumed_step(
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


def test_the_bar_counts_steps_when_their_figures_are_read(capsys: pytest.CaptureFixture):
    """A step that was only sent to the device may still be running."""
    progress = Progress(total_steps=100, start_step=0, batch_size=8)
    progress.on_train_batch_end(0, {"loss": 2.0, "score": 0.5})
    counts = []
    for logs in ({}, {}, {"loss": 1.0, "score": 0.5}, {}):
        progress.on_train_batch_end(0, logs)
        counts.append(progress.bar.n)
    progress.on_test_begin()
    counts.append(progress.bar.n)
    progress.close()
    assert counts == [8, 8, 32, 32, 40]


def test_the_metrics_of_an_epoch_are_one_line(capsys: pytest.CaptureFixture):
    progress = Progress(total_steps=2, start_step=0, batch_size=8)
    progress.on_epoch_end(4, {"loss": 1.5, "val_score": 0.25})
    progress.close()
    assert capsys.readouterr().out == "epoch 5: loss 1.5, val_score 0.25\n"


def test_closing_the_bar_ends_its_line(capsys: pytest.CaptureFixture):
    progress = Progress(total_steps=2, start_step=0, batch_size=8)
    progress.close()
    progress.close()
    assert capsys.readouterr().err.endswith("\n")
