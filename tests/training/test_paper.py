"""The paper's configuration trains and exports: 224 px, 49 attributes."""

from __future__ import annotations

import numpy as np
import pytest

from attr_extractor.config import Config
from attr_extractor.records import builder, plan
from attr_extractor.schema import Schema
from attr_extractor.serving import export, model_dir
from attr_extractor.training import fit
from tests.conftest import ROOT, draw_photo, write_table

CATEGORIES = ["t-shirt", "jeans", "sari"]


@pytest.mark.slow
def test_paper_config_trains_some_steps_and_exports(tmp_path):
    schema = Schema.read(ROOT / "configs/schemas/flipkart49.yaml")
    rows = []
    for i in range(12):
        draw_photo(tmp_path / f"{i}.jpg", "shirt", ["red"], "v-neck", size=230)
        filled = {"category": CATEGORIES[i % 3], "ideal_for": "women"}
        cells = {name: filled.get(name, "") for name in schema.names}
        rows.append({"product_id": f"p{i}", "image": f"{i}.jpg", **cells})
    table = write_table(tmp_path / "catalogue.csv", rows)
    options = plan.BuildOptions(split_fractions=(0.9, 0.1, 0.0))
    manifest = builder.build(table, schema, tmp_path / "records", options=options)
    batch_size = manifest.splits["train"].photos // 2
    config = Config.read(
        ROOT / "configs/paper.yaml", ["train.epochs=1", f"data.batch_size={batch_size}"]
    )
    fit.train(config, tmp_path / "records", tmp_path / "run")
    model = model_dir.load(export.export(tmp_path / "run", tmp_path / "model"))
    photos = np.zeros([1, 224, 224, 3], np.uint8)
    answers = model.signatures["pixels"](pixels=photos)
    assert {name for name in answers if not name.endswith("_score")} == {*schema.names, "error"}
    assert len(answers) == 2 * 49 + 1
