"""Tests of requirements for pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.evaluation import gates
from attr_extractor.evaluation.scores import Measurement
from tests.evaluation.by_hand import contender, measure, usual_of


def worse(schema) -> np.ndarray:
    """Return a shift; subtracted from the logits, it always answers the second category."""
    shift = np.zeros(schema.num_values, np.float32)
    shift[schema.slices["category"]] = [9.0, -9.0]
    return shift


@pytest.fixture(scope="module")
def measured(made_up, schema):
    """Measure a model compared with another that is worse at the category only."""
    other = contender(schema, lambda logits: tf.sigmoid(logits - worse(schema)))
    return measure(made_up, schema, near_duplicates={("p3", 0)}, other=other)


@pytest.fixture(scope="module")
def figures(measured):
    return gates.figures(measured)


def failures(text: str, figures) -> list[str]:
    return [line for r in gates.parse(text, figures) for line in r.failures(figures)]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mean_average_accuracy", lambda m: m["mean"]["score"]),
        ("mean.score_all", lambda m: m["mean"]["score_all"]),
        ("mean.macro_f1", lambda m: m["mean"]["macro_f1"]),
        ("attribute.color", lambda m: m["attributes"]["color"]["score"]),
        ("attribute.color.low", None),
        ("attribute.color.score.low", lambda m: m["attributes"]["color"]["interval"][0]),
        ("attribute.color.gain.high", lambda m: m["attributes"]["color"]["gain_interval"][1]),
        ("attribute.neck_type.applicable", lambda m: m["attributes"]["neck_type"]["applicable"]),
        (
            "without_near_duplicates.score",
            lambda m: m["without_near_duplicates"]["mean"]["score"],
        ),
        (
            "attribute.color.difference",
            lambda m: m["comparison"]["attributes"]["color"]["difference"],
        ),
        ("mean.regression", lambda m: -m["comparison"]["mean"]["difference_interval"][1]),
    ],
)
def test_a_requirement_checks_its_figure_and_includes_the_bound(name, place, measured, figures):
    if place is None:
        with pytest.raises(InputError, match="unknown figure"):
            gates.parse(f"{name}>=0", figures)
        return
    value = place(measured)
    assert failures(f"{name}>={value!r},{name}<={value!r}", figures) == []
    line = f"{name} is {value:g}, at least {value + 1:g} is required"
    assert failures(f"{name} >= {value + 1!r}", figures) == [line]
    line = f"{name} is {value:g}, at most {value - 1:g} is required"
    assert failures(f"{name} <= {value - 1!r}", figures) == [line]


def test_a_star_stands_for_every_attribute(measured, figures, schema):
    scores = {name: a["score"] for name, a in measured["attributes"].items()}
    bound = sorted(scores.values())[2]
    found = failures(f"attribute.*>={bound}", figures)
    worse = {name for name, score in scores.items() if score < bound}
    assert {line.split()[0] for line in found} == {f"attribute.{n}.score" for n in worse}
    assert len(worse) == 2


def test_regression_fails_for_a_significantly_worse_attribute(made_up, schema, measured, figures):
    assert measured["comparison"]["attributes"]["category"]["difference_interval"][0] > 0.1
    assert failures("regression<=0", figures) == []  # this one is the better one
    turned = measure(
        (made_up[0] - worse(schema), *made_up[1:]),
        schema,
        other=contender(schema, lambda logits: tf.sigmoid(logits + worse(schema))),
    )
    lost = -turned["comparison"]["attributes"]["category"]["difference_interval"][1]
    found = gates.figures(turned)
    line = f"attribute.category.regression is {lost:g}, at most 0.01 is required"
    assert failures("regression<=0.01", found) == [line]
    assert failures(f"regression<={lost}", found) == []


def test_an_unmeasured_figure_fails_by_name_but_not_under_the_star(made_up, schema):
    logits, labels, products = made_up
    labels = labels.copy()
    labels[:, schema.slices["color"]] = -1
    found = gates.figures(measure((logits, labels, products), schema))
    line = "attribute.color could not be measured on this split, at least 0.1 is required"
    assert failures("attribute.color>=0.1", found) == [line]
    assert failures("attribute.*>=0", found) == []
    labels[:] = -1
    found = gates.figures(measure((logits, labels, products), schema))
    assert len(failures("attribute.*>=0", found)) == 1


def test_empty_text_has_no_requirements(figures):
    assert gates.parse("", figures) == [] and gates.parse(" , ", figures) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mean_average_acuracy>=0.7", "did you mean 'mean_average_accuracy'"),
        ("attribute.nek_type>=0.7", "did you mean 'attribute.neck_type'"),
        ("attribute.color.macro_f>=0.7", "did you mean 'attribute.color.macro_f1'"),
        ("attribute.*.micro_f>=0.7", r"did you mean 'attribute.\*.micro_f1'"),
        ("mean>=0.7", "unknown figure 'mean'"),
        ("mean.score=>0.7", "write it as NAME>=NUMBER or NAME<=NUMBER"),
        ("mean.score>=", "write it as"),
        ("mean.score>=nan", "write it as"),
        ("mean.score", "write it as"),
    ],
)
def test_an_invalid_requirement_is_bad_input(text, words, figures):
    with pytest.raises(InputError, match=words):
        gates.parse(f"mean.score>=0,{text}", figures)


@pytest.mark.parametrize("name", ["regression", "mean.difference.low", "attribute.*.regression"])
def test_a_figure_of_a_comparison_requires_another_run(name, made_up, schema):
    alone = gates.figures(measure(made_up, schema))
    with pytest.raises(InputError, match="requires another run, set --compare"):
        gates.parse(f"{name}<=0.01", alone)


def test_all_names_are_known_before_measuring(made_up, schema, figures):
    nothing, _ = Measurement(schema, usual_of(made_up, schema), set(), compared=True).result()
    assert gates.figures(nothing).keys() == figures.keys()
