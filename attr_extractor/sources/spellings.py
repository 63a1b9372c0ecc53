"""Find the values of a schema in text, by their spellings and synonyms.

Text is folded (case, accents) and split into words; punctuation other than joints within words ends
a clause. Words are compared joined and by their English stems, so "V-neck", "v neck", "vneck" and
"v-necks" are one spelling. A match is dropped if

- a longer one of the same attribute overlaps it ("light blue" over "blue");
- it is a whole value and other words are an inflected one ("shorts" is no "short");
- a value and the name of its attribute include it ("short sleeves" is no length);
- it is negated in its clause ("without pockets", "button-less").
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Dict, List, NamedTuple

import snowballstemmer

from attr_extractor.schema import Attribute, Schema, fold

MOST_WORDS = 8  # in a spelling
REACH = 3  # words after a negation that it negates
NEGATIONS = frozenset(
    "no not non without nor ohne kein keine keinen keinem keiner keines nicht sans pas sin senza "
    "zonder geen utan inte uden ikke bez sem".split()
)
ENDS_OF_NEGATION = frozenset("but with aber mit mais avec pero con ma met maar med men com".split())
LESS = "less"  # after a word: negates it

_HYPHENS = "\\-\u2010\u2011\u2012\u2013"
_SUFFIX = re.compile(rf"[{_HYPHENS}](?:less|free|frei|los)\b")
_WITHOUT = re.compile(r"\bw\s?/\s?o\b|\bw\.\s?o\.")
_CLAUSE = "\n"  # separates clauses in folded text
_ENDS_CLAUSE = frozenset(".,;:!?()[]{}|\u2022\u00b7\u2026\u2014\u3001\u3002\uff0c")
_WORDS_CACHED = 500_000

Values = Dict[str, List[int]]  # positions of V by joined words


class Match(NamedTuple):
    """A value named by the words `start` to `end` of a clause."""

    start: int
    end: int
    value: int  # position of V
    attribute: int  # position of T
    claims: bool  # whether the words include the name of the attribute


class Finder:
    """Finder of a schema's values in text."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self._whole: Values = {}
        self._inflected: Values = {}
        self._claims: set[tuple[str, int]] = set()  # joined words that include the attribute's name
        self._stem = functools.lru_cache(_WORDS_CACHED)(_stemmer().stemWord)
        for attribute in schema.attributes:
            self._add(attribute)
        for value in (*self._whole.values(), *self._inflected.values()):
            value.sort()
        self._starts = {
            joined[:end]
            for joined in (*self._whole, *self._inflected)
            for end in range(1, len(joined) + 1)
        }

    def _add(self, attribute: Attribute) -> None:
        """Add the spellings of the values of an attribute."""
        first = self.schema.slices[attribute.name].start
        spellings = {value: value for value in attribute.values} | attribute.synonyms
        names = list(_names(attribute))
        for spelling, value in spellings.items():
            words = [word for clause in clauses(spelling) for word in clause]
            position = first + attribute.values.index(value)
            for name in [[], *names]:
                if words and len(words) + len(name) <= MOST_WORDS:
                    self._add_words([*words, *name], position, claims=bool(name))

    def _add_words(self, words: list[str], position: int, claims: bool) -> None:
        stems = "".join(map(self._stem, words))
        for form, values in (("".join(words), self._whole), (stems, self._inflected)):
            if position not in values.setdefault(form, []):
                values[form].append(position)
            if claims:
                self._claims.add((form, position))

    def find(self, texts: Iterable[str]) -> list[int]:
        """Return the distinct values that a product's texts name, as positions of V in order."""
        found = {
            match.value for text in texts for words in clauses(text) for match in self._kept(words)
        }
        return sorted(found)

    def _kept(self, words: list[str]) -> list[Match]:
        """Return the matches in a clause that remain."""
        matches = sorted(self._matches(words), key=lambda m: (m.start - m.end, m.start))
        if not matches:
            return []
        negated = _negated(words)
        kept: list[Match] = []
        for match in matches:  # the longest first
            same = [m for m in kept if m.attribute == match.attribute]
            covered = any(m.start < match.end and match.start < m.end for m in same)
            # the same words may name two values of an attribute
            covered = covered and not any(m[:2] == match[:2] for m in same)
            claimed = any(
                m.claims and m.start <= match.start and match.end <= m.end and not match.claims
                for m in kept
            )
            if not covered and not claimed:
                kept.append(match)
        return [m for m in kept if m.start not in negated and words[m.end : m.end + 1] != [LESS]]

    def _matches(self, words: list[str]) -> Iterator[Match]:
        attribute_of = self.schema.attribute_of_value
        stems = [self._stem(word) for word in words]
        for start in range(len(words)):
            whole = stemmed = ""
            for end in range(start + 1, min(start + MOST_WORDS, len(words)) + 1):
                whole += words[end - 1]
                stemmed += stems[end - 1]
                if whole not in self._starts and stemmed not in self._starts:
                    break
                is_whole = whole in self._whole
                form, values = (whole, self._whole) if is_whole else (stemmed, self._inflected)
                for value in values.get(form, ()):
                    claims = (form, value) in self._claims
                    yield Match(start, end, value, int(attribute_of[value]), claims)


def clauses(text: str) -> Iterator[list[str]]:
    """Yield the folded words of each clause of a text that has any."""
    folded = fold(text)
    if "w" in folded:
        folded = _WITHOUT.sub("without", folded)
    folded = _SUFFIX.sub(f" {LESS}", folded).translate(_FOLDED)
    for clause in folded.split(_CLAUSE):
        if words := clause.split():
            yield words


class _Folded(Dict[int, str]):
    """The folded form of each code point, computed when it is first met.

    A letter, digit or vowel sign without its accent; a space or the end of a clause for others.
    """

    def __missing__(self, point: int) -> str:
        character = chr(point)
        if character in _ENDS_CLAUSE:
            form = _CLAUSE
        elif unicodedata.combining(character):
            form = ""
        elif unicodedata.category(character)[0] not in "LNM":
            form = " "
        else:
            decomposed = unicodedata.normalize("NFKD", character)
            form = "".join(c for c in decomposed if not unicodedata.combining(c))
        self[point] = form
        return form


_FOLDED = _Folded()


def _names(attribute: Attribute) -> Iterator[list[str]]:
    """Yield the words by which an attribute is called after its value, such as "sleeve length".

    Its name and its display names in every language, and the first word of each.
    """
    shown = attribute.display_name
    names = shown.values() if isinstance(shown, dict) else [shown or ""]
    for name in dict.fromkeys([attribute.name.replace("_", " "), *names]):
        words = [word for clause in clauses(name) for word in clause]
        if words:
            yield words[:1]
        if len(words) > 1:
            yield words


def _negated(words: list[str]) -> set[int]:
    """Return the positions of words within the reach of a negation."""
    negated: set[int] = set()
    for i, word in enumerate(words):
        if word in NEGATIONS:
            for j in range(i + 1, min(i + 1 + REACH, len(words))):
                if words[j] in ENDS_OF_NEGATION:
                    break
                negated.add(j)
    return negated


def _stemmer() -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer("english")
