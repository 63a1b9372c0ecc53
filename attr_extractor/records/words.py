"""A product's text as numbers of words and of their pieces, with stock operations of TensorFlow.

A table replaces each code point by its folded form: lower case, without an accent, and a space for
all that is no letter, digit or vowel sign; accents that are code points of their own are dropped.
A word's pieces are the word itself and its groups of three characters, "<ve vel elv lve vet et>";
their hashes are rows of an embedding table (Bojanowski et al. 2017). So no vocabulary belongs to a
model, and a new or misspelt word shares pieces with known ones. Text without spaces is one word.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import tensorflow as tf

WORDS = 16  # the first words of a text are read
PIECES = 16  # of a word, itself among them
BUCKETS = 2**15  # hashes; 0 is no piece
_BYTES = 1024  # of a text are read
_POINTS = 2**16  # code points in the table; those above, such as emoji, count as spaces
_DROPPED = 0  # in the table


def pieces(text: tf.Tensor) -> tf.Tensor:
    """Return the hashes of the pieces of each text's words.

    Args:
      text: string [B], UTF-8; invalid bytes separate words.

    Returns:
      int32 [B, WORDS, PIECES] in 0 .. BUCKETS - 1, padded with 0.
    """
    words = split(text)
    marked = tf.strings.join(["<", words.values, ">"])  # [all words]
    characters = tf.strings.unicode_split(marked, "UTF-8")
    groups = tf.strings.ngrams(characters, 3, separator="")[:, : PIECES - 1]
    parts = tf.concat([marked[:, tf.newaxis], groups], axis=1)  # [all words, (pieces)]
    hashed = tf.strings.to_hash_bucket_fast(parts.values, BUCKETS - 1) + 1
    of_words = parts.with_values(tf.cast(hashed, tf.int32)).to_tensor(shape=[None, PIECES])
    return words.with_values(of_words).to_tensor(shape=[None, WORDS, PIECES])


def split(text: tf.Tensor) -> tf.RaggedTensor:
    """Return the first folded words of each text: string [B] -> string [B, (at most WORDS)]."""
    points = tf.strings.unicode_decode(tf.strings.substr(text, 0, _BYTES), "UTF-8")
    folded = tf.gather(_folded(), tf.minimum(points.values, _POINTS - 1))
    kept = tf.ragged.boolean_mask(points.with_values(folded), points.with_values(folded > _DROPPED))
    clean = tf.strings.unicode_encode(kept, "UTF-8")  # [B]
    return tf.strings.split(clean)[:, :WORDS]


@functools.lru_cache(maxsize=1)
def _folded() -> np.ndarray:
    """Return the folded form of each code point, int32 [_POINTS]; the last is a space."""
    return np.array([_fold(chr(point)) for point in range(_POINTS - 1)] + [ord(" ")], np.int32)


def _fold(character: str) -> int:
    """Return the code point without its accents; one that stands for several letters stays."""
    if unicodedata.combining(character):
        return _DROPPED
    lower = character.lower()
    decomposed = unicodedata.normalize("NFKD", lower)
    accented = all(map(unicodedata.combining, decomposed[1:]))
    first = decomposed[0] if accented else lower[0]
    return ord(first if unicodedata.category(first)[0] in "LNM" else " ")
