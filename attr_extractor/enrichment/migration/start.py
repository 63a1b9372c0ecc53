"""Migration of a trained run: a run directory from which `train.init_from` starts a new run.

Weights that do not belong to single attributes stay bit-identical. A value that comes from several
starts with the mean of their output columns. Each of n values that an old value is split into
starts with its column and a bias lower by log n, so that the n scores add up to about the old one.
Hidden layers of new branches are initialised like those of a new network. The output of a new value
starts at its prior in the new records, independent of the photo: random columns on trained features
would start at arbitrary scores. An attribute that comes from several starts with the branch of the
first; values that only the others have start like new values, because their output columns belong
to other features.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np

from attr_extractor import files, made_from
from attr_extractor.enrichment.migration.plan import Plan, Source
from attr_extractor.errors import InputError
from attr_extractor.model import branches, network
from attr_extractor.model.thresholds import OfAttribute, Thresholds
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir


def migrate_weights(plan: Plan, run: RunDir, manifest: Manifest) -> dict[str, np.ndarray]:
    """Return the weights of the run's network for the new schema; see `network.layer_arrays`.

    Args:
      manifest: of records of the new schema, for the priors of new values.

    Raises:
      InputError: if the run is not trained, or one of its files is damaged.
    """
    old = network.layer_arrays(run.load_network().trained)
    fresh = network.layer_arrays(_fresh(plan, run, manifest).trained)
    result = dict(fresh)
    for name, array in old.items():
        if _has_row_per_value(plan, name, array):
            result[name] = _rows(plan, name, array, fresh[name])
        elif not name.startswith(f"{network.BRANCHES}/"):
            result[name] = array
    of_old = branches.unpack(_of_layer(old, network.BRANCHES), plan.old.sizes)
    of_new = branches.unpack(_of_layer(fresh, network.BRANCHES), plan.new.sizes)
    of_new = [branch._replace(kernel3=np.zeros_like(branch.kernel3)) for branch in of_new]
    for name, (source, *_) in plan.sources.items():
        before = of_old[plan.old.index[source.old.name]]
        of_new[plan.new.index[name]] = _branch(source, before, of_new[plan.new.index[name]])
    result.update(_as_layer(network.BRANCHES, branches.pack(of_new)))
    return result


def migrate_thresholds(plan: Plan, old: Thresholds) -> Thresholds:
    """Return thresholds and temperatures for the new schema; merged values get the mean."""
    attributes = dict(Thresholds.of_schema(plan.new).attributes)
    for name, sources in plan.sources.items():
        before, values = old.attributes[sources[0].old.name], {}
        for value in plan.new[name].values:
            limits = [
                old.attributes[source.old.name].values.get(
                    old_value, old.attributes[source.old.name].threshold
                )
                for source in sources
                for old_value in source.old_values[value]
            ] or [plan.new[name].threshold]
            if limits != [before.threshold] * len(limits):
                values[value] = float(np.mean(limits))
        attributes[name] = OfAttribute(
            threshold=before.threshold,
            temperature=before.temperature,
            trust=before.trust,
            goal=before.goal,
            values=values,
        )
    return Thresholds(
        fingerprint=plan.new.fingerprint, split=old.split, photos=old.photos, attributes=attributes
    )


def write_start(
    plan: Plan, run: RunDir, records: str | Path, manifest: Manifest, output_dir: str | Path
) -> None:
    """Write config, schema, records.json, thresholds.json, metrics.json and, last, weights.npz.

    metrics.json has only the origin of the trunk's weights.

    Resumes an interrupted call.

    Raises:
      InputError: see `migrate_weights`; or if the folder contains something else.
    """
    weights, old_thresholds = migrate_weights(plan, run, manifest), run.thresholds()
    thresholds, digest = migrate_thresholds(plan, old_thresholds), made_from.weights_digest(weights)
    if old_thresholds.calibrated:  # on the weights that the new ones come from
        thresholds = thresholds.model_copy(update={"weights": digest})
    start = RunDir.create(output_dir, run.config, records, manifest)
    if run.trunk.is_dir():
        shutil.copytree(run.trunk, start.trunk, dirs_exist_ok=True)
    path = start.path / "weights.npz"
    if path.is_file():  # the table, which is written after it, was not finished
        written = files.read_arrays(path)
        if written.keys() != weights.keys() or any(
            not np.array_equal(array, written[name]) for name, array in weights.items()
        ):
            raise InputError(f"{output_dir}: contains another run; name a new folder or remove it")
        return
    files.write_json(start.path / "thresholds.json", thresholds.model_dump())
    origin = {"weights_digest": digest, "trunk_weights": run.trunk_weights or None}
    start.update_metrics("training", origin)
    files.write_arrays(path, weights)


def _fresh(plan: Plan, run: RunDir, manifest: Manifest) -> network.Network:
    """Return the run's network for the new schema, untrained, in float32."""
    config = run.config_to_load()  # the trunk's weights always come from the run
    model = config.model.model_copy(update={"prior_bias": True})
    config = config.model_copy(update={"model": model})
    keras.utils.set_random_seed(config.train.seed)
    return network.build(plan.new, config, manifest.frequencies("train"))


def _has_row_per_value(plan: Plan, name: str, array: np.ndarray) -> bool:
    """Return whether an array is of the context's layers and not that of the words' pieces."""
    of_context = name.split("/")[0] in (network.EVIDENCE, network.BASE)
    return of_context and len(array) == plan.old.num_values


def _of_layer(arrays: dict[str, np.ndarray], layer: str) -> list[np.ndarray]:
    count = sum(name.split("/")[0] == layer for name in arrays)
    return [arrays[f"{layer}/{i}"] for i in range(count)]


def _as_layer(layer: str, weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{layer}/{i}": weight for i, weight in enumerate(weights)}


def _branch(
    source: Source, before: branches.BranchWeights, fresh: branches.BranchWeights
) -> branches.BranchWeights:
    position = {value: i for i, value in enumerate(source.old.values)}
    kernel, bias = fresh.kernel3.copy(), fresh.bias3.copy()
    for i, old_values in enumerate(source.old_values.values()):
        if not old_values:
            continue
        columns = [position[value] for value in old_values]
        lower = np.log([len(source.new_values[v]) for v in old_values]).astype(np.float32)
        kernel[:, i] = before.kernel3[:, columns].mean(axis=1)
        bias[i] = (before.bias3[columns] - lower).mean()
    return before._replace(kernel3=kernel, bias3=bias)


def _rows(plan: Plan, name: str, old: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Return an array with a row per value, [V] or [V, E]: means over the values it comes from.

    A new value has its fresh base rate; its vectors are 0, so it is no evidence for others and has
    none. An old value that several new attributes come from is evidence once, in equal shares.
    """
    of_cells = name == f"{network.EVIDENCE}/1"
    result = fresh.copy() if name.startswith(f"{network.BASE}/") else np.zeros_like(fresh)
    position = {value: v for v, value in enumerate(plan.old.value_names)}
    for attribute, sources in plan.sources.items():
        for v, value in enumerate(plan.new[attribute].values, plan.new.slices[attribute].start):
            pairs = [
                (source.old.name, old_value)
                for source in sources
                for old_value in source.old_values[value]
            ]
            if pairs:
                rows = old[[position[f"{origin}={old_value}"] for origin, old_value in pairs]]
                if of_cells:
                    rows = rows / np.array(
                        [[sum(bool(s.new_values[v]) for s in plan.targets[o])] for o, v in pairs],
                        np.float32,
                    )
                result[v] = rows.mean(axis=0)
    return result
