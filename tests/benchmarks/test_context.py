"""The benches of known cells and titles: models of the table alone, and costs in turns."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from attr_extractor.config import Config
from attr_extractor.schema import Schema
from benchmarks import context_cost, growth, table_models
from benchmarks.table_models import Products

TINY = Config.model_validate(
    {
        "name": "tiny",
        "data": {"image_size": 32, "batch_size": 2},
        "model": {"trunk": "efficientnetlite0", "weights": "none", "fuse_stages": 1,
                  "hidden": [8, 8], "attention": {"enabled": False}},
        "train": {"precision": "float32"},
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def shades() -> Schema:
    """Three attributes of four values each."""
    return growth.even_schema(3, 12)


def products(seed: int, follows: bool, texts: bool = False) -> Products:
    """Return products whose first two attributes are equal if `follows`, the third is noise."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, [200, 3])
    if follows:
        codes[:, 1] = codes[:, 0]
    present = np.zeros([200, 12], bool)
    for t in range(3):
        present[np.arange(200), 4 * t + codes[:, t]] = True
    said = [f"word{code}" if texts else "" for code in codes[:, 2]]
    return Products(present, said)


def figures(schema: Schema, together=(), **made) -> table_models.TableFigures:
    train, asked = products(1, **made), products(2, **made)
    return table_models.measure(schema, train, asked, LogisticRegression, together)


def test_a_model_of_the_table_reads_other_cells_and_words_but_not_its_own(shades):
    assert figures(shades, follows=False).accuracy < 0.4
    # two of three attributes follow from each other, and the third from the text
    assert figures(shades, follows=True).accuracy == pytest.approx((1 + 1 + 0.25) / 3, abs=0.06)
    assert figures(shades, follows=True, texts=True).accuracy == 1.0
    hidden = figures(shades, [["attribute_0", "attribute_1"]], follows=True, texts=True)
    assert hidden.accuracy == pytest.approx((0.25 + 0.25 + 1) / 3, abs=0.06)


def test_the_calibration_error_is_the_gap_between_score_and_accuracy(shades):
    class Sure:
        """Says value 0 with the score 0.9."""

        def fit(self, _x: np.ndarray, y: np.ndarray) -> None:
            self.classes_ = np.unique(y)

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.tile([0.9, 0.1, 0, 0], [len(x), 1])

    asked = products(2, follows=False)
    found = table_models.measure(shades, products(1, follows=False), asked, Sure)
    right = [asked.present[:, 4 * t].mean() for t in range(3)]
    assert found.accuracy == pytest.approx(np.mean(right))
    assert found.calibration_error == pytest.approx(np.mean([0.9 - each for each in right]))


def test_contenders_take_turns_in_changing_order():
    called: list[str] = []
    calls = {name: (lambda name=name: called.append(name)) for name in "ab"}
    seconds = context_cost._turns(calls, 3)
    assert "".join(called) == "abbaab" "baabba"
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3}


def test_the_report_has_a_ratio_for_every_pair(shades, monkeypatch):
    monkeypatch.setattr(context_cost, "SIZES", ((3, 12), (6, 24)))
    peaks = {True: 3.0, False: 2.0}

    def one_pass(_name, config, _schema, _steps):
        return {"peak_gib": peaks[config.model.context.text and config.model.context.known]}

    monkeypatch.setattr(context_cost.step, "run_pass", one_pass)
    lines = context_cost.report(TINY, shades, 1).splitlines()
    assert [line.split()[0] for line in lines] == ["evidence", "3", "6", "training", "3", "6"]
    assert all(line.endswith(" 1.500") and 0.1 < float(line.split()[-4]) < 20 for line in lines[4:])
