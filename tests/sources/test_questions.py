"""Tests of questions.py: what is asked, and how an answer becomes values of the schema."""

from __future__ import annotations

import json
import math

import pytest

from attr_extractor.sources.questions import (
    CANNOT_TELL,
    NOT_APPLICABLE,
    InvalidAnswerError,
    Questions,
    Unused,
    groups,
)


@pytest.fixture
def asked(schema):
    return Questions(schema)


def fields(question):
    return question.response_format["json_schema"]["schema"]["properties"]


def test_the_json_schema_offers_the_values_that_the_category_may_have(asked):
    question = asked.of(("closure", "color"), "jeans")
    neither = [NOT_APPLICABLE, CANNOT_TELL]
    assert fields(question) == {
        "closure": {"type": "string", "enum": ["button", "zip", *neither]},  # not drawstring
        "color": {
            "type": "array",
            "items": {"type": "string", "enum": ["red", "green", "blue", *neither]},
        },
    }
    json_schema = question.response_format["json_schema"]
    assert json_schema["strict"] and not json_schema["schema"]["additionalProperties"]
    assert json_schema["schema"]["required"] == ["closure", "color"]
    assert "Its category is: jeans." in question.prompt and "drawstring" not in question.prompt
    assert "drawstring" in asked.of(("closure",), "").prompt


def test_the_digest_changes_with_attributes_and_category(asked):
    of = [asked.of(("closure",), c) for c in ("jeans", "shirt", "")] + [asked.of(("color",), "")]
    assert len({question.digest for question in of}) == 4
    assert asked.of(("closure",), "jeans").digest == of[0].digest


def test_groups_keep_the_order():
    assert groups(list("abcde"), 2) == [("a", "b"), ("c", "d"), ("e",)]


def test_values_synonyms_and_answers_without_value(asked):
    question = asked.of(("neck_type", "color", "closure"), "shirt")
    content = {"neck_type": "V Neck", "color": ["Blue", "red"], "closure": "cannot tell"}
    answer = asked.read(question, json.dumps(content))
    assert answer.values == [
        ("neck_type", "v-neck", 1.0),
        ("color", "red", 1.0),
        ("color", "blue", 1.0),
    ]
    assert (answer.without_value, answer.unused) == ([CANNOT_TELL], [])


def test_answers_that_the_schema_does_not_allow_are_listed_and_not_used(asked):
    question = asked.of(("neck_type", "color", "closure"), "jeans")
    content = {"neck_type": "v-neck", "color": ["reed"], "closure": "drawstring"}
    answer = asked.read(question, f"```json\n{json.dumps(content)}\n```")
    assert answer.values == []
    assert answer.unused == [
        Unused("neck_type", "v-neck", "does not apply"),
        Unused("color", "reed", "unknown value", "red"),
        Unused("closure", "drawstring", "value not allowed for the category"),
    ]


@pytest.mark.parametrize("given", [["button", "zip"], "button|zip"])
def test_two_values_of_an_exclusive_attribute_are_not_used(asked, given):
    answer = asked.read(asked.of(("closure",), ""), json.dumps({"closure": given}))
    assert answer.unused == [
        Unused("closure", "button|zip", "several values of an exclusive attribute")
    ]


@pytest.mark.parametrize("given", [{}, {"closure": None}, {"closure": ""}, {"closure": "NA"}])
def test_an_attribute_without_an_answer_is_listed(asked, given):
    answer = asked.read(asked.of(("closure",), ""), json.dumps(given))
    assert [each.reason for each in answer.unused] == ["no answer"]
    assert answer.values == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("I see a shirt with a zip.", "not JSON: 'I see a shirt"),
        ('{"closure": "zip"', "not JSON"),
        ('["zip"]', "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
    ],
)
def test_an_answer_that_is_no_json_object_is_invalid(asked, content, says):
    with pytest.raises(InvalidAnswerError, match=says):
        asked.read(asked.of(("closure",), ""), content)


def test_confidence_is_the_product_of_the_probabilities_of_the_values_tokens(asked):
    tokens = [
        ('{"', 0.9),
        ("color", 1.0),
        ('": ["', 0.8),
        ("re", 0.5),
        ("d", 0.6),
        ('", "', 0.7),
        ("blue", 0.25),
        ('"], "closure": "', 0.9),
        ("zip", 0.125),
        ('"}', 1.0),
    ]
    content = "".join(text for text, _ in tokens)
    question = asked.of(("color", "closure"), "")
    logged = [(text, math.log(p)) for text, p in tokens]
    answer = asked.read(question, content, logged)
    assert [(value, pytest.approx(p)) for _, value, p in answer.values] == [
        ("red", 0.3),
        ("blue", 0.25),
        ("zip", 0.125),
    ]
    # tokens of another text say nothing
    assert {p for _, _, p in asked.read(question, content, logged[1:]).values} == {1.0}
