"""Questions to a vision-language model about a photo, and its answers in the schema's spelling.

A question covers several attributes: a prompt with their values, and the same values as a JSON
schema for endpoints with structured output. An attribute may also be "not applicable", or the model
"cannot tell".
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Tuple

from attr_extractor import labels
from attr_extractor.schema import SEPARATOR, Attribute, Schema, fold

NOT_APPLICABLE, CANNOT_TELL = "not applicable", "cannot tell"
NO_ANSWER = "no answer"  # to an attribute of the question
CHARACTERS_PER_TOKEN = 4  # of the estimate
LONGEST_LISTED = 200  # characters of an answer that is listed

Tokens = List[Tuple[str, float]]  # text and log-probability of each token of an answer
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class InvalidAnswerError(Exception):
    """An answer that is not a JSON object."""


@dataclass(frozen=True)
class Question:
    """A question about a photo."""

    attributes: tuple[str, ...]
    category: str  # of the product, "" if unknown
    prompt: str
    response_format: dict[str, Any]  # of a chat completion
    digest: str  # of all above

    @property
    def tokens_in(self) -> int:
        """Return the estimated number of tokens of the prompt, without the photo."""
        text = len(self.prompt) + len(json.dumps(self.response_format))
        return text // CHARACTERS_PER_TOKEN

    @property
    def tokens_out(self) -> int:
        """Return the estimated number of tokens of an answer."""
        fields = self.response_format["json_schema"]["schema"]["properties"]
        enums = {name: f.get("enum") or f["items"]["enum"] for name, f in fields.items()}
        text = {name: max(enum, key=len) for name, enum in enums.items()}
        return len(json.dumps(text)) // CHARACTERS_PER_TOKEN


class Unused(NamedTuple):
    """An answer, or a part of it, that is not used."""

    attribute: str
    answer: str
    reason: str
    nearest: str = ""  # the nearest value of the schema, "" if none is near


@dataclass
class Answer:
    """An answer in the schema's spelling."""

    values: list[tuple[str, str, float]] = field(default_factory=list)  # attribute, value, score
    without_value: list[str] = field(default_factory=list)  # NOT_APPLICABLE or CANNOT_TELL, each
    unused: list[Unused] = field(default_factory=list)


class Questions:
    """Questions about the attributes of a schema."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.of = functools.lru_cache(maxsize=10_000)(self._of)
        self._encoder = labels.Encoder(schema)

    def _of(self, attributes: tuple[str, ...], category: str) -> Question:
        """Return the question about some attributes of a product of a category ("": unknown)."""
        values = {name: self._values(self.schema[name], category) for name in attributes}
        lines = [f"- {name} ({self._hint(name)}): {', '.join(values[name])}" for name in attributes]
        about = f" Its {self.schema[self.schema.category].title()} is: {category}." * bool(category)
        prompt = (
            f"The photo shows one product of a fashion shop.{about}\n"
            "What does the photo show of each attribute? Choose among its values. Answer "
            f'"{CANNOT_TELL}" if the photo does not show it, and "{NOT_APPLICABLE}" if such a '
            "product has no such attribute. Answer with one JSON object and nothing else; its keys "
            f"are the names of the attributes.\n{chr(10).join(lines)}"
        )
        response_format = {
            "type": "json_schema",
            "json_schema": {
                "name": "attributes",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {name: self._type(name, values[name]) for name in attributes},
                    "required": list(attributes),
                    "additionalProperties": False,
                },
            },
        }
        text = json.dumps([prompt, response_format], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Question(attributes, category, prompt, response_format, digest)

    def _values(self, attribute: Attribute, category: str) -> list[str]:
        """Return the values to choose from, the two answers without a value last."""
        schema, values = self.schema, attribute.values
        if category and attribute.name != schema.category:
            c = schema[schema.category].values.index(category)
            allowed = schema.allowed[c, schema.slices[attribute.name]]
            values = [value for value, fits in zip(values, allowed) if fits]
        return list(dict.fromkeys([*values, NOT_APPLICABLE, CANNOT_TELL]))

    def _hint(self, name: str) -> str:
        attribute = self.schema[name]
        how_many = "one" if attribute.exclusive else "a list of all that apply"
        return f"{attribute.title()}; {how_many}"

    def _type(self, name: str, values: list[str]) -> dict[str, Any]:
        one: dict[str, Any] = {"type": "string", "enum": values}
        return one if self.schema[name].exclusive else {"type": "array", "items": one}

    def read(self, question: Question, content: str, tokens: Tokens | None = None) -> Answer:
        """Return the answer to a question in the schema's spelling.

        Args:
          content: the model's text: a JSON object, also within a Markdown fence.
          tokens: the tokens of `content`; without them the score of every value is 1.

        Raises:
          InvalidAnswerError: if `content` is not a JSON object; the message says what it is.
        """
        given = _parse(content)
        scores = token_scores(content, question.attributes, tokens or [])
        answer, cells = Answer(), {}
        for name in question.attributes:
            texts = [text for text in given.get(name, []) if text]
            values = [
                text
                for text in texts
                if fold(text) not in (NOT_APPLICABLE, CANNOT_TELL)
                or self.schema[name].value_of(text) is not None  # it may also be a value
            ]
            if values:
                cells[name] = SEPARATOR.join(values)
            elif texts:
                answer.without_value.append(fold(texts[0]))
            else:
                answer.unused.append(Unused(name, "", NO_ANSWER))
        columns = {self.schema.category: [question.category]} if question.category else {}
        columns.update({name: [cell] for name, cell in cells.items()})
        encoded = self._encoder.encode(columns, rows=1)
        issues = {issue.attribute: issue for _, issue in encoded.issues}
        present = labels.decode(self.schema, encoded.labels[0])
        for name, cell in cells.items():
            if name in issues:
                issue = issues[name]
                answer.unused.append(Unused(name, cell[:LONGEST_LISTED], issue.kind, issue.nearest))
                continue
            if not present[name]:  # one of the schema's words for "missing"
                answer.unused.append(Unused(name, cell[:LONGEST_LISTED], NO_ANSWER))
            of_value = {
                self.schema[name].value_of(text): score
                for text, score in zip(given[name], scores.get(name, []))
            }
            for value in present[name] or []:
                position = self.schema[name].values.index(value)
                answer.values.append((name, value, of_value.get(position, 1.0)))
        return answer


def groups(attributes: Sequence[str], per_call: int) -> list[tuple[str, ...]]:
    """Return the attributes of each call, in order."""
    return [tuple(attributes[i : i + per_call]) for i in range(0, len(attributes), per_call)]


def token_scores(content: str, attributes: Sequence[str], tokens: Tokens) -> dict[str, list[float]]:
    """Return the probability of each text of an answer, by attribute; {} if tokens do not fit it.

    The probability is the product of those of the tokens that overlap the text. A token may span
    a quotation mark or a comma, so it is approximate.
    """
    if "".join(text for text, _ in tokens) != content:
        return {}
    scores = {}
    for name in attributes:
        start = re.search(rf'"{re.escape(name)}"\s*:\s*', content)
        if not start:
            continue
        _, end = json.JSONDecoder().raw_decode(content, start.end())
        texts = _STRING.finditer(content, start.end(), end)
        scores[name] = [_probability(tokens, text.start() + 1, text.end() - 1) for text in texts]
    return scores


def _probability(tokens: Tokens, start: int, end: int) -> float:
    total, position = 0.0, 0
    for text, log_probability in tokens:
        if position < end and position + len(text) > start:
            total += log_probability
        position += len(text)
    return math.exp(min(total, 0.0))


def _parse(content: str) -> Dict[str, List[str]]:
    """Return the texts of each key of a JSON object."""
    fenced = _FENCED.fullmatch(content)
    try:
        found = json.loads(fenced[1] if fenced else content)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"not JSON: {' '.join(content.split())[:100]!r}") from error
    if not isinstance(found, dict):
        raise InvalidAnswerError(f"not a JSON object but {' '.join(content.split())[:100]!r}")
    return {key: _texts(value) for key, value in found.items()}


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else [value]
    return [
        part.strip() if isinstance(part, str) else json.dumps(part)
        for part in parts
        if part is not None
    ]
