"""Tracked runs in Weights & Biases; see tracking.py.

WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_API_KEY have their usual meanings. Local files are
in `wandb/` of the run directory, or in WANDB_DIR. The library uploads in the background, so a
connection that is lost while training ends no program: `wandb sync` uploads what is missing.
"""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from attr_extractor.training.run_dir import RunDir

NAME = "wandb"
PROJECT = "attr-extractor"


class WandbRun:
    """A tracked run in Weights & Biases."""

    def __init__(self, opened: Any):
        self.id = opened.id
        self.opened = opened

    def log_points(self, points: Mapping[str, float], step: int) -> None:
        """Log a row of the history."""
        self.opened.log(dict(points), step=step)

    def log_results(self, results: Mapping[str, float], step: int) -> None:
        """Set keys of the summary."""
        self.opened.summary.update(dict(results))

    def log_file(self, path: Path) -> None:
        """Save a copy among the run's files."""
        copy = Path(shutil.copy(path, self.opened.dir))  # W&B's own copy would be a link
        self.opened.save(glob.escape(str(copy)), base_path=self.opened.dir, policy="now")

    def log_model(self, folder: Path, name: str, version: int) -> None:
        """Log a model's version as an artifact of type `model`."""
        artifact = wandb.Artifact(name, type="model", metadata={"version": version})
        artifact.add_dir(str(folder))
        self.opened.log_artifact(artifact, aliases=["latest", f"version-{version}"])

    def close(self, error: BaseException | None) -> None:
        """Wait until everything is uploaded, and end the session."""
        self.opened.finish(exit_code=0 if error is None else 1)


def open_run(run: RunDir, run_id: str | None, trains: bool) -> WandbRun:
    """Create a tracked run, or open an earlier one."""
    opened = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=f"{run.config.name}/{run.path.resolve().name}",
        id=run_id or uuid.uuid4().hex[:8],
        resume="allow",
        config=run.config.model_dump(mode="json"),
        dir=os.environ.get("WANDB_DIR", str(run.path)),
        reinit="create_new",  # another run of the same process stays open
        settings=wandb.Settings(console="off", quiet=True),
    )
    return WandbRun(opened)
