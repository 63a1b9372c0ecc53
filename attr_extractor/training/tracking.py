"""Tracked runs: a run directory's parameters, figures and files in MLflow or Weights & Biases.

`train.tracker` selects the service; its library's environment variables contain its address and
credentials. A tracked run has the config's keys as parameters, the scalars of TensorBoard by step,
the main numbers of metrics.json, files of the run directory, and the exported models. tracker.json
names it, so that a resumed training and later programs continue it.

If the service cannot be opened, a training ends before its first step. If it fails later, the
program ends too, because a run that is tracked in part looks like a whole one: the rerun command
repeats the unfinished epoch from the last checkpoint, and logs it then.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from attr_extractor import files, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError, TemporaryError, extra
from attr_extractor.training.checkpoints import saved_steps
from attr_extractor.training.run_dir import CHECKPOINTS, RunDir

FILE = "tracker.json"
TRAINED = ("config.yaml", "schema.yaml", "thresholds.json", "metrics.json", "weights.npz")
_LONGEST_NAME = 250  # characters of a figure's name, MLflow's limit


class Service(Protocol):
    """A tracked run that is open, by the service's own library, whose errors pass through."""

    id: str

    def log_points(self, points: Mapping[str, float], step: int) -> None:
        """Log scalars of a step."""

    def log_results(self, results: Mapping[str, float], step: int) -> None:
        """Log numbers that replace earlier ones of the same names; the training is at `step`."""

    def log_file(self, path: Path) -> None:
        """Log a file of the run directory."""

    def log_model(self, folder: Path, name: str, version: int) -> None:
        """Log the folder of a version of an exported model."""

    def close(self, error: BaseException | None) -> None:
        """End the session; `error` is what ended the program, None if it succeeded."""


class State(yaml_files.Model):
    """Content of tracker.json."""

    tracker: Literal["mlflow", "wandb"]
    id: str  # of the tracked run
    step: int = 0  # of the last logged points
    weights: str = ""  # digest of the weights whose training is logged to its end


class ServiceError(TemporaryError):
    """A service failed after it was opened."""


class Tracker:
    """Tracker of a run that is not tracked."""

    def log_points(self, points: Mapping[str, float], step: int) -> None:
        """Log the scalars of an epoch, by name; NaN is left out."""

    def log_training(self) -> None:
        """Log the result of a finished training."""

    def log_section(self, section: str, names: Sequence[str]) -> None:
        """Log a section of metrics.json, see `_numbers`, and files of the run directory."""

    def log_model(self, folder: Path, name: str, version: int) -> None:
        """Log a version of an exported model."""


class ServiceTracker(Tracker):
    """Tracker of a run in a service.

    Args:
      trains: whether the run is being trained; False for later programs.

    Raises:
      InputError: if the library is missing or cannot open the tracked run.
      ServiceError: from every method, if the service fails.
    """

    def __init__(self, run: RunDir, trains: bool):
        self.run = run
        which = run.config.train.tracker
        require_library(run.config)
        state = _read_state(run)
        module = importlib.import_module(f"attr_extractor.training.{which}_service")
        try:
            self.service: Service = module.open_run(run, state.id if state else None, trains)
        except Exception as error:
            raise InputError(f"train.tracker: {which} cannot be opened: {error}") from error
        self.state = state or State(tracker=module.NAME, id=self.service.id)
        self._update()

    def log_points(self, points: Mapping[str, float], step: int) -> None:
        """Log an epoch's finite scalars, unless those of this step are logged."""
        if step <= self.state.step:
            return
        with self._calling():
            self.service.log_points({k: v for k, v in points.items() if math.isfinite(v)}, step)
        self._update(step=step)

    def log_training(self) -> None:
        """Log the result of a finished training, unless it is logged."""
        digest = self.run.weights_digest
        if self.state.weights != digest:
            self.log_section("training", TRAINED)
            self._update(weights=digest)

    def log_section(self, section: str, names: Sequence[str]) -> None:
        """Log a section of metrics.json, see `_numbers`, and files of the run directory."""
        results = dict(_numbers(self.run.metrics()[section], _part(section)))
        with self._calling():
            self.service.log_results(results, self.state.step)
            for name in names:
                self.service.log_file(self.run.path / name)

    def log_model(self, folder: Path, name: str, version: int) -> None:
        """Log the folder of a version of an exported model."""
        with self._calling():
            self.service.log_model(folder, name, version)

    def close(self, error: BaseException | None = None) -> None:
        """End the session; `error` is what ended the program."""
        with self._calling():
            self.service.close(error)

    def _update(self, **changed: Any) -> None:
        self.state = self.state.model_copy(update=changed)
        files.write_json(self.run.path / FILE, self.state.model_dump())

    @contextmanager
    def _calling(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise ServiceError(
                f"{self.run.path}: {self.state.tracker} fails: {error}; rerun the command once it "
                "works, or rerun the training with --set train.tracker=none to go on without it"
            ) from error


def require_library(config: Config) -> None:
    """Raise InputError if the library of `train.tracker` is not installed."""
    if config.train.tracker != "none":
        with extra(config.train.tracker):
            importlib.import_module(config.train.tracker)


@contextmanager
def untracked() -> Iterator[Tracker]:
    """Track nothing."""
    yield Tracker()


@contextmanager
def training(run: RunDir) -> Iterator[Tracker]:
    """Track a training; a finished one that is logged to its end is not opened again."""
    with untracked() if _is_logged(run) else _opened(run, trains=True) as tracker:
        yield tracker
        tracker.log_training()


@contextmanager
def continued(run: RunDir) -> Iterator[Tracker]:
    """Continue the tracked run of a trained run, if it is tracked."""
    with _opened(run, trains=False) as tracker:
        yield tracker


@contextmanager
def _opened(run: RunDir, trains: bool) -> Iterator[Tracker]:
    if run.config.train.tracker == "none":
        yield Tracker()
        return
    tracker = ServiceTracker(run, trains)
    try:
        yield tracker
    except ServiceError:
        raise  # the service would not take the end either
    except BaseException as error:
        try:
            tracker.close(error)
        except ServiceError as second:  # reported, so that it does not replace the first
            print(second, file=sys.stderr)
        raise
    tracker.close()


def _is_logged(run: RunDir) -> bool:
    """Return whether a run is trained, and logged to its end."""
    state, weights = _read_state(run), run.path / "weights.npz"
    if state is None or saved_steps(run.path / CHECKPOINTS)[:1] != [state.step]:
        return False
    return weights.is_file() and run.weights_digest == state.weights


def _read_state(run: RunDir) -> State | None:
    """Read tracker.json; None if it is missing or belongs to another tracker."""
    path = run.path / FILE
    if not path.is_file():
        return None
    state = yaml_files.validate(State, files.read_json(path, "the tracked run"), str(path))
    return state if state.tracker == run.config.train.tracker else None


def _numbers(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested mappings, named by their keys; of each attribute only its score.

    With all numbers of every attribute, a demo run has more than a thousand.
    """
    for key, value in content.items():
        if key == "attributes":
            value = {of: {"score": row.get("score")} for of, row in value.items()}
        name = f"{prefix}/{_part(key)}"[:_LONGEST_NAME]
        if isinstance(value, Mapping):
            yield from _numbers(value, name)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)


def _part(key: str) -> str:
    """Return a key as a part of a name: both services take words, spaces and hyphens."""
    return re.sub(r"[^\w -]", "_", key) or "_"
