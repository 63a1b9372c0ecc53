"""Tests of `review/queue.py`: leases, decisions, skips, undo, filters and progress."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.enrichment import cells
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.enrichment.review.queue import Filter, Progress, Queue, ReviewError, Window
from tests.enrichment.by_hand import cell, color, write_cells

ADA, BEN = Window("Ada", "a" * 32), Window("Ben", "b" * 32)
ADAS_OTHER = Window("Ada", "c" * 32)
ALL = Filter()


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rows(count: int) -> list[dict]:
    """Cells of one value in descending order of score, which is the order of the queue."""
    return [
        cell(i, proposed_scores=[0.9 - i / 10_000, 0.2, 0.1], product_id=f"p{i}")
        for i in range(1, count + 1)
    ]


def open_file(schema, folder: Path, of: list[dict]) -> DecisionsFile:
    path = write_cells(folder / "cells.parquet", of)
    limits = np.full(schema.num_values, 0.5, np.float32)
    return open_queue(folder / "decisions.sqlite", path, schema, limits, 1000)[0]


@pytest.fixture
def queue(schema, tmp_path, clock):
    """Ten items of products p1 .. p10."""
    file = open_file(schema, tmp_path, rows(10))
    yield Queue(file, schema, 60, clock)
    file.close()


def product(item) -> str | None:
    return item and item.product_id


def outside(folder: Path, sql: str) -> list[tuple]:
    """Query the open file as another program does."""
    with sqlite3.connect(folder / "decisions.sqlite") as db:
        return db.execute(sql).fetchall()


def test_two_windows_get_different_items(queue):
    first = [product(queue.next(window, ALL)) for window in (ADA, BEN, ADAS_OTHER)]
    assert first == ["p1", "p2", "p3"]
    again = [product(queue.next(window, ALL)) for window in (ADA, BEN, ADAS_OTHER)]
    assert again == first  # after a reload of the page


def test_an_item_is_offered_again_after_its_lease(queue, clock):
    assert product(queue.next(ADA, ALL)) == "p1"
    clock.now += 59
    assert product(queue.next(BEN, ALL)) == "p2"
    clock.now += 2
    assert product(queue.next(ADAS_OTHER, ALL)) == "p1"


def test_an_item_of_another_filter_ends_the_lease_of_the_first(queue):
    queue.next(ADA, ALL)
    assert product(queue.next(ADA, Filter(product="P5"))) == "p5"
    assert product(queue.next(BEN, ALL)) == "p1"


def test_a_decision_is_committed_before_the_step_returns(queue, tmp_path, clock):
    queue.next(ADA, ALL)
    queue.decide(ADA, 1, "values", ["no neck"])
    found = outside(tmp_path, "SELECT * FROM decisions")
    assert found == [(1, "Ada", "values", "no neck", clock.now)]
    assert product(queue.next(ADA, ALL)) == "p2"


def test_the_first_decision_is_kept_and_a_later_one_is_refused(queue, tmp_path, clock):
    queue.next(ADA, ALL)
    clock.now += 100
    assert product(queue.next(BEN, ALL)) == "p1"  # Ada's lease has ended, but she decides first
    queue.decide(ADA, 1, "values", ["no neck"])
    with pytest.raises(ReviewError, match="Ada already decided this item") as raised:
        queue.decide(BEN, 1, "seller", [])
    assert raised.value.status == 409
    assert raised.value.decision.value == "no neck" and raised.value.decision.reviewer == "Ada"
    assert outside(tmp_path, "SELECT reviewer, value FROM decisions") == [("Ada", "no neck")]


def test_the_same_decision_is_stored_once(queue, tmp_path):
    for _ in range(2):
        queue.decide(ADA, 1, "none", [])
    assert outside(tmp_path, "SELECT count(*) FROM actions") == [(1,)]
    with pytest.raises(ReviewError, match="you already decided this item; undo that first"):
        queue.decide(ADA, 1, "seller", [])


@pytest.mark.parametrize(
    ("item", "kind", "values", "words"),
    [
        (1, "values", ["v-nek"], "neck_type has no value 'v-nek'"),
        (1, "values", ["V-Neck"], "neck_type has no value 'V-Neck'"),
        (1, "values", [], "neck_type takes a value"),
        (1, "values", ["v-neck", "no neck"], "neck_type takes one value"),
        (1, "seller", ["v-neck"], "takes no values"),
        (1, "none", ["v-neck"], "takes no values"),
        (2, "seller", [], "the seller gave no value"),
        (3, "values", ["red", "round neck"], "color has no value 'round neck'"),
    ],
)
def test_an_invalid_decision_is_not_stored(schema, tmp_path, item, kind, values, words):
    unfilled = cell(2, given="", given_score=None, verdict=cells.UNANSWERED)
    low = color(3, verdict=cells.FILLED, proposed_scores=[0.01, 0.0, 0.0])
    file = open_file(schema, tmp_path, [cell(1), unfilled, low])
    with pytest.raises(ReviewError) as raised:
        Queue(file, schema).decide(ADA, item, kind, values)
    assert raised.value.status == 400 and words in str(raised.value)
    assert outside(tmp_path, "SELECT count(*) FROM decisions") == [(0,)]
    assert outside(tmp_path, "SELECT count(*) FROM actions") == [(0,)]
    file.close()


def test_an_unknown_item_is_refused(queue):
    for number in (0, 11, -1):
        with pytest.raises(ReviewError, match="the queue has no item") as raised:
            queue.decide(ADA, number, "none", [])
        assert raised.value.status == 404


def test_several_values_are_stored_once_each_in_the_order_of_the_schema(schema, tmp_path):
    file = open_file(schema, tmp_path, [color()])
    Queue(file, schema).decide(ADA, 1, "values", ["blue", "red", "blue"])
    assert outside(tmp_path, "SELECT value FROM decisions") == [("red|blue",)]
    file.close()


def test_skipped_items_come_last_in_the_order_of_their_skips(queue):
    for item in (1, 2):
        assert queue.next(ADA, ALL).id == item
        queue.skip(ADA, item)
    assert product(queue.next(BEN, ALL)) == "p1"  # Ada skipped it, Ben did not
    queue.decide(BEN, 1, "none", [])
    for item in range(3, 11):
        assert queue.next(ADA, ALL).id == item
        queue.skip(ADA, item)
    assert product(queue.next(ADA, ALL)) == "p2"
    queue.skip(ADA, 2)
    assert product(queue.next(ADA, ALL)) == "p3"


def test_undo_reverts_the_reviewers_own_steps_one_by_one(queue, tmp_path):
    queue.next(ADA, ALL)
    queue.decide(ADA, 1, "none", [])
    queue.next(ADA, ALL)
    queue.skip(ADA, 2)
    queue.decide(BEN, 4, "seller", [])
    queue.next(ADA, ALL)
    assert [product(queue.undo(ADA)) for _ in range(2)] == ["p2", "p1"]
    assert outside(tmp_path, "SELECT item, reviewer FROM decisions") == [(4, "Ben")]
    with pytest.raises(ReviewError, match="you have nothing to undo"):
        queue.undo(ADA)
    assert product(queue.next(BEN, ALL)) == "p2"  # p1 is leased to Ada again
    log = outside(tmp_path, "SELECT item, reviewer, action FROM actions ORDER BY id")
    assert log == [
        *((1, "Ada", "decide"), (2, "Ada", "skip"), (4, "Ben", "decide")),
        *((2, "Ada", "undo"), (1, "Ada", "undo")),
    ]


def test_undo_of_a_skip_is_refused_if_another_reviewer_has_the_item(queue):
    for item in (1, 2):
        queue.next(ADA, ALL)
        queue.skip(ADA, item)
    queue.decide(BEN, 1, "none", [])
    assert product(queue.next(BEN, ALL)) == "p2"
    with pytest.raises(ReviewError, match="the skipped item: Ben is reviewing it now"):
        queue.undo(ADA)
    with pytest.raises(ReviewError, match="the skipped item: Ben already decided this item"):
        queue.undo(ADA)


def test_filters_and_progress_refer_to_the_same_items(schema, tmp_path):
    given = [
        cell(1, seller="north"),
        cell(2, seller="south", category=""),
        cell(3, seller="south", verdict=cells.DOUBTFUL),
        color(4, seller="south"),
        color(5, product_id="A_100%"),
        color(6, product_id="Ax100y"),
    ]
    file = open_file(schema, tmp_path, given)
    queue = Queue(file, schema)
    expected = {
        Filter(attribute="color"): {4, 5, 6},
        Filter(category="shirt"): {1, 3, 4, 5, 6},
        Filter(verdict="doubtful"): {3},
        Filter(seller="south"): {2, 3, 4},
        Filter(seller="south", attribute="color"): {4},
        Filter(product="a_100%"): {5},
        Filter(seller="' OR 1"): set(),
    }
    for which, found in expected.items():
        assert queue.progress("Ada", which).left == len(found)
        seen = set()
        while item := queue.next(ADA, which):
            if item.row in seen:
                break
            seen.add(item.row)
            queue.skip(ADA, item.id)
        assert seen == found
    first = queue.next(BEN, Filter(attribute="color"))
    queue.decide(ADA, first.id, "values", ["blue"])
    queue.next(BEN, Filter(attribute="color"))
    progress = Progress(done=1, left=2, mine=1, with_others=1)
    assert queue.progress("Ada", Filter(attribute="color")) == progress
    assert queue.progress("Ben", Filter(attribute="neck_type")).mine == 0
    assert queue.choices() == {
        "attribute": ["color", "neck_type"],
        "category": ["shirt"],
        "verdict": ["contradicted", "doubtful"],
        "seller": ["north", "south"],
    }
    file.close()


def test_concurrent_reviewers_decide_every_item_once(schema, tmp_path):
    """Each reviewer has a connection, as several servers with one file do."""
    open_file(schema, tmp_path, rows(200)).close()
    decided: dict[str, list[int]] = {f"r{i}": [] for i in range(6)}
    problems = []

    def review(name: str) -> None:
        try:
            file = DecisionsFile(tmp_path / "decisions.sqlite", new=False)
            queue = Queue(file, schema)
            while item := queue.next(Window(name, name), ALL):
                queue.decide(Window(name, name), item.id, "none", [])
                decided[name].append(item.id)
            file.close()
        except Exception as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=review, args=[name]) for name in decided]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(itertools.chain(*decided.values())) == list(range(1, 201))
    stored = outside(tmp_path, "SELECT reviewer, item FROM decisions ORDER BY reviewer, item")
    assert stored == sorted((name, item) for name, items in decided.items() for item in items)
