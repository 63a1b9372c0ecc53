"""Tests of spellings.py: which values a text names."""

from __future__ import annotations

import pytest

from attr_extractor.schema import Schema
from attr_extractor.sources.spellings import Finder, clauses

SCHEMA = """
name: shop
category: kind
attributes:
  - name: kind
    values: [shorts, dress, t-shirt, sweatshirt, blouse]
    synonyms: {Kleid: dress, robe: dress}
  - name: neckline
    values: [v-neck, round neck, no neck]
  - name: length
    values: [short, long]
  - name: sleeve_length
    display_name: {en: Sleeve length, de: Ärmel}
    values: [short, long, sleeveless]
  - name: colour
    exclusive: false
    values: [blue, light blue, crème]
    synonyms: {bleu: blue, голубой: light blue}
  - name: tone
    values: [light, dark]
  - name: closure
    exclusive: false
    values: [buttons, zip, press-studs]
    synonyms: {fasteners: buttons}
  - name: pattern
    values: [stripe, embroidery, denim]
  - name: fabric
    values: [denim, lace]
"""


@pytest.fixture(scope="module")
def finder():
    return Finder(Schema.parse(SCHEMA, "test"))


def named(finder: Finder, *texts: str) -> list[str]:
    return [finder.schema.value_names[v] for v in finder.find(texts)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # joints
        ("V-neck", ["neckline=v-neck"]),
        ("a v neck", ["neckline=v-neck"]),
        ("VNECK", ["neckline=v-neck"]),
        ("v\u2011neck", ["neckline=v-neck"]),  # a hyphen that does not break
        ("tshirt", ["kind=t-shirt"]),
        ("sweat-shirt", ["kind=sweatshirt"]),
        # whole words
        ("bluebell zipper dresser", []),
        ("v. neck", []),  # two sentences
        # case, accents and alphabets
        ("CREME", ["colour=crème"]),
        ("cre\u0300me", ["colour=crème"]),
        ("\uff22\uff2c\uff35\uff25", ["colour=blue"]),  # full width
        ("ГОЛУБОЙ", ["colour=light blue"]),
        ("Kleid, robe BLEU", ["kind=dress", "colour=blue"]),
        # inflections
        ("button", ["closure=buttons"]),
        ("dresses", ["kind=dress"]),
        ("embroidered", []),  # another stem: a synonym is needed
        ("stripes striped", ["pattern=stripe"]),
        ("press stud", ["closure=press-studs"]),
        ("shorts", ["kind=shorts"]),  # and not short, whose stem it shares
        # the longest
        ("light blue", ["colour=light blue", "tone=light"]),
        ("light and blue", ["colour=blue", "tone=light"]),
        ("blue, light blue", ["colour=blue", "colour=light blue", "tone=light"]),
        # words of two attributes
        ("denim", ["pattern=denim", "fabric=denim"]),
        ("short", ["length=short", "sleeve_length=short"]),
        ("short sleeves", ["sleeve_length=short"]),
        ("short-sleeved", ["sleeve_length=short"]),
        ("short-sleeved, long", ["length=long", "sleeve_length=short", "sleeve_length=long"]),
        ("long Ärmel", ["sleeve_length=long"]),
        ("short length", ["length=short"]),
        # negations
        ("no fasteners", []),
        ("dress without buttons or zip", ["kind=dress"]),
        ("no visible buttons, zip", ["closure=zip"]),
        ("no buttons but zip", ["closure=zip"]),
        ("Kleid ohne Zip", ["kind=dress"]),
        ("robe sans zip", ["kind=dress"]),
        ("non-denim", []),
        ("w/o zip", []),
        ("w.o. zip", []),
        ("button-less", []),
        ("button less", []),
        ("lace-free", []),
        ("sleeve-less", ["sleeve_length=sleeveless"]),
        ("sleeveless", ["sleeve_length=sleeveless"]),
        ("no neck", ["neckline=no neck"]),
        ("zip, no zip", ["closure=zip"]),
        ("no one two three zip", ["closure=zip"]),
        ("", []),
        ("!!! \u200b \U0001f457", []),
    ],
)
def test_values_that_a_text_names(finder, text, values):
    assert sorted(named(finder, text)) == sorted(values)


def test_texts_do_not_continue_one_another(finder):
    assert named(finder, "v", "neck") == []
    assert named(finder, "v neck", "dress") == ["kind=dress", "neckline=v-neck"]


def test_clauses():
    assert list(clauses("Été: l'année (2-in-1), ÆON.")) == [
        ["ete"],
        ["l", "annee"],
        ["2", "in", "1"],
        ["æon"],
    ]


def test_vowel_signs_belong_to_their_word():
    assert list(clauses("नीला रंग")) == [["नीला", "रंग"]]


def test_a_text_of_a_million_characters_is_read(finder):
    assert named(finder, "no " * 300_000 + "v" * 100_000 + ". zip") == ["closure=zip"]
