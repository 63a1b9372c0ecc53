"""Test the counts and contradictions of quality against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from attr_extractor.enrichment import cells
from attr_extractor.enrichment.cells import CellsFile
from attr_extractor.enrichment.quality.contradictions import Contradictions
from attr_extractor.enrichment.quality.counts import KINDS, CellCounts
from attr_extractor.enrichment.quality.qualify import compute_report
from attr_extractor.evaluation.curves import CUT_OFFS
from tests.enrichment.by_hand import cell, color, write_cells


def made_up(count: int, seed: int = 0) -> list[dict]:
    """Return cells of all verdicts, categories and four sellers, two per row."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        verdict = cells.VERDICTS[generator.integers(6)]
        empty = verdict in (cells.FILLED, cells.UNANSWERED) or (
            verdict in (cells.UNSEEN, cells.DOUBTFUL) and generator.random() < 0.5
        )
        scores = np.sort(generator.random(3).astype(np.float32))[::-1].tolist()
        order = generator.permutation(["round neck", "no neck", "v-neck"]).tolist()
        given = "" if empty else str(generator.choice(["round neck", "no neck", "v-neck"]))
        unseen = verdict == cells.UNSEEN
        rows.append(
            cell(
                1 + i // 2,
                ("neck_type", "closure")[i % 2],
                seller=f"s{generator.integers(4)}",
                category=str(generator.choice(["shirt", "jeans", ""])),
                verdict=verdict,
                given=given if i % 2 == 0 else given and "zip",
                given_score=None if empty or unseen else min(scores),
                answer="",
                proposed=[] if unseen else order if i % 2 == 0 else ["button", "zip"],
                proposed_scores=[] if unseen else scores[: 3 if i % 2 == 0 else 2],
            )
        )
    return rows


def counted(path, schema, most: int = 100) -> tuple[CellCounts, Contradictions]:
    counts, contradicted = CellCounts(schema), Contradictions(most)
    for batch in CellsFile(path, schema).batches():
        counts.add(batch)
        contradicted.add(batch)
    return counts, contradicted


@pytest.mark.parametrize("row_group", [7, 1000])
def test_counts_and_shares_equal_those_of_pandas(schema, tmp_path, monkeypatch, row_group):
    monkeypatch.setattr("attr_extractor.enrichment.cells.CELLS_PER_BATCH", row_group)
    rows = made_up(600)
    path = write_cells(tmp_path / "cells.parquet", rows, row_group)
    found = compute_report(*counted(path, schema)).as_json()
    table = pd.DataFrame(rows)
    assert found["rows"] == table.row.nunique() and found["cells"] == len(table)
    assert set(found["sellers"]) == {"s0", "s1", "s2", "s3"} and found["sellers_left_out"] == 0
    for column, groups in (
        ("attribute", found["attributes"]),
        ("category", found["categories"]),
        ("seller", found["sellers"]),
    ):
        assert set(groups) == set(table[column])
        for name, part in table.groupby(column):
            is_, given = part.verdict.eq, part.given != ""
            sellers = given | is_("doubtful")  # without a known value: an unknown one
            judged = part[part.verdict.isin(["agreed", "contradicted", "doubtful"])]
            share = judged.verdict.value_counts(normalize=True)
            expected = {
                "agreed": is_("agreed").sum(),
                "contradicted": is_("contradicted").sum(),
                "doubtful": (is_("doubtful") & given).sum(),
                "unlisted": (is_("doubtful") & ~given).sum(),
                "unjudged": (is_("unseen") & given).sum(),
                "unseen": (is_("unseen") & ~given).sum(),
                "filled": is_("filled").sum(),
                "unanswered": is_("unanswered").sum(),
                "given": sellers.sum(),
                "empty": (~sellers).sum(),
                "judged": len(judged),
                "complete": sellers.mean(),
                "complete_after": (sellers | is_("filled")).mean(),
                "filled_share": is_("filled")[~sellers].mean(),
                **{f"{key}_share": share[key] for key in ("agreed", "contradicted", "doubtful")},
            }
            shown = {key: groups[name][key] for key in expected}
            assert shown == pytest.approx(expected, abs=1e-6)
    total = pd.DataFrame(found["attributes"]).T[list(KINDS)].sum()
    assert {key: found["all"][key] for key in KINDS} == total.to_dict()


def test_the_worst_seller_is_first_but_not_because_of_two_cells(schema, tmp_path):
    rows = [cell(i, seller="few") for i in (1, 2)]
    for name, bad in (("good", 5), ("bad", 60), ("fair", 20)):
        verdicts = [cells.CONTRADICTED] * bad + [cells.AGREED] * (200 - bad)
        rows += [cell(len(rows) + 1, seller=name, verdict=verdict) for verdict in verdicts]
    sellers = compute_report(*counted(write_cells(tmp_path / "c.parquet", rows), schema)).sellers
    order = list(sellers)
    assert (order[0], order[-1]) == ("bad", "good")
    assert sellers["few"].contradicted_share == 1 and sellers["few"].low < sellers["bad"].low


def test_scores_of_empty_cells_are_counted_per_cut_off(schema, tmp_path):
    rows = made_up(500, seed=1)
    rows[0].update(verdict=cells.FILLED, given="", proposed=["v-neck"], proposed_scores=[0.9])
    counts, _ = counted(write_cells(tmp_path / "cells.parquet", rows, 50), schema)
    above = counts.scores[:, ::-1].cumsum(axis=1)[:, ::-1]
    for attribute in ("neck_type", "closure"):
        best = [
            np.float32(row["proposed_scores"][0])
            for row in rows
            if row["attribute"] == attribute and row["verdict"] in ("filled", "unanswered")
        ]
        place = schema.index[attribute]
        assert above[place].tolist() == [len(best), *(np.sum(best > c) for c in CUT_OFFS)]


def test_the_surest_contradictions_are_kept_in_any_order_of_cells(schema, tmp_path, monkeypatch):
    monkeypatch.setattr("attr_extractor.enrichment.cells.CELLS_PER_BATCH", 40)
    rows = made_up(900, seed=2)
    _, contradicted = counted(write_cells(tmp_path / "c.parquet", rows), schema, most=30)
    table = pd.DataFrame([row for row in rows if row["verdict"] == cells.CONTRADICTED])
    others = [
        next(pair for pair in zip(p, s) if pair[0] != g)
        for p, s, g in zip(table.proposed, table.proposed_scores, table.given)
    ]
    table["best"], table["score"] = zip(*others)
    table["sureness"] = table.score.astype("f4") - table.given_score.astype("f4")
    expected = table.sort_values(["sureness", "row"], ascending=[False, True]).head(30)
    found = contradicted.surest_cells().to_pandas()
    assert contradicted.count == len(table) > 100
    assert found.row.tolist() == expected.row.tolist()
    assert found.attribute.tolist() == expected.attribute.tolist()
    assert found.proposed.tolist() == expected.best.tolist()
    assert found.proposed_score.tolist() == pytest.approx(expected.score.tolist())
    pairs = table.groupby(["attribute", "given", "best"]).size()
    assert contradicted.pairs == pairs.to_dict()
    worst = contradicted.pairs.most_common(1)[0][0]
    of_pair = table[(table.attribute == worst[0]) & (table.given == worst[1])]
    of_pair = of_pair[of_pair.best == worst[2]].sort_values("sureness", ascending=False)
    assert contradicted.examples(worst) == of_pair.product_id.head(3).tolist()


def test_a_value_that_the_model_also_answers_is_not_contradicted(schema, tmp_path):
    rows = [color(given="red|green", answer="blue|green", proposed=["green", "blue", "red"])]
    _, contradicted = counted(write_cells(tmp_path / "c.parquet", rows), schema)
    assert contradicted.pairs == {("color", "red", "blue"): 1}
    found = contradicted.surest_cells().to_pylist()[0]
    assert (found["given"], found["proposed"]) == ("red|green", "blue")
    assert found["proposed_score"] == pytest.approx(0.2)


def test_what_a_value_rests_on_is_kept_if_it_is_the_best_of_all(schema, tmp_path):
    given = ("v-neck", "round neck")  # the proposals: round neck, no neck, v-neck
    rows = [cell(i, given=each, told_by="'neck' +1.0") for i, each in enumerate(given, 1)]
    _, contradicted = counted(write_cells(tmp_path / "c.parquet", rows), schema)
    found = {each["proposed"]: each["told_by"] for each in contradicted.surest_cells().to_pylist()}
    assert found == {"round neck": "'neck' +1.0", "no neck": ""}


def test_a_seller_who_lists_all_proposed_values_is_contradicted_by_no_value(schema, tmp_path):
    rows = [color(given="red|green|blue", answer="blue", given_score=None)]
    _, contradicted = counted(write_cells(tmp_path / "c.parquet", rows), schema)
    assert contradicted.surest_cells().to_pylist()[0]["proposed"] == ""
    assert set(contradicted.pairs) == {("color", "red", ""), ("color", "green", "")}


def test_hundreds_of_sellers_are_counted_separately(schema, tmp_path):
    rows = [cell(i + 1, seller=f"s{i % 300}") for i in range(700)]
    counts, _ = counted(write_cells(tmp_path / "c.parquet", rows, 90), schema)
    assert counts.of_seller.sum(axis=1).tolist() == [3 if i < 100 else 2 for i in range(300)]
    report = compute_report(counts, Contradictions(1))
    assert len(report.sellers) == 200 and report.sellers_left_out == 100
