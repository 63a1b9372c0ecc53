"""Export a trained run as a self-contained version folder for any TF Serving.

<output_dir>/<version>/saved_model.pb, variables/   the signatures of served_model.py
<output_dir>/<version>/assets/                      schema.yaml, model.json, the model card
<output_dir>/<version>/assets.extra/                TF Serving's warm-up requests
<output_dir>/deployment/                            configs to run TF Serving on it (deployment.py)
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
from attr_extractor.serving.model_dir import ModelFacts, versions
from attr_extractor.serving.served_model import ServedModel
from attr_extractor.training.run_dir import RunDir


def export(
    run_dir: str | Path, output_dir: str | Path, version: int | None = None, parts: int = 1
) -> Path:
    """Write `<output_dir>/<version>/` atomically.

    Args:
      version: the version's number; default: one more than the highest in the folder.
      parts: number of parts that the network is computed in, one for each core of a small CPU; see
        `parts.py`.

    Raises:
      InputError: if there is no trained run, the version exists, the folder's name is invalid as a
        model name, or the disk is full.
      TemporaryError: if another program is writing to the folder.
      RuntimeError: if the reloaded model's answers differ from the trained model's.
    """
    run = RunDir.read(run_dir)
    output_dir = Path(output_dir)
    deployment.require_name(output_dir)
    with ownership.folder(output_dir, "the folder of the model's versions"):
        for left in output_dir.glob(".*.tmp"):  # by an interrupted export
            if left.name[1:-4].isdecimal() and left.is_dir():
                shutil.rmtree(left)
        thresholds = run.thresholds()
        network, answers = run.load_network(thresholds), run.answers(thresholds)
        existing = versions(output_dir)
        version = max(existing, default=0) + 1 if version is None else version
        path = output_dir / str(version)
        if path.exists():
            raise InputError(f"{path}: this version exists; choose another")
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


def describe(run: RunDir, thresholds: Thresholds, parts: int = 1) -> ModelFacts:
    """Return the contents of model.json, with the digest of all that determines the answers."""
    facts = ModelFacts(
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


def _write_assets(run: RunDir, facts: ModelFacts, folder: Path) -> list[Path]:
    """Write the version's assets; return the files."""
    folder.mkdir(parents=True)
    run.schema.write(folder / "schema.yaml")
    files.write_json(folder / "model.json", facts.model_dump())
    if any((run.path / name).is_file() for name in (model_card.CARD, model_card.PAGE)):
        # rebuilt: weights or thresholds may have changed since it was written
        card, page = model_card.make_card(run)
        files.write_json(folder / model_card.CARD, card)
        (folder / model_card.PAGE).write_text(page, encoding="utf-8")
    return sorted(folder.iterdir())


def _write_warmup(path: Path, name: str) -> None:
    if importlib.util.find_spec("tensorflow_serving") is None:
        logging.warning(
            "the model has no warm-up requests; to add them: pip install 'attr-extractor[serving]'"
        )
        return
    from attr_extractor.serving import warmup

    warmup.write(path, name)
