"""A trained run -> a version folder that any TF Serving loads and that answers by itself.

<output_dir>/<version>/saved_model.pb, variables/   the signatures of served_model.py
<output_dir>/<version>/assets/                      schema.yaml, model.json, the model card
<output_dir>/<version>/assets.extra/                requests that TF Serving warms a version with
<output_dir>/deployment/                            how to run TF Serving on it (deployment.py)
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import tensorflow as tf
from absl import logging

from attr_extractor import __version__, files, made_from, ownership, storage
from attr_extractor.errors import InputError
from attr_extractor.evaluation import model_card
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.serving import deployment, verify
from attr_extractor.serving.model_dir import Facts, versions
from attr_extractor.serving.served_model import ServedModel
from attr_extractor.training.run_dir import RunDir


def export(
    run_dir: str | Path, output_dir: str | Path, version: int | None = None, parts: int = 1
) -> Path:
    """Writes `<output_dir>/<version>/`, whole or not at all.

    Args:
      version: by default one more than the highest version there.
      parts: that the network is computed in, one for each core of a small CPU; see `parts.py`.

    Raises:
      InputError: no trained run there, the version exists, the folder's name can be no model's, or
        the disk is full.
      TemporaryError: another program writes there.
      RuntimeError: the reloaded model does not answer as the trained one.
    """
    run = RunDir.read(run_dir)
    output_dir = Path(output_dir)
    deployment.require_name(output_dir)
    with ownership.folder(output_dir, "the folder of the model's versions"):
        for left in output_dir.glob(".*.tmp"):  # by an export that was killed
            if left.name[1:-4].isdecimal() and left.is_dir():
                shutil.rmtree(left)
        thresholds = run.thresholds()
        network, answers = run.load_network(thresholds), run.answers(thresholds)
        existing = versions(output_dir)
        version = max(existing, default=0) + 1 if version is None else version
        path = output_dir / str(version)
        if path.exists():
            raise InputError(f"{path}: this version exists; name another")
        temporary = output_dir / f".{version}.tmp"
        made = temporary / "version"
        try:
            facts = describe(run, thresholds, parts)
            with storage.writable(path):
                assets = _write_assets(run, facts, temporary / "assets")
            served = ServedModel(network, answers, run.config.data, assets, parts, facts.digest)
            signatures = served.signatures()
            with storage.writable(path):
                tf.saved_model.save(served, str(made), signatures=signatures)
            verify.verify(made, network, answers, run.config.data.image_size)
            with storage.writable(path):
                _write_warmup(made, output_dir.resolve().name)
                made.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with storage.writable(output_dir):
            deployment.write(output_dir, parts)
    return path


def describe(run: RunDir, thresholds: Thresholds, parts: int = 1) -> Facts:
    """What an exported run's model.json says, with the digest of all that decides its answers."""
    facts = Facts(
        name=run.config.name,
        fingerprint=run.schema.fingerprint,
        photo_short_side=run.origin.photo_short_side,
        image_size=run.config.data.image_size,
        square=run.config.data.square,
        thresholds=thresholds,
        gate_by_category=run.config.answers.gate_by_category,
        parts=parts,
        weights=run.weights_digest,
        network=run.config.model.model_dump(mode="json", exclude={"weights"}),
        records=run.origin.digest,
        release=__version__,
    )
    digest = made_from.description_digest(facts.model_dump())
    return facts.model_copy(update={"digest": digest})


def _write_assets(run: RunDir, facts: Facts, folder: Path) -> list[Path]:
    """Writes what becomes the version's assets: the files."""
    folder.mkdir(parents=True)
    run.schema.write(folder / "schema.yaml")
    files.write_json(folder / "model.json", facts.model_dump())
    if any((run.path / name).is_file() for name in (model_card.CARD, model_card.PAGE)):
        # made anew: weights or thresholds may be others than when it was written
        card, page = model_card.make(run)
        files.write_json(folder / model_card.CARD, card)
        (folder / model_card.PAGE).write_text(page, encoding="utf-8")
    return sorted(folder.iterdir())


def _write_warmup(path: Path, name: str) -> None:
    if importlib.util.find_spec("tensorflow_serving") is None:
        logging.warning(
            "no warm-up requests in the model: pip install 'attr-extractor[serving]' for them"
        )
        return
    from attr_extractor.serving import warmup

    warmup.write(path, name)
