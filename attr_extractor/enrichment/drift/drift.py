"""Compare a delivery with the records and write the result to a folder.

drift.html   a report page
drift.json   its figures; written last, so it marks a complete folder
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from attr_extractor import files, ownership, storage
from attr_extractor.catalogue import raw_files
from attr_extractor.enrichment.drift import clouds, compare, delivery, page, parts, reference, views
from attr_extractor.enrichment.drift.compare import AUC, DRIFTED, LOOK, PSI, SHARE, Comparison
from attr_extractor.enrichment.drift.far_photos import Embeddings, describe
from attr_extractor.enrichment.drift.options import DriftOptions
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, require_same
from attr_extractor.serving import model_dir

PAGE, FIGURES = "drift.html", "drift.json"
DRAWS = 2000  # minimum


def drift(
    catalogue: str | Path,
    records: str | Path,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    model: str | Path | None = None,
    schema: str | Path | None = None,
    box_columns: Sequence[str] | None = None,
    options: DriftOptions | None = None,
) -> dict[str, Any]:
    """Compare a delivery with records and write the output folder.

    Args:
      catalogue: the delivery's table.
      image_root: folder that its image paths are relative to; None: the table's folder.
      model: an exported model, for scores and embedding.
      schema: YAML file with the fingerprint of the records' schema, if the delivery has other
        column names or spellings.
      box_columns: four columns of the product box; None: those the records were built with.

    Returns:
      The content of drift.json.

    Raises:
      InputError: if an argument is invalid, or the output folder is not empty.
    """
    options = options or DriftOptions()
    manifest = Manifest.read(records)
    used = manifest.schema if schema is None else Schema.read(schema)
    require_same(manifest.fingerprint, used, str(records))
    asker, described = _asker(model, manifest, options)
    with_photos = options.has(parts.PHOTOS) or asker is not None
    if with_photos:
        manifest.split(options.split)
    root = raw_files.image_root_of(catalogue, image_root)
    if box_columns is None:
        box_columns = manifest.build["box_columns"]
    with ownership.new_folder(output_dir, "--output_dir") as folder:
        table = delivery.read(catalogue, used, box_columns, options.sample, options.seed)
        trained = reference.read(records, manifest, [p.product for p in table.sample], options.seed)
        chance = parts.Chance(_draws(used, options), np.random.default_rng(options.seed))
        compared: list[Comparison] = []
        if options.has(parts.LABELS):
            compared += parts.labels(used, trained.counts, table, chance)
            rows = (manifest.rows["read"] - manifest.rows["rejected"], table.products)
            listed = reference.unknown_values(records, manifest)
            compared += parts.unknown(used, listed, table.unknown, rows)
            compared.append(parts.rows(table, manifest.rows))
        sent, embeddings = views.Files(), None
        if with_photos:
            sent = views.read(root, table.sample, manifest.image_policy["short_side"])
            held = reference.photos(records, manifest, options.split, options.sample, options.seed)
            theirs = views.view([e for _, e in held], asker, f"inspecting {options.split}")
            ours = views.view([e for _, e in sent.stored], asker, "inspecting the delivery")
            if options.has(parts.PHOTOS):
                rejected = manifest.photos["rejected"]
                unread = (rejected, rejected + manifest.photos["written"])
                compared += parts.files(trained, sent, unread, chance)
                compared += parts.looked_at(theirs.looks, ours.looks, chance)
            if described is not None and options.has(parts.SCORES):
                compared += parts.scores(described.answers, theirs.scores, ours.scores, chance)
            if described is not None and options.has(parts.EMBEDDING):
                compared += parts.embedding(theirs.embedding, ours.embedding, chance)
                if len(theirs.embedding) > clouds.NEIGHBOURS:
                    embeddings = describe(theirs.embedding, ours.embedding, sent)
        judge(compared, options)
        found = _figures(manifest, table, trained, sent, compared, embeddings, options)
        text = page.render(used.name, found, compared, embeddings)
        storage.write(folder / PAGE, text.encode())
        files.write_json(folder / FIGURES, found)
        return found


def judge(compared: Sequence[Comparison], options: DriftOptions) -> None:
    """Set verdicts and adjusted p-values of all comparisons of a run."""
    for c, p in zip(compared, compare.adjust([c.p for c in compared])):
        c.p_adjusted = p
        limit = options.limits[c.kind]
        if p <= options.alpha and c.excess >= limit / 2:
            c.verdict = DRIFTED if c.excess >= limit else LOOK


def lines(found: dict[str, Any]) -> list[str]:
    """Return lines for a terminal: a summary, then each comparison that drifted or needs a look."""
    compared = found["comparisons"]
    count = {v: sum(c["verdict"] == v for c in compared) for v in (DRIFTED, LOOK)}
    told = [
        f"{found['products']:,} products, {found['photos_looked_at']:,} photos inspected: "
        f"{len(compared)} comparisons, {count[DRIFTED]} drifted, {count[LOOK]} worth a look"
    ]
    if found["sample_trained_on"]:
        told.append(
            f"{found['sample_trained_on']:,} of {found['sample']:,} sampled products are training "
            "products: the model is more confident on these than on new products"
        )
    for verdict in (DRIFTED, LOOK):
        told += [f"{verdict}: {c['line']}" for c in compared if c["verdict"] == verdict]
    return told


def drifted(found: dict[str, Any]) -> bool:
    """Return whether any comparison drifted."""
    return any(c["verdict"] == DRIFTED for c in found["comparisons"])


def _asker(
    model: str | Path | None, manifest: Manifest, options: DriftOptions
) -> tuple[views.Asker | None, model_dir.Description | None]:
    wanted = [part for part in (parts.SCORES, parts.EMBEDDING) if part in options.parts]
    if model is None:
        if wanted:
            raise InputError(f"--parts={wanted[0]}: requires an exported model; pass --model")
        return None, None
    if not options.has(parts.SCORES) and not options.has(parts.EMBEDDING):
        raise InputError(f"--model: not used by --parts={','.join(options.parts)}")
    described = model_dir.describe(model)
    require_same(described.facts.fingerprint, manifest.schema, str(described.path))
    short_side = manifest.image_policy["short_side"]
    if described.facts.photo_short_side != short_side:
        raise InputError(
            f"{described.path}: trained on photos with a short side of "
            f"{described.facts.photo_short_side}, but the records have {short_side}; use the "
            "records it was trained on"
        )
    if described.facts.records not in ("", manifest.digest):
        logging.warning(
            "%s: trained on other records (digest %s) than these (digest %s); if the split %s "
            "contains photos that it was trained on, its scores may falsely appear to have drifted",
            *(described.path, described.facts.records, manifest.digest, options.split),
        )
    return views.Asker(model_dir.load(model)), described


def _draws(schema: Schema, options: DriftOptions) -> int:
    """Return enough draws for the smallest p-value to be significant after adjustment."""
    comparisons = 5 * len(schema.attributes) + 12
    return max(DRAWS, math.ceil(2 * comparisons / options.alpha))


def _figures(
    manifest: Manifest,
    table: delivery.Delivery,
    trained: reference.Reference,
    sent: views.Files,
    compared: Sequence[Comparison],
    embeddings: Embeddings | None,
    options: DriftOptions,
) -> dict[str, Any]:
    return {
        "schema": manifest.fingerprint,
        "records": manifest.digest,
        "rows": table.read,
        "products": table.products,
        "rejects": dict(table.rejects.most_common()),
        "split": options.split,
        "cap_per_category": manifest.build["cap_per_category"],
        "group_column": manifest.build["group_column"],
        "train_products": manifest.splits[reference.TRAIN].products,
        "sample": len(table.sample),
        "sample_trained_on": trained.known,
        "photos_looked_at": len(sent.stored),
        "photos_not_readable": len(sent.rejects),
        "seed": options.seed,
        "alpha": options.alpha,
        "limits": options.limits,
        "comparisons": [_as_json(c) for c in compared],
        "embedding": None if embeddings is None else embeddings.figures(),
    }


def _as_json(c: Comparison) -> dict[str, Any]:
    found: dict[str, Any] = {
        "part": c.part,
        "subject": c.subject,
        "what": c.what,
        "verdict": c.verdict,
        "kind": c.kind,
        "size": round(c.size, 6),
        "chance": round(c.chance, 6),
        "p": c.p,
        "p_adjusted": c.p_adjusted,
        "reference_products": c.products[0],
        "delivery_products": c.products[1],
        "notes": c.notes,
        "levels": [
            {"name": n, "reference": round(p, 6), "delivery": round(q, 6)} for n, p, q in c.levels
        ],
    }
    if c.levels:
        found["moved"] = round(c.moved, 6)
    if c.distance is not None:
        found["ks"] = round(c.distance, 6)
    found["line"] = line(c)
    return found


def line(c: Comparison) -> str:
    """Format a comparison in one line: its size, and the shares that changed most."""
    size = {
        PSI: f"PSI {c.size:.2f} ({c.chance:.2f} by chance)",
        SHARE: f"{100 * c.size:+.1f} points",
        AUC: f"AUC {c.size:.2f} ({c.chance:.2f} by chance)",
    }[c.kind]
    shown = c.most_moved(3) if c.kind == PSI else c.levels[:1]
    shares = "; ".join(f"{n} {100 * p:.1f} -> {100 * q:.1f} %" for n, p, q in shown)
    notes = "".join(f"; {note}" for note in c.notes)
    return f"{c.part}: {c.title}: {size}" + (f", {shares}" if shares else "") + notes
