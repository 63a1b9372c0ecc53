"""Tracked runs in MLflow; see tracking.py.

MLFLOW_TRACKING_URI names the server or folder, MLFLOW_EXPERIMENT_NAME the experiment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param

from attr_extractor.errors import InputError
from attr_extractor.training.run_dir import RunDir

NAME = "mlflow"
EXPERIMENT = "attr-extractor"
EXAMPLE = "http://localhost:5000"
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000  # per request, MLflow's limits


class MLflowRun:
    """A tracked run in MLflow."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, resumed: bool, trains: bool):
        self.client = client
        self.id = run_id
        self.resumed = resumed
        self.trains = trains

    def log_points(self, points: Mapping[str, float], step: int) -> None:
        """Log metrics of a step, those that MLflow does not have yet."""
        if self.resumed:  # an interrupted program may have logged some of them
            histories = {k: self.client.get_metric_history(self.id, k) for k in points}
            logged = {k for k, points in histories.items() if any(p.step == step for p in points)}
            points = {k: v for k, v in points.items() if k not in logged}
            self.resumed = False
        self._log(points, step)

    def log_results(self, results: Mapping[str, float], step: int) -> None:
        """Log metrics whose newest values in MLflow differ."""
        before = self.client.get_run(self.id).data.metrics
        self._log({k: v for k, v in results.items() if before.get(k) != v}, step)

    def log_file(self, path: Path) -> None:
        """Log an artifact, in place of an earlier one of the same name."""
        self.client.log_artifact(self.id, str(path))

    def log_model(self, folder: Path, name: str, version: int) -> None:
        """Log a model's version as the artifacts exported/NAME/VERSION."""
        self.client.log_artifacts(self.id, str(folder), f"exported/{name}/{version}")

    def close(self, error: BaseException | None) -> None:
        """Set the status of a trained run."""
        if self.trains:  # a later program does not change whether the training succeeded
            failed = "FAILED" if isinstance(error, Exception) else "KILLED"
            self.client.set_terminated(self.id, "FINISHED" if error is None else failed)

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())  # ms
        metrics = [Metric(name, number, now, step) for name, number in numbers.items()]
        for start in range(0, len(metrics), _MOST_METRICS):
            self.client.log_batch(self.id, metrics=metrics[start : start + _MOST_METRICS])


def open_run(run: RunDir, run_id: str | None, trains: bool) -> MLflowRun:
    """Create a tracked run, or open an earlier one."""
    if not mlflow.is_tracking_uri_set() and importlib.util.find_spec("sqlalchemy") is None:
        # MLflow's default is a database, which its small package cannot write
        raise InputError(f"MLFLOW_TRACKING_URI is not set; set it to a server, such as {EXAMPLE}")
    client = mlflow.MlflowClient()
    address = re.sub("//[^/]*@", "//", client.tracking_uri)  # without a password
    print(f"tracked by MLflow at {address}", file=sys.stderr)  # an absent server takes minutes
    resumed = run_id is not None
    if run_id is None:
        name = f"{run.config.name}/{run.path.resolve().name}"
        run_id = client.create_run(_experiment(client), run_name=name).info.run_id
    elif trains:
        client.update_run(run_id, status="RUNNING")
    else:
        client.get_run(run_id)
    if trains or not resumed:
        config = run.config.model_dump(mode="json")
        params = [Param(name, value) for name, value in parameters(config)]
        for start in range(0, len(params), _MOST_PARAMETERS):
            client.log_batch(run_id, params=params[start : start + _MOST_PARAMETERS])
    return MLflowRun(client, run_id, resumed, trains)


def _experiment(client: mlflow.MlflowClient) -> str:
    """Return the experiment's id; create the experiment if it does not exist."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(name)
    return experiment.experiment_id if experiment else client.create_experiment(name)


def parameters(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of nested mappings, joined by dots, with their values as text."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from parameters(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
