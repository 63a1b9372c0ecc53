"""Features of a frozen trunk, computed by several processes or hosts before the training.

A task is a shard in one view. Its file has all that a worker needs, and its result is the file of
features itself; so a rerun computes only what is missing, and `train` finds all files there.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Dict

from attr_extractor import files, ownership, storage, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model.network import Network
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.runner import Runner
from attr_extractor.training import features, fit

_TASKS = "tasks"  # a folder beside the features, removed at the end


class FeatureTask(yaml_files.Model):
    """Content of a task file."""

    records: str
    config: Dict[str, Any]  # of the run, settled
    folder: str
    view: int
    shard: str
    path: str


def compute(config: Config, records: str | Path, runner: Runner) -> features.Plan:
    """Compute the features of all photos that are not stored yet; return their files.

    Raises:
      InputError: if `train.features` is off, a shard is damaged, the disk has too little room, or a
        worker has other weights of the trunk.
      TemporaryError: if another program is computing the same features, or a worker was lost.
    """
    if config.train.features == "none":
        raise InputError("the config has train.features: none; set it to positions or pooled")
    manifest = Manifest.read(records)
    config, _ = fit.settled(config)
    planned = features.plan(records, manifest, config, fit.network_of_features(config, manifest))
    if not planned.missing:
        return planned
    features.announce(planned, config)
    with ownership.folder(planned.folder, "the folder of features"):
        features.require_room(planned)
        folder = storage.join(planned.folder, _TASKS)
        storage.make_folder(folder)
        paths = []
        for part in planned.missing:
            task = FeatureTask(
                records=str(records),
                config=config.model_dump(mode="json"),
                folder=planned.folder,
                **part._asdict(),
            )
            paths.append(storage.join(folder, f"{part.shard}-view-{part.view}.json"))
            files.write_json(paths[-1], task.model_dump(mode="json"))
        runner.run(write_features, paths, "features")
        storage.remove_folder(folder)
    return planned


def write_features(task_path: str) -> None:
    """Compute the features of a task.

    Raises:
      InputError: if the shard is damaged, or this host has other weights of the trunk.
    """
    content = files.read_json(task_path, "the task")
    task = yaml_files.validate(FeatureTask, content, task_path)
    config, manifest, whole = _prepared(json.dumps(task.config), task.records)
    if features.folder_of(task.records, config, whole) != task.folder:
        raise InputError(
            f"{task.path}: this host has other weights of the trunk than the host that "
            "planned the features"
        )
    part = features.Part(task.view, task.shard, task.path)
    features.write(task.records, manifest, config, whole, [part])


@functools.lru_cache(maxsize=1)
def _prepared(config: str, records: str) -> tuple[Config, Manifest, Network]:
    """Read the records' manifest and build the network once for all tasks of a process."""
    read = yaml_files.validate(Config, json.loads(config), "the config of a task")
    manifest = Manifest.load(records)  # the launcher has checked the shards
    return read, manifest, fit.network_of_features(read, manifest)
