"""Tests of `review/build_queue.py`: the order of the queue, against a simple computation."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest

from attr_extractor.enrichment import cells
from attr_extractor.enrichment.review import build_queue
from attr_extractor.enrichment.review.build_queue import BANDS, Candidates
from tests.enrichment.by_hand import cell


def queued(schema, rows, most=1000, batch=1000) -> list[dict]:
    found = Candidates(schema, np.full(schema.num_values, 0.5, np.float32), most)
    for start in range(0, len(rows), batch):
        part = pa.Table.from_pylist(rows[start : start + batch], cells.SCHEMA)
        place = part.schema.get_field_index("verdict")
        part = part.set_column(place, "verdict", part["verdict"].cast(pa.string()))
        found.add(part.combine_chunks().to_batches()[0])
    return found.table().to_pylist()


def random_cells(schema, count: int) -> list[dict]:
    """Random cells."""
    rng = np.random.default_rng(3)
    rows = []
    for row in range(1, count + 1):
        attribute = schema.attributes[rng.integers(len(schema.attributes))]
        values = [attribute.values[v] for v in rng.permutation(len(attribute.values))]
        scores = np.sort(rng.random(len(values)).astype(np.float32))[::-1].tolist()
        category = ["", "shirt", "jeans"][rng.integers(3)]
        verdict = cells.VERDICTS[rng.integers(len(cells.VERDICTS))]
        has_given = verdict in cells.VERDICTS[:3]
        rows.append(
            cell(
                *(row, attribute.name),
                category=category,
                verdict=verdict,
                given=values[-1] if has_given else "",
                given_score=scores[-1] if has_given else None,
                answer="",
                proposed=values,
                proposed_scores=scores,
            )
        )
    return rows


def by_hand(schema, rows, most: int) -> list[int]:
    """Rows of the queue: values alternate, and within a value the categories."""
    turns = np.random.default_rng(0).permutation(schema.num_values)
    sections: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for each in rows:
        if each["verdict"] == cells.AGREED:
            continue
        best, given = np.float32(each["proposed_scores"][0]), np.float32(each["given_score"] or 0)
        kind, worth = {
            cells.CONTRADICTED: (1, best - given),
            cells.DOUBTFUL: (2, 1 - given),
        }.get(each["verdict"], (3, 1 - abs(best - np.float32(0.5))))
        band = min(int(worth * BANDS), BANDS - 1)
        value = (each["attribute"], each["proposed"][0])
        categories = sections[kind, -band][value]
        categories[each["category"]].append((-worth, each["row"]))
    order: list[int] = []
    for section in sorted(sections):
        queues = {}
        for value, categories in sections[section].items():
            lists = {name: sorted(listed) for name, listed in categories.items()}
            queue = []
            while any(lists.values()):
                known = {"": -1, "shirt": 0, "jeans": 1}
                heads = [(lists[n][0][0], known[n], n) for n in lists if lists[n]]
                queue += [lists[name].pop(0)[1] for _, _, name in sorted(heads)]
            queues[value] = queue

        def turn(value: tuple[str, str]) -> int:
            name, text = value
            return turns[schema.slices[name].start + schema[name].values.index(text)]

        while any(queues.values()):
            order += [queues[value].pop(0) for value in sorted(queues, key=turn) if queues[value]]
    return order[:most]


@pytest.mark.parametrize(("most", "batch"), [(1000, 1000), (60, 7), (60, 50), (5, 1), (1, 3)])
def test_the_queue_is_the_start_of_all_cells_in_order(schema, monkeypatch, most, batch):
    monkeypatch.setattr(build_queue, "CELLS_PER_BATCH", 10)  # prune early and often
    rows = random_cells(schema, 400)
    expected = by_hand(schema, rows, most)
    assert len(expected) == min(most, sum(r["verdict"] != cells.AGREED for r in rows))
    assert [r["row"] for r in queued(schema, rows, most, batch)] == expected


def test_contradicted_cells_come_first_then_doubtful_then_unfilled_ones(schema):
    found = [r["verdict"] for r in queued(schema, random_cells(schema, 300))]
    kinds = [{"contradicted": 1, "doubtful": 2}.get(verdict, 3) for verdict in found]
    assert kinds == sorted(kinds) and set(kinds) == {1, 2, 3}
    assert set(found) == set(cells.VERDICTS) - {cells.AGREED}


def test_values_alternate_in_the_queue(schema):
    rows = [cell(i) for i in range(1, 5001)]  # the same contradiction in 5,000 rows
    others = ["no neck", "v-neck"]
    rows += [cell(6000 + i, proposed=[others[i % 2]], proposed_scores=[0.9]) for i in range(80)]
    rows += [cell(7000, "color", given="red", proposed=["blue"], proposed_scores=[0.9])]
    found = queued(schema, rows, most=100)
    counts = Counter((r["attribute"], r["proposed"][0]) for r in found)
    assert counts == {
        ("color", "blue"): 1,
        ("neck_type", "no neck"): 33,
        ("neck_type", "v-neck"): 33,
        ("neck_type", "round neck"): 33,
    }


def test_cells_without_a_readable_photo_are_counted_and_omitted(schema):
    found = Candidates(schema, np.full(schema.num_values, 0.5, np.float32), 10)
    blind = cell(1, proposed=[], proposed_scores=[], verdict=cells.UNANSWERED, given="")
    rows = [blind, cell(2), cell(3, verdict=cells.AGREED)]
    table = pa.Table.from_pylist(rows, cells.SCHEMA)
    place = table.schema.get_field_index("verdict")
    found.add(table.set_column(place, "verdict", table["verdict"].cast("string")).to_batches()[0])
    assert [r["row"] for r in found.table().to_pylist()] == [2]
    assert found.unread == 1
    assert found.verdicts == {"unanswered": 1, "contradicted": 1, "agreed": 1}
