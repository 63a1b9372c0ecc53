"""Claims about `records/plan.py`: which rows can be used, and where each product goes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from attr_extractor.errors import InputError
from attr_extractor.records import plan
from attr_extractor.records.plan import Options
from attr_extractor.schema import Schema

TWICE = "product_id stands twice; only its first row counts"


def products(count: int, photos: int = 1, **columns: list[str]) -> pd.DataFrame:
    """A table of `count` products with photos of their own, indexed by row number."""
    cells = {
        "product_id": [f"p{i}" for i in range(count)],
        "image": ["|".join(f"{i}_{k}.jpg" for k in range(photos)) for i in range(count)],
        **columns,
    }
    return pd.DataFrame(cells, index=range(1, count + 1), dtype=object)


def place(table: pd.DataFrame, same: dict[str, str] | None = None, **options) -> dict[str, str]:
    """Split by product; `same` says which photos have the bytes of another."""
    paths = [path for cell in table["image"] for path in cell.split("|")]
    digests = {path: (same or {}).get(path, path) for path in paths}
    return dict(zip(table["product_id"], plan.place(table, digests, Options(**options))))


# Rows


def test_a_row_without_product_or_photo_is_rejected_by_its_number():
    rows = pd.DataFrame(
        [
            {"product_id": " a ", "image": "1.jpg"},
            {"product_id": " ", "image": "2.jpg"},
            {"product_id": "b", "image": " | "},
            {"product_id": "a", "image": "3.jpg"},
            {"product_id": "b", "image": "4.jpg"},
            {"product_id": "", "image": ""},
            {"product_id": "a", "image": ""},
        ]
    )
    usable, rejects = plan.usable(rows)
    assert usable["product_id"].to_dict() == {1: "a", 5: "b"}  # row 5: nobody used b before
    assert {row: reason for row, _, _, reason in rejects} == {
        2: "no product_id",
        3: "no image named",
        4: TWICE,
        6: "no product_id",
        7: "no image named",
    }


# Splits


def test_a_product_is_placed_by_its_own_id_whatever_else_the_table_holds():
    whole = place(products(200))
    part = products(200).iloc[50:120:3]
    assert place(part).items() <= whole.items()
    assert Counter(whole.values())["train"] > 130


def test_products_of_a_group_share_the_split():
    table = products(300, brand=[f"b{i // 3}" for i in range(300)])
    found = place(table, group_column="brand", split_fractions=(0.4, 0.3, 0.3))
    for brand, members in table.groupby("brand")["product_id"]:
        assert len({found[p] for p in members}) == 1, brand
    assert set(found.values()) == {"train", "validation", "test"}


def test_products_without_a_group_are_not_one_group():
    table = products(300, brand=["", " "] * 150)
    fractions = (0.4, 0.3, 0.3)
    assert place(table, group_column="brand", split_fractions=fractions) == place(
        products(300), split_fractions=fractions
    )


def test_identical_photos_share_the_split_across_groups():
    table = products(100, photos=2, brand=[f"b{i}" for i in range(100)])
    chain = {f"{i}_0.jpg": f"{i - 1}_1.jpg" for i in range(1, 40)}
    options = {"group_column": "brand", "split_fractions": (0.4, 0.3, 0.3)}
    found = place(table, same=chain, **options)
    assert len({found[f"p{i}"] for i in range(40)}) == 1
    assert len({place(table, **options)[f"p{i}"] for i in range(40)}) == 3


def test_the_split_column_decides_and_a_shared_photo_goes_to_the_most_held_out():
    table = products(4, subset=["train", "test", "validation", "train"])
    found = place(table, split_column="subset")
    assert found == {"p0": "train", "p1": "test", "p2": "validation", "p3": "train"}
    found = place(table, same={"0_0.jpg": "x", "1_0.jpg": "x"}, split_column="subset")
    assert found == {"p0": "test", "p1": "test", "p2": "validation", "p3": "train"}


def test_a_wrong_split_name_is_said_with_the_tables_row():
    table = products(4, subset=["train", "test", "tset", "train"]).drop(index=1)
    with pytest.raises(InputError, match="row 3: 'tset' is not one of train, validation, test"):
        place(table, split_column="subset")


@pytest.mark.parametrize("option", ["group_column", "split_column"])
def test_a_group_or_split_column_that_is_not_there_is_named(option: str):
    with pytest.raises(InputError, match="no column 'brnd'"):
        place(products(3), **{option: "brnd"})


@pytest.mark.parametrize(
    "option", [{"image_size": 31}, {"shards": -1}, {"cap_per_category": -5}], ids=str
)
def test_an_option_out_of_range_is_named(option: dict[str, int]):
    ((name, value),) = option.items()
    with pytest.raises(InputError, match=f"--{name} {value}: must be at least"):
        Options(**option)


# Cap


def test_the_cap_takes_training_products_alone(schema: Schema):
    table = products(90, category=["shirt", "Jeans", "", "shirt", "tent", "jeans|shirt"] * 15)
    split = pd.Series(["train", "test", "train", "train", "validation"] * 18, index=table.index)
    kept, rejects = plan.cap(table, split, schema, Options(cap_per_category=7))
    training = kept[split[kept.index] == "train"]["category"].value_counts().to_dict()
    # 54 training rows; no cap without a category: an empty, an unknown, a contradictory cell
    assert training == {"shirt": 7, "Jeans": 7, "": 9, "tent": 9, "jeans|shirt": 9}
    assert (split[kept.index] != "train").sum() == 36
    assert sorted([*kept.index, *(row for row, *_ in rejects)]) == list(table.index)
    assert {reason for *_, reason in rejects} == {
        "beyond the cap of 7 training products per category"
    }
    assert plan.cap(table, split, schema, Options())[1] == []


# Shards


@pytest.mark.parametrize("wanted", [1, 2, 4, 7, 50, 99])
@pytest.mark.parametrize("photos", [1, 3])
def test_the_training_split_has_the_shards_asked_for(wanted: int, photos: int):
    table = products(109, photos)
    split = pd.Series(["train"] * 100 + ["test"] * 9, index=table.index)
    found = list(plan.shards(table, split, Options(shards=wanted)))
    train = [(name, members) for which, name, members in found if which == "train"]
    assert [name for name, _ in train] == [
        f"train-{i:05d}-of-{wanted:05d}.tfrecord" for i in range(wanted)
    ]
    sizes = [len(members) for _, members in train]
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    rows = [row for _, _, members in found for row in members.index]
    assert sorted(rows) == list(table.index)


def test_more_shards_than_products_is_one_product_each():
    table = products(3, photos=5)
    split = pd.Series("train", index=table.index)
    found = list(plan.shards(table, split, Options(shards=10)))
    assert [len(members) for _, _, members in found] == [1, 1, 1]


def test_without_a_number_a_shard_holds_about_1024_photos():
    table = products(1500, photos=2)
    split = pd.Series("train", index=table.index)
    found = list(plan.shards(table, split, Options()))
    assert [2 * len(members) for _, _, members in found] == [1000, 1000, 1000]


def test_the_order_in_the_shards_is_drawn_by_the_seed_and_mixes_the_table():
    table = products(60, category=["shirt"] * 30 + ["jeans"] * 30)
    split = pd.Series("train", index=table.index)

    def order(seed: int) -> list[int]:
        ((_, _, members),) = plan.shards(table, split, Options(split_seed=seed))
        return list(members.index)

    assert order(0) == order(0) != order(1)
    first_half = [row > 30 for row in order(0)[:30]]
    assert 8 <= sum(first_half) <= 22


def test_a_digest_is_of_the_bytes_and_of_the_path_where_there_are_none(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"same")
    (tmp_path / "b.jpg").write_bytes(b"same")
    (tmp_path / "c.jpg").write_bytes(b"other")
    a, b, c, lost, gone = (
        plan.digest(tmp_path, f"{name}.jpg") for name in ("a", "b", "c", "lost", "gone")
    )
    assert a == b and len({a, c, lost, gone}) == 4
