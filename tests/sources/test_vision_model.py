"""Tests of vision_model.py against a server that answers well, badly, slowly, or not at all."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.sources import endpoint, vision_model
from attr_extractor.sources.vision_model import AskOptions, ask_model
from tests import forked_tools
from tests.conftest import ROOT, draw_photo, require_bad_input, run_tool, write_table
from tests.sources.model_server import Response, completion, first_values, serving

pytest.importorskip("openai", reason="pip install 'attr-extractor[vlm]'")

KEY = "sk-very-secret-4711"
PRICES = {"price_in": 1e6, "price_out": 0.0}  # one unit of money a token


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(endpoint.KEY, KEY)


def catalogue_of(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Write a table with a photo for each row that names one."""
    for i, row in enumerate(rows):
        if row.setdefault("image", f"{i}.jpg").endswith(".jpg"):
            draw_photo(folder / row["image"], "shirt", ["red"], "v-neck", size=80 + i)
    blank = dict.fromkeys(("category", "neck_type", "color", "closure"), "")
    return write_table(
        folder / "t.csv", [{"product_id": f"p{i}", **blank, **row} for i, row in enumerate(rows)]
    )


def ask(schema, catalogue: Path, address: str, name: str = "vlm.csv", **options) -> tuple:
    """Ask; return the summary, the source and the list of what was not used."""
    settings = {"timeout": 20.0, "retries": 2}
    settings |= {
        k: options.pop(k) for k in list(options) if k in endpoint.EndpointOptions.model_fields
    }
    model = endpoint.EndpointOptions(endpoint=address, model="m", **settings)
    output = catalogue.with_name(name)
    cache = catalogue.with_name("cache")
    summary = ask_model(catalogue, schema, output, model, AskOptions(**options), cache=cache)
    read = {"dtype": str, "keep_default_na": False}
    listed = pd.read_csv(vision_model.rejects_file(output), **read)
    return summary, pd.read_csv(output, **read), listed


def test_missing_cells_that_apply_are_asked_and_written_in_the_order_of_the_table(
    schema, tmp_path, capsys
):
    rows = [
        {"category": "shirt", "color": "red"},
        {"category": "jeans"},
        {"category": "shirt", "neck_type": "v-neck", "color": "red", "closure": "zip"},  # complete
        {},
    ]

    def answer(request):
        time.sleep(0.2 * (request.number == 0))  # the first one answers last
        return first_values(request)

    with serving(answer) as server:
        summary, source, listed = ask(schema, catalogue_of(tmp_path, rows), server.address)
    assert source.to_numpy().tolist() == [
        ["p0", "neck_type", "v-neck", "1.0", "m"],
        ["p0", "closure", "button", "1.0", "m"],
        ["p1", "color", "red", "1.0", "m"],
        ["p1", "closure", "button", "1.0", "m"],
        ["p3", "category", "shirt", "1.0", "m"],
        ["p3", "neck_type", "v-neck", "1.0", "m"],
        ["p3", "color", "red", "1.0", "m"],
        ["p3", "closure", "button", "1.0", "m"],
    ]
    by_photo = {request.photo.size[0]: list(request.values) for request in server.requests}
    assert by_photo == {
        80: ["neck_type", "closure"],
        81: ["color", "closure"],
        83: ["category", "neck_type", "color", "closure"],
    }
    assert listed.empty and summary.answers == {"answered": 8}
    assert (summary.products, summary.calls, summary.tokens_in, summary.tokens_out) == (
        3,
        3,
        300,
        30,
    )
    assert "estimate: 3 products, 3 calls" in capsys.readouterr().out
    assert {request.key for request in server.requests} == {f"Bearer {KEY}"}


def test_attributes_are_asked_in_groups_and_filled_cells_on_request(schema, tmp_path):
    rows = [{"category": "shirt", "neck_type": "v-neck", "color": "red", "closure": "zip"}]
    options = {"all_cells": True, "attributes_per_call": 3, "image_size": 64}
    with serving(first_values) as server:
        _, source, _ = ask(schema, catalogue_of(tmp_path, rows), server.address, **options)
    asked = [list(request.values) for request in server.requests]
    # the category by itself: the other questions tell it
    assert asked == [["category"], ["neck_type", "color", "closure"]]
    told = ["category is: shirt" in request.prompt for request in server.requests]
    assert told == [False, True]
    assert source["attribute"].tolist() == ["category", "neck_type", "color", "closure"]
    assert {request.photo.size[0] for request in server.requests} == {64}


def test_a_sample_is_the_same_products_again(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "shirt"} for _ in range(12)])
    with serving(first_values) as server:
        _, source, _ = ask(schema, catalogue, server.address, sample=4)
        asked = len(server.requests)
        summary, again, _ = ask(schema, catalogue, server.address, "again.csv", sample=4)
        assert (asked, len(server.requests), summary.from_cache) == (4, 4, 4)
    assert source["product_id"].nunique() == 4 and source.equals(again)


def test_wrong_values_are_listed_with_the_nearest_and_not_used(schema, tmp_path):
    rows = [{"category": "shirt", "color": "red", "closure": ""}]
    with serving(lambda _: completion({"neck_type": "v-nek", "closure": "magnet"})) as server:
        summary, source, listed = ask(schema, catalogue_of(tmp_path, rows), server.address)
    assert source.empty and summary.answers == {"unknown value": 2}
    assert listed.to_numpy().tolist() == [
        ["1", "p0", "0.jpg", "neck_type", "v-nek", "unknown value", "v-neck"],
        ["1", "p0", "0.jpg", "closure", "magnet", "unknown value", ""],
    ]


def test_half_a_surrogate_pair_is_listed_and_a_rerun_reads_it_from_the_cache(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    with serving(lambda _: completion('{"closure": "\\ud83d"}')) as server:
        for name in ("a.csv", "b.csv"):
            _, source, listed = ask(schema, catalogue, server.address, name)
            assert source.empty and listed["answer"].tolist() == ["\\ud83d"]
    assert len(server.requests) == 1


def test_a_photo_that_products_share_is_asked_once(schema, tmp_path):
    rows = [{"category": "jeans", "color": "red", "image": "0.jpg"} for _ in range(8)]
    with serving(first_values) as server:
        summary, source, _ = ask(schema, catalogue_of(tmp_path, rows), server.address)
    assert len(server.requests) == summary.calls == 1 and summary.from_cache == 7
    assert source["product_id"].tolist() == [f"p{i}" for i in range(8)]


def test_prose_is_asked_again_once_and_then_listed(schema, tmp_path):
    rows = [{"category": "jeans", "color": "red"}, {"category": "jeans", "closure": "zip"}]
    catalogue = catalogue_of(tmp_path, rows)

    def prose_then_json(request):
        return first_values(request) if "color" in request.values and second else completion("Hm.")

    second = False
    with serving(prose_then_json) as server:
        summary, source, listed = ask(schema, catalogue, server.address)
        assert len(server.requests) == 4 and summary.calls == 4 and source.empty
        assert listed["reason"].tolist() == ["invalid JSON"] * 2
        assert listed["answer"].str.contains("Hm.", regex=False).all()
        second = True  # what was invalid is asked again by the next run
        summary, source, _ = ask(schema, catalogue, server.address, "again.csv")
    assert source["value"].tolist() == ["red"] and summary.calls == 3


def test_an_answer_that_is_valid_at_the_second_try_is_used(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    with serving(lambda r: first_values(r) if r.number else completion('{"closure"')) as server:
        summary, source, listed = ask(schema, catalogue, server.address)
    assert source["value"].tolist() == ["button"] and listed.empty and summary.tokens_in == 200


def test_429_is_repeated_after_the_time_that_the_endpoint_names(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    times = []

    def busy_at_first(request):
        times.append(time.monotonic())
        busy = Response({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"})
        return first_values(request) if request.number else busy

    with serving(busy_at_first) as server:
        summary, source, _ = ask(schema, catalogue, server.address)
    assert source["value"].tolist() == ["button"] and summary.calls == 1
    assert len(times) == 2 and times[1] - times[0] >= 1


def test_a_slow_answer_is_given_up_and_asked_again(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    done = threading.Event()

    def slow_at_first(request):
        if not request.number:
            done.wait(30)
        return first_values(request)

    with serving(slow_at_first) as server:
        _, source, _ = ask(schema, catalogue, server.address, timeout=1.0)
        done.set()
    assert source["value"].tolist() == ["button"] and len(server.requests) == 2


def changed_completion(**of_choice) -> Response:
    """Return an answer whose choice has other fields."""
    response = completion("Hm.")
    response.body["choices"][0].update(of_choice)
    return response


@pytest.mark.parametrize(
    "response",
    [
        Response('{"choices": [', 200),
        Response("<html>welcome</html>", 200, {"Content-Type": "text/html"}),
        Response({"choices": []}, 200),
        Response({"object": "list"}, 200),
        changed_completion(message={"role": "assistant", "content": [{"type": "text"}]}),
        changed_completion(logprobs=[]),
        changed_completion(logprobs={"content": [{"token": "a", "logprob": None}]}),
        changed_completion(logprobs={"content": [{"token": "a", "logprob": 10**400}]}),
        Response({"error": {"message": "image too large"}}, 400),
        Response("down", 500),
    ],
    ids=[
        "half JSON",
        "HTML",
        "no choices",
        "another object",
        "parts",
        "list",
        "null",
        "huge",
        "400",
        "500",
    ],
)
def test_a_call_without_an_answer_is_listed_and_the_others_go_on(schema, tmp_path, response):
    catalogue = catalogue_of(
        tmp_path, [{"category": "jeans", "color": "red"}, {"category": "jeans", "color": "red"}]
    )

    def answer(request):
        return response if request.photo.size[0] == 80 else first_values(request)

    with serving(answer) as server:
        summary, source, listed = ask(schema, catalogue, server.address, retries=0)
    assert source["product_id"].tolist() == ["p1"]
    assert listed[["product_id", "attribute"]].to_numpy().tolist() == [["p0", "closure"]]
    assert listed["reason"][0] in (vision_model.NO_REPLY, vision_model.INVALID)
    assert sum(summary.answers.values()) == 2


def test_an_endpoint_that_never_answers_ends_the_run_and_what_was_answered_stays(schema, tmp_path):
    count = vision_model.MOST_FAILURES + 6
    catalogue = catalogue_of(
        tmp_path, [{"category": "jeans", "color": "red"} for _ in range(count)]
    )
    settings = {"retries": 0, "concurrency": 1}

    def three_only(request):
        return first_values(request) if request.number < 3 else Response("gone", 503)

    with serving(three_only) as server, pytest.raises(TemporaryError, match="20 calls in a row"):
        ask(schema, catalogue, server.address, **settings)
    gone = server.address
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".jpg") == [
        *("cache", "t.csv"),
    ]
    with pytest.raises(TemporaryError, match="20 calls in a row .*Connection"):
        ask(schema, catalogue, gone, **settings)
    with serving(first_values) as server:
        summary, source, _ = ask(schema, catalogue, server.address, **settings)
    assert (summary.from_cache, summary.calls, len(source)) == (3, count - 3, count)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_ends_the_run_at_once_and_the_key_is_not_shown(
    schema, tmp_path, status
):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    refusal = Response({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status)
    with serving(lambda _: refusal) as server, pytest.raises(InputError) as told:
        ask(schema, catalogue, server.address)
    assert KEY not in str(told.value) and endpoint.KEY in str(told.value)
    assert len(server.requests) == 1 and not tmp_path.joinpath("vlm.csv").exists()


def test_a_run_does_not_start_if_the_estimate_is_above_the_cap(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    with serving(first_values) as server:
        with pytest.raises(InputError, match=r"--max_cost=500: the run would cost about 9\d\d"):
            ask(schema, catalogue, server.address, max_cost=500, **PRICES)
        with pytest.raises(InputError, match="--max_cost needs --price_in and --price_out"):
            ask(schema, catalogue, server.address, max_cost=500)
    assert server.requests == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_stops_before_the_cap_and_a_second_one_continues(schema, tmp_path, concurrency):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"} for _ in range(12)])
    options = {"image_tokens": 0, "concurrency": concurrency, **PRICES}

    def dear(request):
        return completion({"closure": "zip"}, usage=(1000, 10))  # more than the estimate

    with serving(dear) as server:
        summary, source, listed = ask(schema, catalogue, server.address, max_cost=5500, **options)
        # the first calls are on their way before the first price is known
        assert summary.stopped and 5 <= len(server.requests) <= 5 + concurrency - 1
        assert len(source) == summary.calls == len(server.requests)
        assert summary.cost == 1000 * summary.calls
        assert vision_model.NOT_ASKED in set(listed["reason"])
        again, source, _ = ask(schema, catalogue, server.address, "all.csv", **options)
    assert again.from_cache == summary.calls and len(server.requests) == 12 == len(source)


@pytest.mark.parametrize("usage", [None, {}])
def test_tokens_that_the_endpoint_does_not_count_are_estimated(schema, tmp_path, usage):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    response = completion({"closure": "zip"})
    without = Response({**response.body, "usage": usage})
    with serving(lambda _: without) as server:
        summary, _, _ = ask(schema, catalogue, server.address, image_tokens=5000, **PRICES)
    assert 5000 < summary.tokens_in == summary.cost < 5500 and summary.tokens_out > 0


def test_calls_start_evenly_below_the_limit_per_minute(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"} for _ in range(4)])
    times = []

    def answer(request):
        times.append(time.monotonic())
        return first_values(request)

    with serving(answer) as server:
        ask(schema, catalogue, server.address, requests_per_minute=300.0)
    assert times[-1] - times[0] >= 3 * 60 / 300 - 0.1  # the first may arrive late


def test_unreadable_photos_are_listed_with_their_reason(schema, tmp_path):
    rows = [{"category": "jeans", "image": name} for name in ("gone.png", "bad.png", "")]
    rows.append({"category": "jeans", "product_id": " "})
    (tmp_path / "bad.png").write_bytes(b"no photo")
    with serving(first_values) as server:
        summary, source, listed = ask(schema, catalogue_of(tmp_path, rows), server.address)
    reasons = ["image not found", "not an image", "no image named", "no product_id"]
    assert listed["reason"].tolist() == reasons and summary.rejected == dict.fromkeys(reasons, 1)
    assert listed["row"].tolist() == ["1", "2", "3", "4"]
    assert server.requests == [] and source.empty


def test_confidence_is_the_probability_that_the_endpoint_gives(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    tokens = [('{"closure": "', 0.0), ("zip", math.log(0.25)), ('"}', 0.0)]
    with serving(lambda _: completion('{"closure": "zip"}', tokens)) as server:
        _, source, _ = ask(schema, catalogue, server.address, logprobs=True)
        _, cached, _ = ask(schema, catalogue, server.address, "again.csv", logprobs=True)
    assert float(source["confidence"][0]) == pytest.approx(0.25)
    assert source.equals(cached) and server.requests[0].body["logprobs"] is True
    assert len(server.requests) == 1


def command(catalogue: Path, schema_file: Path, address: str, *more: str) -> list[str]:
    output = catalogue.with_name("vlm.parquet")
    flags = [f"--catalogue={catalogue}", f"--schema={schema_file}", f"--output={output}"]
    return [*flags, f"--endpoint={address}", "--model=m", "--concurrency=2", *more]


def test_a_killed_run_repeats_nothing_that_was_answered(shop, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"} for _ in range(12)])
    reached, go_on = threading.Event(), threading.Event()

    def wait_in_the_middle(request):
        if request.number >= 6 and not go_on.is_set():
            reached.set()
            go_on.wait(60)
        return first_values(request)

    with serving(wait_in_the_middle) as server:
        arguments = command(catalogue, shop.schema_file, server.address)
        program = forked_tools.Program(ROOT / "tools" / "ask_model.py", arguments, ROOT)
        assert reached.wait(60)
        time.sleep(0.5)  # until the answers before are stored
        program.send_signal(signal.SIGKILL)
        program.wait()
        go_on.set()
        before = len(server.requests)
        assert not (tmp_path / "vlm.parquet").exists()
        result = run_tool("ask_model", *arguments)
    assert result.returncode == 0, result.stderr
    assert before in (7, 8)  # at most two were on their way
    photos = [request.photo.size[0] for request in server.requests]
    assert len(photos) - before == 6 and len(set(photos)) == 12
    assert set(photos[:6]).isdisjoint(photos[before:])
    source = pd.read_parquet(tmp_path / "vlm.parquet")
    assert source["product_id"].tolist() == [f"p{i}" for i in range(12)]
    assert "6 calls, 6 answers from the cache" in result.stdout


def test_the_program_ends_with_2_at_the_cap_and_never_prints_the_key(shop, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"} for _ in range(8)])
    prices = ["--price_in=1000000", "--price_out=0", "--image_tokens=0", "--max_cost=3500"]
    with serving(lambda _: completion({"closure": "zip"}, usage=(1000, 10))) as server:
        arguments = command(catalogue, shop.schema_file, server.address, *prices)
        result = run_tool("ask_model", *arguments)
        require_bad_input(result, "stopped at --max_cost=3500", "nothing is asked twice")
        again = run_tool("ask_model", *arguments)
        require_bad_input(again, "vlm.parquet: exists already")
    assert len(pd.read_parquet(tmp_path / "vlm.parquet")) == len(server.requests) < 8
    for text in (result.stdout, result.stderr, again.stderr):
        assert KEY not in text
    stored = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(stored) > 3 and not [p for p in stored if KEY.encode() in p.read_bytes()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--endpoint": "localhost:8000"}, ["--endpoint=localhost:8000", "http://HOST/v1"]),
        ({"--endpoint": "http://[::1"}, ["--endpoint=http://[::1: "]),
        ({"--endpoint": "http://host:80a/v1"}, ["--endpoint=http://host:80a/v1: "]),
        ({"--output": "vlm.xlsx"}, ["vlm.xlsx: --output must end in .csv or .parquet"]),
        ({"--cache": "s3://bucket/cache"}, ["--cache must be a folder on a disk"]),
    ],
)
def test_bad_flags_end_with_one_line(shop, tmp_path, change, words):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans"}])
    arguments = command(catalogue, shop.schema_file, "http://127.0.0.1:9/v1")
    changed = [*arguments, *(f"{flag}={value}" for flag, value in change.items())]
    require_bad_input(run_tool("ask_model", *changed), *words)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".jpg"}


def test_a_damaged_cache_is_one_line(schema, tmp_path):
    catalogue = catalogue_of(tmp_path, [{"category": "jeans", "color": "red"}])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.sqlite").write_text(json.dumps(["x"] * 2000))
    with serving(first_values) as server, pytest.raises(InputError, match="cache cannot be used"):
        ask(schema, catalogue, server.address)
    assert server.requests == []
