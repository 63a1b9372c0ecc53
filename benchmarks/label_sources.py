r"""Tables for measuring label sources: hidden cells, a simulated source, cells filled blindly.

  python -m benchmarks.label_sources hide --catalogue=TABLE.csv --records=RECORDS --share=0.6 \
      --output=HIDDEN.csv
  python -m benchmarks.label_sources simulate --catalogue=TABLE.csv --records=RECORDS \
      --right=0.85 --output=SOURCE.parquet
  python -m benchmarks.label_sources blind --catalogue=HIDDEN.csv --records=RECORDS \
      --source=SOURCE.parquet --output=FILLED.csv

`hide` empties a share of the filled cells of training products; `build --relabel` puts them into a
copy of the records. `simulate` answers every filled cell of the whole table, wrong by one of two
values that are fixed for each value, with confidences that separate right from wrong answers in
part. `blind` writes a source's answers into empty cells of training products as if the seller had
filled them.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from attr_extractor.labels import PRESENT
from attr_extractor.records import index
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import SEPARATOR
from attr_extractor.sources import tables


def main() -> None:
    """Parse the flags and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["hide", "simulate", "blind"])
    parser.add_argument("--catalogue", required=True, help="a CSV file")
    parser.add_argument("--records", required=True, help="for the schema and the training products")
    parser.add_argument("--output", required=True)
    parser.add_argument("--share", type=float, default=0.6, help="of hidden cells")
    parser.add_argument("--right", type=float, default=0.85, help="share of right answers")
    parser.add_argument("--source", help="table of a source")
    parser.add_argument("--name", default="simulated", help="of the simulated source")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    manifest = Manifest.read(asked.records)
    catalogue = pd.read_csv(asked.catalogue, dtype=str, keep_default_na=False)
    generator = np.random.default_rng(asked.seed)
    if asked.what == "simulate":
        answers = simulate(catalogue, manifest, asked.right, generator)
        answers.assign(source=asked.name).to_parquet(asked.output)
        return
    shards = [shard.name for shard in manifest.splits["train"].shards]
    products = index.read_photos(asked.records, shards, ["product_id"])["product_id"].to_pylist()
    training = catalogue["product_id"].isin(set(products)).to_numpy()
    if asked.what == "hide":
        hide(catalogue, manifest, training, asked.share, generator)
    else:
        fill_blindly(catalogue, manifest, training, asked.source)
    catalogue.to_csv(asked.output, index=False)


def hide(
    catalogue: pd.DataFrame,
    manifest: Manifest,
    training: np.ndarray,
    share: float,
    generator: np.random.Generator,
) -> None:
    """Empty a share of the cells of training products, bool [R], in place."""
    for attribute in manifest.schema.attributes:
        hidden = training & (generator.random(len(catalogue)) < share)
        catalogue.loc[hidden, manifest.schema.column(attribute.name)] = ""


def simulate(
    catalogue: pd.DataFrame, manifest: Manifest, right: float, generator: np.random.Generator
) -> pd.DataFrame:
    """Return the answers of a source that is right with a probability, in long form."""
    parts = []
    for attribute in manifest.schema.attributes:
        cells = catalogue[manifest.schema.column(attribute.name)]
        filled = catalogue[cells != ""]
        cells = cells[cells != ""]
        single = cells.str.split(SEPARATOR).str[0]
        values = list(single.value_counts().index)
        place = single.map({value: i for i, value in enumerate(values)}).to_numpy()
        away = 1 + (generator.random(len(cells)) < 0.3)
        confused = np.array(values)[(place + away) % len(values)]
        is_right = generator.random(len(cells)) < right
        sure = generator.normal(np.where(is_right, 0.8, 0.65), 0.15).clip(0.01, 0.99)
        parts.append(
            pd.DataFrame(
                {
                    "product_id": filled["product_id"].to_numpy(),
                    "attribute": attribute.name,
                    "value": np.where(is_right, cells, confused),
                    "confidence": sure.round(3),
                }
            )
        )
    return pd.concat(parts)


def fill_blindly(
    catalogue: pd.DataFrame, manifest: Manifest, training: np.ndarray, path: str
) -> None:
    """Write a source's answers into the empty cells of training products, in place."""
    schema = manifest.schema
    [source] = tables.read_sources(path, schema)
    labels, _ = source.of_products(catalogue["product_id"].tolist())
    for attribute in schema.attributes:
        column, of = schema.column(attribute.name), labels[:, schema.slices[attribute.name]]
        empty = training & (catalogue[column] == "").to_numpy() & (of == PRESENT).any(axis=1)
        answered = [
            SEPARATOR.join(np.array(attribute.values)[row == PRESENT].tolist()) for row in of[empty]
        ]
        catalogue.loc[empty, column] = answered


if __name__ == "__main__":
    main()
