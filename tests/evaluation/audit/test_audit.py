"""Tests of the label audit: features, out-of-fold heads, findings and the list."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from attr_extractor import labels, storage
from attr_extractor.errors import InputError
from attr_extractor.evaluation.audit import answers, audit, features, findings, heads
from attr_extractor.model import network
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.sources.tables import read_sources
from attr_extractor.training.run_dir import RunDir
from benchmarks import audit_planted
from benchmarks.audit import hits
from tests.conftest import Shop, require_bad_input, run_tool
from tests.records.by_hand import InProcess, read_csv

SCHEMA = """
name: two
category: kind
attributes:
  - name: kind
    values: [a, b, c]
  - name: tags
    exclusive: false
    applies_to: [a, b]
    values: [x, y]
"""


@pytest.fixture(scope="module")
def two() -> Schema:
    return Schema.parse(SCHEMA, "two")


@pytest.fixture(scope="module")
def collected(trained: Shop, tmp_path_factory) -> features.Products:
    run = RunDir.read(trained.run)
    scratch = tmp_path_factory.mktemp("scratch")
    return features.collect_features(run, trained.records, run.manifest(), scratch)


def cells(*rows: tuple[str, str]) -> dict[str, str]:
    return dict(zip(("kind", "tags"), rows))


def test_a_product_is_the_mean_of_its_photos_features(trained, collected):
    run = RunDir.read(trained.run)
    logits = run.load_network().logits
    seen = keras.Model(logits.input, logits.get_layer(network.BRANCHES).input)
    manifest, photos, states = Manifest.read(trained.records), {}, {}
    for split in manifest.splits:
        for batch in dataset.evaluation_batches(trained.records, manifest, run.config.data, split):
            products = batch["product_id"].numpy()
            for product, feature, codes in zip(
                products, seen(batch["pixels"]).numpy(), batch["labels"].numpy()
            ):
                photos.setdefault((product.decode(), split), []).append(feature)
                states[product.decode()] = codes
    sources = collected.sources.to_pylist()
    assert sorted((s["product_id"], s["split"]) for s in sources) == sorted(photos)
    for source, feature, codes in zip(sources, collected.features, collected.labels):
        of_photos = photos[source["product_id"], source["split"]]
        np.testing.assert_allclose(feature, np.mean(of_photos, axis=0), rtol=4e-3, atol=4e-3)
        np.testing.assert_array_equal(codes, states[source["product_id"]])


def test_photos_have_the_paths_of_the_catalogue(trained, collected):
    images = {row["product_id"]: row["image"] for row in read_csv(trained.catalogue)}
    sources = {s["product_id"]: s for s in collected.sources.to_pylist()}
    assert {p: s["image"] for p, s in sources.items()} == images
    assert sources["p010"]["image_index"] == "0|1" and sources["p011"]["image_index"] == "0"


def test_sources_keep_the_order_of_products_over_many_chunks():
    names = [f"p{i:05d}" for i in np.random.default_rng(0).permutation(5000)]
    names += names[:100]  # their second photos come much later
    photos = pa.table({
        "product_id": names,
        "group": names,
        "image": [f"{name}.jpg" for name in names],
        "image_index": [0] * 5000 + [1] * 100,
        "split": ["train"] * 5100,
    })  # fmt: skip
    pieces = pa.concat_tables([photos.slice(i, 300) for i in range(0, 5100, 300)])
    owner = np.concatenate([np.arange(5000), np.arange(100)]).astype(np.int32)
    sources = features._sources(pieces, owner).to_pylist()
    assert [s["product_id"] for s in sources] == names[:5000]
    assert [s["image"] for s in sources[100:]] == [f"{name}.jpg" for name in names[100:5000]]
    assert sources[7]["image_index"] == "0|1" and sources[7]["image"].count(names[7]) == 2


def test_a_full_disk_is_reported_before_writing(tmp_path):
    with pytest.raises(InputError, match="GiB free, but.*TMPDIR"):
        features._require_room(tmp_path, 2**60)


def test_folds_are_of_equal_size_and_repeatable():
    groups = [f"g{i}" for i in range(103)]
    fold = heads.assign_folds(groups, 5, 7)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    np.testing.assert_array_equal(fold, heads.assign_folds(groups, 5, 7))
    assert (fold != heads.assign_folds(groups, 5, 8)).any()


def test_products_of_a_group_share_a_fold():
    groups = [f"style {i % 30}" for i in range(100)]
    fold = heads.assign_folds(groups, 5, 0)
    assert len(set(fold)) == 5
    assert len(set(zip(groups, fold))) == 30


@pytest.mark.parametrize(("products", "folds"), [(10, 1), (10, 0), (10, 11), (1000, 128)])
def test_invalid_folds_are_bad_input(products, folds):
    with pytest.raises(InputError, match=f"--folds={folds}.*{products:,} products"):
        heads.require_folds(products, folds)


def made_up(schema: Schema, products: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features that predict kind and tags with noise; some cells are missing."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=[products, 6]) * [1, 5, 1, 1, 0.2, 0] + [0, 3, 0, 0, 0, 7]
    noisy = features / [1, 5, 1, 1, 0.2, 1] + generator.normal(size=features.shape)
    kind = noisy[:, :3].argmax(axis=1)
    codes = []
    for i in range(products):
        tags = "|".join(v for v, z in zip("xy", noisy[i, 3:5]) if z > 0) if kind[i] < 2 else ""
        codes.append(labels.encode(schema, cells("abc"[kind[i]] if i % 6 else "", tags))[0])
    return features.astype(np.float16), np.array(codes)


def test_heads_are_logistic_regressions_of_the_other_folds(two):
    features, codes = made_up(two, 900)
    fold = heads.assign_folds(range(900), 3, 0)
    fitted = heads.fit_heads(features, codes, two, fold)
    logits = np.concatenate([fitted.logits(features[i : i + 50], i) for i in range(0, 900, 50)])
    x = features.astype(np.float64)
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    for k in range(3):
        inside, outside = fold == k, fold != k
        known = outside & (codes[:, 0] != labels.MISSING)
        strength = 1 / (2 * heads.L2 * known.sum())
        kind = LogisticRegression(C=strength, tol=1e-8, max_iter=1000)
        kind.fit(x[known], codes[known, :3].argmax(axis=1))
        ours = logits[inside, :3] - logits[inside, :3].mean(axis=1, keepdims=True)
        np.testing.assert_allclose(ours, kind.decision_function(x[inside]), atol=0.06)
        known = outside & (codes[:, 3] != labels.MISSING)
        strength = 1 / (2 * heads.L2 * known.sum())
        tag = LogisticRegression(C=strength, tol=1e-8).fit(x[known], codes[known, 3])
        np.testing.assert_allclose(logits[inside, 3], tag.decision_function(x[inside]), atol=0.06)


def test_answers_are_out_of_fold_and_of_training_products_only(two, tmp_path):
    inputs, codes = made_up(two, 900)
    generator = np.random.default_rng(1)
    split = generator.choice(["train", "test"], 900)
    fold = heads.assign_folds(range(900), 3, 0)
    sources = pa.table({"product_id": [f"p{i}" for i in range(900)], "split": split})
    # labels of held-out products are wrong, and nobody may learn them
    told = np.where((split == "test")[:, np.newaxis], codes[::-1], codes)
    products = features.Products(inputs, told, sources)
    count = answers.write(tmp_path / "heads.csv", products, two, fold, 0)
    rows = read_csv(tmp_path / "heads.csv")
    assert len(rows) == count
    kinds = {row["product_id"]: row for row in rows if row["attribute"] == "kind"}
    assert len(kinds) == 900
    x = inputs.astype(np.float64)
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    for k in range(3):
        known = (split == "train") & (fold != k) & (codes[:, 0] != labels.MISSING)
        kind = LogisticRegression(C=1 / (2 * heads.L2 * known.sum()), tol=1e-8, max_iter=1000)
        kind.fit(x[known], codes[known, :3].argmax(axis=1))
        for i in np.flatnonzero(fold == k):
            expected, row = kind.predict_proba(x[[i]])[0], kinds[f"p{i}"]
            assert abs(float(row["confidence"]) - expected["abc".index(row["value"])]) < 0.05
            assert expected["abc".index(row["value"])] > expected.max() - 0.05


def test_no_product_judges_its_own_label(two, monkeypatch):
    monkeypatch.setattr(heads, "STEPS", 20)
    features, codes = made_up(two, 300)
    fold = heads.assign_folds(range(300), 3, 0)
    before = heads.fit_heads(features, codes, two, fold).logits(features, 0)
    inside = fold == 1
    codes[inside] = codes[inside][::-1].copy()
    after = heads.fit_heads(features, codes, two, fold).logits(features, 0)
    np.testing.assert_array_equal(before[inside], after[inside])
    assert (before[~inside] != after[~inside]).any()


def by_hand(p: list[list[float]], kinds: list[str], threshold: np.ndarray, seen: np.ndarray):
    """Return what `find_cells` must list of the attribute `kind`, from a loop over products."""
    wrong, fill = {}, {}
    for row, (chances, kind) in enumerate(zip(p, kinds)):
        if kind:
            own = "abc".index(kind)
            others = [c for c in range(3) if c != own and seen[c] >= findings.SEEN]
            best = max(others, key=lambda c: chances[c], default=None)
            share = chances[own] / threshold[own]
            if best is not None and chances[best] > chances[own] and share < findings.LOW:
                wrong[row] = ("abc"[best], 1 - share)
        else:
            fits = [c for c in range(3) if chances[c] >= max(threshold[c], 0.5) and seen[c] >= 5]
            if fits:
                best = max(fits, key=lambda c: chances[c])
                fill[row] = ("abc"[best], chances[best])
    return wrong, fill


def found(thresholds, chances, codes, name):
    """Return {row: (proposed, score)} of wrong and of empty cells."""
    result = {False: {}, True: {}}
    for f in findings.find_cells(thresholds, chances, codes):
        if f.attribute.name == name:
            for row, score, chosen in zip(f.rows.tolist(), f.scores.tolist(), f.proposed):
                text = "|".join(v for v, c in zip(f.attribute.values, chosen) if c)
                result[f.empty][row] = (text, pytest.approx(score, abs=1e-5))
    return result[False], result[True]


def test_thresholds_and_findings_match_a_loop_over_cells(two):
    generator = np.random.default_rng(3)
    kinds = generator.choice(["a", "b", "c", ""], p=[0.5, 0.28, 0.02, 0.2], size=300).tolist()
    codes = np.array([labels.encode(two, cells(kind, ""))[0] for kind in kinds])
    logits = generator.normal(size=[300, 5]).astype(np.float32) * 2
    chances = findings.probabilities(two, logits, codes)
    p = np.exp(logits[:, :3]) / np.exp(logits[:, :3]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chances[:, :3], p, rtol=1e-5)
    thresholds = findings.LabelThresholds(two)
    for start in range(0, 300, 70):
        thresholds.add(chances[start : start + 70], codes[start : start + 70])
    own = [[row[c] for row, kind in zip(p, kinds) if kind == "abc"[c]] for c in range(3)]
    means = np.array([np.mean(chances_of) for chances_of in own])
    np.testing.assert_allclose(thresholds.means()[1, :3], means, rtol=1e-5)
    expected = by_hand(p.tolist(), kinds, means, np.array([len(c) for c in own]))
    assert found(thresholds, chances, codes, "kind") == expected
    assert len(expected[0]) > 20 and len(expected[1]) > 5


def few_rows(two: Schema) -> tuple[findings.LabelThresholds, np.ndarray]:
    """Return thresholds of 0.8 for present values and 0.9 for absent ones, all seen often."""
    thresholds = findings.LabelThresholds(two)
    thresholds.counts[:] = 100
    thresholds._sums[:] = [[90] * 5, [80] * 5]
    return thresholds, np.full([1, 5], 0.5, np.float32)


def test_suspicious_values_of_a_multi_value_cell_are_flipped(two):
    thresholds, chances = few_rows(two)
    codes = labels.encode(two, cells("a", "x"))[0][np.newaxis]
    chances[0, 3:] = (0.2, 0.3)  # x is doubted: 0.2 / 0.8; y stays absent
    assert found(thresholds, chances, codes, "tags")[0] == {0: ("", 0.75)}
    chances[0, 3:] = (0.9, 0.91)  # y, absent, is doubted: 0.09 / 0.9
    assert found(thresholds, chances, codes, "tags")[0] == {0: ("x|y", 0.9)}
    chances[0, 3:] = (0.41, 0.3)  # less probable than not, but not so far from its 0.8
    assert found(thresholds, chances, codes, "tags") == ({}, {})


def test_missing_labels_and_cells_that_do_not_apply_are_ignored(two):
    thresholds, chances = few_rows(two)
    before = thresholds.counts.copy()
    codes = np.array([[0, 0, 1, 0, 0], [-1, -1, -1, -1, -1]], np.int8)
    chances = np.array([[0, 0, 1, 0.9, 0.9], [0.5, 0.4, 0.1, 0.5, 0.5]], np.float32)
    assert found(thresholds, chances, codes, "tags") == ({}, {})
    thresholds.add(chances, codes)
    assert (thresholds.counts - before).tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_a_cell_with_unknown_other_values_is_judged_by_its_listed_values(two):
    thresholds, _ = few_rows(two)
    codes = np.array([[1, 0, 0, 1, -1]], np.int8)  # as `unlisted: missing` has it
    chances = np.array([[1, 0, 0, 0.9, 0.99]], np.float32)
    assert found(thresholds, chances, codes, "tags") == ({}, {})


def test_empty_cells_are_filled_only_if_the_attribute_applies_to_the_category(two):
    thresholds, _ = few_rows(two)
    codes = np.array([labels.encode(two, cells(kind, ""))[0] for kind in ("a", "", "")])
    logits = np.array([[9, 0, 0, 9, 0], [0, 9, 0, 9, 0], [0, 0, 9, 9, 0]], np.float32)
    chances = findings.probabilities(two, logits, codes)
    fill = found(thresholds, chances, codes, "tags")[1]
    assert {row: text for row, (text, _) in fill.items()} == {0: "x", 1: "x"}


def test_a_low_probability_is_not_suspicious_if_no_other_value_is_more_probable(two):
    thresholds, chances = few_rows(two)
    codes = np.array([[1, 0, 0, 0, 0]], np.int8)
    chances[0, :3] = (0.38, 0.31, 0.31)  # less than half of the usual 0.8
    assert found(thresholds, chances, codes, "kind")[0] == {}


def test_rare_values_are_not_proposed(two):
    thresholds, chances = few_rows(two)
    thresholds.counts[labels.PRESENT, 1] = findings.SEEN - 1
    codes = np.array([[1, 0, 0, 0, 0]], np.int8)
    chances[0, :3] = (0.1, 0.7, 0.2)
    assert found(thresholds, chances, codes, "kind")[0] == {0: ("c", 0.875)}


def test_the_best_rows_are_kept_in_any_order():
    generator = np.random.default_rng(0)
    scores = generator.permutation(1000).astype(np.float32)
    top = audit.Top(30)
    for start in range(0, 1000, 100):
        rows = np.arange(start, start + 100)
        top.add(scores[rows], rows, 0, (("", str(row)) for row in rows))
        assert len(top._rows) <= 60 + 100
    assert top.count == 1000
    assert [candidate.product for candidate in top.best()] == np.argsort(-scores)[:30].tolist()


@pytest.fixture(scope="module")
def audited(trained, tmp_path_factory) -> tuple[list[dict[str, str]], dict, str]:
    """Return audit.csv of a run on records with planted wrong labels, the labels, the output."""
    folder = tmp_path_factory.mktemp("audited")
    planted = audit_planted.plant(trained.records, folder / "spoiled", 0.05, InProcess())
    output = folder / "audit.csv"
    result = run_tool(
        "audit_labels",
        f"--run_dir={trained.run}",
        f"--output={output}",
        f"--records={folder / 'spoiled'}",
        f"--answers={folder / 'heads.parquet'}",
    )
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        "audit.csv", "heads.parquet", "spoiled", "spoiled.csv"
    ]  # fmt: skip
    (source,) = read_sources(folder / "heads.parquet", RunDir.read(trained.run).schema)
    assert source.name == answers.SOURCE and not source.issues and len(source.products)
    return read_csv(output), planted, result.stdout


def test_planted_wrong_labels_rank_first(audited):
    rows, planted, _ = audited
    wrong = [row for row in rows if row["kind"] == audit.WRONG]
    wrong = [(row["product_id"], row["attribute"]) for row in wrong]
    neck = {cell for cell in planted if cell[1] == "neck_type"}
    ranked = [cell for cell in wrong if cell[1] == "neck_type"]
    assert hits(ranked, neck)[0] >= 0.6
    assert neck


def test_the_csv_matches_the_catalogue_and_the_planted_labels(audited, trained):
    rows, planted, _ = audited
    assert tuple(rows[0]) == audit.COLUMNS
    seller = {row["product_id"]: row for row in read_csv(trained.catalogue)}
    kinds = [row["kind"] for row in rows]
    assert kinds == sorted(kinds, reverse=True)  # the wrong ones first
    for kind in (audit.WRONG, audit.FILL):
        scores = [float(row["score"]) for row in rows if row["kind"] == kind]
        assert scores == sorted(scores, reverse=True) and scores
        assert scores[-1] > 0 and scores[0] <= 1
    for row in rows:
        written = seller[row["product_id"]][row["attribute"]]
        if row["kind"] == audit.FILL:
            assert row["seller"] == written == ""
        elif (row["product_id"], row["attribute"]) in planted:
            assert planted[row["product_id"], row["attribute"]] == written != row["seller"]
        else:
            assert set(row["seller"].split("|")) == set(written.split("|"))
        assert row["proposed"] != row["seller"]
        assert row["image"] == seller[row["product_id"]]["image"]


def test_the_program_prints_counts(audited):
    rows, _, output = audited
    wrong = sum(row["kind"] == audit.WRONG for row in rows)
    assert f"{wrong:,} probably wrong" in output
    assert f"{len(rows):,} rows" in output


def test_an_attribute_of_one_known_value_is_skipped(two):
    thresholds = findings.LabelThresholds(two)
    codes = np.array([labels.encode(two, cells(kind, "x"))[0] for kind in "ab"] * 10)
    thresholds.add(np.full(codes.shape, 0.1, np.float32), codes)
    assert thresholds.skipped() == ["tags"]
    names = [f.attribute.name for f in findings.find_cells(thresholds, np.ones([20, 5]), codes)]
    assert set(names) == {"kind"}


def test_missing_records_are_bad_input_and_leave_no_file(trained, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(trained.run, run)
    origin = (run / "records.json").read_text(encoding="utf-8")
    origin = origin.replace(str(trained.records.resolve()), str(moved))
    (run / "records.json").write_text(origin, encoding="utf-8")
    result = run_tool("audit_labels", f"--run_dir={run}", f"--output={tmp_path / 'audit.csv'}")
    require_bad_input(result, f"{moved}: no manifest.json found")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_bad_input_is_reported_before_photos_are_read(trained, tmp_path, monkeypatch):
    monkeypatch.delattr(audit, "collect_features")
    with pytest.raises(InputError, match="--folds=1: at least 2"):
        audit.audit(trained.run, tmp_path / "audit.csv", folds=1)
    with pytest.raises(InputError, match="gone: the folder of --output does not exist"):
        audit.audit(trained.run, tmp_path / "gone" / "audit.csv")
    with pytest.raises(InputError, match="exists already; name a new file"):
        audit.audit(trained.run, trained.catalogue)
    with pytest.raises(InputError, match="--answers must end in .csv or .parquet"):
        audit.audit(trained.run, tmp_path / "audit.csv", answers_file=tmp_path / "heads.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_leaves_no_file(trained, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heads, "STEPS", 5)
    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(InputError, match="audit.csv: cannot be written: No space left"):
        audit.audit(trained.run, tmp_path / "audit.csv", folds=2)
    assert list(tmp_path.iterdir()) == []
