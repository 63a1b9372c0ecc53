"""Claims about `search/filters.py`."""

from __future__ import annotations

import pytest

from attr_extractor.enrichment.search import filters
from attr_extractor.errors import InputError


@pytest.mark.parametrize(
    ("text", "lets", "stops"),
    [
        ("color=red", ["red", "green|red"], ["", "green", None]),
        ("color!=red", ["", "green", None], ["red", "green|red"]),
        ("color=red|blue", ["red", "blue", "green|blue"], ["green", ""]),
        ("color!=red|blue", ["green", ""], ["red", "green|blue"]),
        ("neck_type = V Neck", ["v-neck"], ["round neck", ""]),  # a synonym, in other letters
    ],
)
def test_a_filter_lets_through_what_the_seller_wrote(schema, text, lets, stops):
    condition = filters.parse(text, schema)
    assert [condition.lets(cell) for cell in lets] == [True] * len(lets)
    assert [condition.lets(cell) for cell in stops] == [False] * len(stops)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour=red", "there is no attribute 'colour'; did you mean 'color'?"),
        ("color=gren", "color has no value 'gren'; did you mean 'green'?"),
        ("color=", "color has no value ''"),
        ("color", "write attribute=value or attribute!=value"),
    ],
)
def test_what_is_wrong_with_a_filter_is_said(schema, text, words):
    with pytest.raises(InputError) as caught:
        filters.parse(text, schema)
    assert words in str(caught.value) and f"--filter={text}" in str(caught.value)
