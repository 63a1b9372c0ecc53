"""Tests of `records/words.py` against words cut and folded in Python."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.records import words


def hashed(*pieces: str) -> list[int]:
    """Hash strings as TensorFlow's stock operation does."""
    return (tf.strings.to_hash_bucket_fast(list(pieces), words.BUCKETS - 1) + 1).numpy().tolist()


def by_hand(text: str) -> np.ndarray:
    plain = ""
    for c in unicodedata.normalize("NFC", text).lower():
        base = unicodedata.normalize("NFD", c)
        accents = base[1:]
        # an accent has a combining class; parts of a Hangul syllable and of a vowel sign have none
        plain += base[0] if accents and all(unicodedata.combining(a) for a in accents) else c
    plain = "".join(c for c in unicodedata.normalize("NFKC", plain) if not unicodedata.combining(c))
    plain = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in plain)
    result = np.zeros([words.WORDS, words.PIECES], np.int64)
    for i, word in enumerate(plain.split()[: words.WORDS]):
        marked = f"<{word}>"
        pieces = [marked] + [marked[k : k + 3] for k in range(len(marked) - 2)]
        numbers = hashed(*pieces)[: words.PIECES]
        result[i, : len(numbers)] = numbers
    return result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Velvet Top, size 40/42",
        "Robe d'été côtelée À POIS",
        unicodedata.normalize("NFD", "Crème brûlée tweed"),
        "Kleid für Mädchen",
        "חולצת כותנה",
        "قميص قطن",
        "\uff46\uff55\uff4c\uff4c \uff37",
        "連衣裙 女",
        "top 😀 with emoji🎉inside",
        "a",
        "one " * 40,
        "\ud55c\uad6d \uc5ec\uc131 \uc6d0\ud53c\uc2a4",
        "weißes Kleid",
        "\u0995\u09cb\u099f",
        "supercalifragilisticexpialidocious",
    ],
)
def test_pieces_are_those_of_python(text: str):
    assert words.pieces(tf.constant([text]))[0].numpy().tolist() == by_hand(text).tolist()


def test_spellings_of_one_word_are_equal_and_a_row_does_not_depend_on_its_neighbours():
    texts = ["Élan", "élan", "e\u0301lan", "ELAN", "elan!"]
    rows = words.pieces(tf.constant(texts)).numpy()
    assert (rows == rows[0]).all() and rows[0, 0].any()
    among = words.pieces(tf.constant(["other words", "Élan", "x" * 10**6])).numpy()
    assert (among[1] == rows[0]).all()


def test_different_words_stay_different():
    pairs = [("\ud55c\uad6d", "\ud558\uac15"), ("weiß", "weis"), ("\ufb01ne", "fne")]
    for one, other in pairs:
        rows = words.pieces(tf.constant([one, other])).numpy()
        assert rows[0, 0, 0] != rows[1, 0, 0], one


def test_invalid_bytes_part_words_and_a_text_of_a_megabyte_is_cut():
    rows = words.pieces(tf.constant([b"red\xff\xfedress", b"red dress", b"red " * 300_000])).numpy()
    assert (rows[0] == rows[1]).all()
    assert (rows[2] == by_hand("red " * 16)).all()
    assert rows.shape == (3, words.WORDS, words.PIECES) and rows.dtype == np.int32
    assert rows.min() >= 0 and rows.max() < words.BUCKETS
