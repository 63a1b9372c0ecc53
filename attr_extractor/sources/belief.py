"""How far label sources are believed: fitted on cells that the seller filled, per attribute.

For an exclusive attribute a source's answer a with confidence c has the likelihood

    P(a | true value y) = r(c, y)                     if a = y
                          (1 - r(c, y)) * e(a | y)    otherwise

r is how often the source is right about cells of this value at this confidence (logistic in the
log-odds of c, Platt 1999, with an intercept of y), and e are its errors (with more than 1,000
values those of all cells, without y). Rates of a value with few
cells are shrunk to those of all values. "No value" is one more value. For an attribute with several
values, each value is one question with its own rates, and an answered value counts by its
confidence in the same way. Sources are combined as in Dawid and Skene 1979, with the seller's cells
in place of their latent truth:

    log P(y | answers) = log P(y | category) + w * sum over sources of log P(a | y) + constant

The weight w <= 1 of the attribute allows for sources that repeat each other. A source is left out
of an attribute unless its answers tell something about the seller's cells by two standard errors.
Rates and errors are judged on folds of products that they were not fitted on; w is one number for
all folds. Cells to which the attribute does not apply are no evidence, and a value that the
category excludes has probability 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Union

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.schema import Attribute, Schema

FOLDS = 5
SILENT = -1
_PRIOR = 10.0  # cells that a rate of a category or a true value is shrunk with
_MOST_CLASSES = 1000  # above, the errors of an attribute do not depend on the true value
_MOST_NUMBERS = 10**7  # products times values of a fit, which further products are left out of
_AT_LEAST = 1000  # products that are never left out
_FEWEST = 10  # cells on which a source is judged; with fewer it is left out
_CLIP = 0.01  # confidences are between this and 1 - this
_TINY = 1e-6  # the least probability


class Answers(NamedTuple):
    """A source's answers for P products; see `SourceTable.of_products`."""

    labels: np.ndarray  # int8 [P, V]
    confidence: np.ndarray  # float32 [P, V], NaN where no value is answered


class Judged(NamedTuple):
    """A source on the cells that the seller filled, for one attribute."""

    source: str
    cells: int  # answered by the source
    right: float  # share of them; NaN without any
    information: float  # bits that an answer tells about the seller's cell, on other folds
    used: bool


@dataclass(frozen=True)
class AttributeBelief:
    """The fitted model of one attribute, and how it did on products it was not fitted on."""

    weight: float  # w
    judged: list[Judged]  # by source
    cells: int  # the seller's cells that a used source answered
    right: float  # share of them for which the most probable value is the seller's
    log_loss: float  # mean, of the seller's value; NaN without cells
    prior: _Prior
    sources: list[_Source | None]  # None if left out


@dataclass(frozen=True)
class Belief:
    """The fitted model of all attributes."""

    schema: Schema
    attributes: dict[str, AttributeBelief]

    def probabilities(
        self, answers: Sequence[Answers], category: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each value after all answers, and which sources had a part.

        Args:
          answers: by source, in the order of the fit, for P products.
          category: int64 [P], position of the seller's category; -1 if unknown.

        Returns:
          float32 [P, V], and bool [P, T, S].
        """
        products, schema = len(category), self.schema
        found = np.zeros([products, schema.num_values], np.float32)
        part = np.zeros([products, len(schema.names), len(answers)], bool)
        for t, (name, where) in enumerate(schema.slices.items()):
            of = self.attributes[name]
            told = [Answers(*(each[:, where] for each in source)) for source in answers]
            found[:, where], part[:, t] = _posterior(of, told, category)
        return found, part


def fit(
    schema: Schema,
    names: Sequence[str],
    labels: np.ndarray,
    answers: Sequence[Answers],
    category: np.ndarray,
    fold: np.ndarray,
) -> Belief:
    """Fit how far S sources are believed.

    Args:
      names: of the sources.
      labels: the seller's labels of P products, int8 [P, V].
      answers: by source, for the same products.
      category: int64 [P], position of the seller's category; -1 if unknown.
      fold: int [P], 0 .. FOLDS - 1; products of a group share a fold.
    """
    fitted = {}
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        allowed = schema.allowed[:, where]
        applies = np.append(allowed.any(axis=1), True)[category]  # or the category is unknown
        known = np.flatnonzero((labels[:, where] != MISSING).all(axis=1) & applies)
        known = known[: max(_MOST_NUMBERS // allowed.shape[1], _AT_LEAST)]
        of_attribute = labels[known][:, where]
        told = [Answers(*(each[known][:, where] for each in source)) for source in answers]
        categories = category[known]
        if attribute.name == schema.category:
            categories = np.full(len(categories), -1)  # a category says nothing about itself
        fitted[attribute.name] = _fit_attribute(
            attribute, allowed, names, of_attribute, told, categories, fold[known]
        )
    return Belief(schema, fitted)


def _fit_attribute(
    attribute: Attribute,
    allowed: np.ndarray,
    names: Sequence[str],
    labels: np.ndarray,
    answers: Sequence[Answers],
    category: np.ndarray,
    fold: np.ndarray,
) -> AttributeBelief:
    kind = _Exclusive if attribute.exclusive else _Several

    def fit_on(rows: np.ndarray) -> tuple[_Prior, list[_Source]]:
        prior = _Prior.fit(kind.truth(labels[rows]), category[rows], allowed, kind)
        sources = [kind.fit(labels[rows], Answers(*(e[rows] for e in told))) for told in answers]
        return prior, sources

    size = kind.size(labels.shape[1])
    prior_terms = np.zeros([len(labels), *size])
    terms = np.zeros([len(answers), len(labels), *size])
    for held in range(FOLDS):
        out = fold == held
        if not out.any():
            continue
        prior, sources = fit_on(~out)
        prior_terms[out] = prior.terms(category[out])
        for s, source in enumerate(sources):
            terms[s, out] = source.terms(Answers(*(e[out] for e in answers[s])))
    truth = kind.truth(labels)
    answered = np.array([told.labels[:, 0] != MISSING for told in answers]).reshape(
        len(answers), len(labels)
    )
    judged = []
    for s, name in enumerate(names):
        rows = answered[s]
        before = kind.log_loss(prior_terms[rows], truth[rows])
        after = kind.log_loss(prior_terms[rows] + terms[s, rows], truth[rows])
        gains = (before - after) / np.log(2)
        gain = float(gains.mean()) if rows.any() else 0.0
        sure = rows.sum() >= _FEWEST and gain > 2 * gains.std() / np.sqrt(rows.sum())
        right = (answers[s].labels[rows] == labels[rows]).all(axis=1)
        share = float(right.mean()) if rows.any() else float("nan")
        judged.append(Judged(name, int(rows.sum()), share, gain, bool(sure)))
    used = np.array([each.used for each in judged], bool)
    rows = answered[used].any(axis=0) if used.any() else np.zeros(len(labels), bool)
    summed = terms[used].sum(axis=0)

    def loss(weight: float) -> float:
        return float(kind.log_loss(prior_terms[rows] + weight * summed[rows], truth[rows]).mean())

    weight, best, share = 1.0, float("nan"), float("nan")
    if rows.any():
        if used.sum() > 1:
            weight = float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
        best = loss(weight)
        share = float(kind.right(prior_terms[rows] + weight * summed[rows], truth[rows]).mean())
    prior, sources = fit_on(np.ones(len(labels), bool))
    kept = [source if keep else None for source, keep in zip(sources, used)]
    return AttributeBelief(weight, judged, int(rows.sum()), share, best, prior, kept)


def _posterior(
    of: AttributeBelief, answers: Sequence[Answers], category: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of an attribute's values [P, V_t], and bool [P, S]."""
    total = of.prior.terms(category)
    part = np.zeros([len(category), len(answers)], bool)
    for s, (source, told) in enumerate(zip(of.sources, answers)):
        if source is not None:
            total = total + of.weight * source.terms(told)
            part[:, s] = told.labels[:, 0] != MISSING
    return of.prior.kind.probabilities(total), part


@dataclass(frozen=True)
class _Prior:
    """log P(y | category): frequencies in the seller's cells, shrunk to those of all categories."""

    kind: type[_Exclusive] | type[_Several]
    overall: np.ndarray  # [...], terms without a category
    by_category: np.ndarray  # [categories, ...]

    @classmethod
    def fit(
        cls,
        truth: np.ndarray,
        category: np.ndarray,
        allowed: np.ndarray,
        kind: type[_Exclusive] | type[_Several],
    ) -> _Prior:
        one_hot = kind.counted(truth, allowed.shape[1])  # [P, ...]
        overall = (one_hot.sum(axis=0) + 1 / one_hot.shape[1]) / (len(one_hot) + 1)
        rates = []
        for c, values in enumerate(allowed):
            rows = one_hot[category == c]
            shrunk = (rows.sum(axis=0) + _PRIOR * overall) / (len(rows) + _PRIOR)
            rates.append(np.where(kind.allowed(values), kind.log(shrunk), -np.inf))
        return cls(kind, kind.log(overall), np.stack(rates))

    def terms(self, category: np.ndarray) -> np.ndarray:
        """Return the terms of each product: int64 [P] -> [P, ...]."""
        return np.concatenate([self.by_category, self.overall[np.newaxis]])[category]


class _Exclusive:
    """An exclusive attribute: one of its values, or the last class, none of them."""

    def __init__(self, rate: tuple[float, float, float], of_class: np.ndarray, errors: np.ndarray):
        self.rate = rate  # of `_right_rate`
        self.of_class = of_class  # [true class], added to the log-odds of the rate
        # [true class, answered class], the diagonal is not used; or [answered class], of all cells
        self.errors = errors

    @classmethod
    def fit(cls, labels: np.ndarray, told: Answers) -> _Exclusive:
        """Fit a source to the seller's labels, int8 [P, V_t]."""
        truth, answer, confidence = cls.truth(labels), cls.truth(told.labels), _confidence(told)
        rows = answer != SILENT
        truth, answer, confidence = truth[rows], answer[rows], confidence[rows]
        classes = labels.shape[1] + 1
        wrong = truth != answer
        counts = np.bincount(answer[wrong], minlength=classes)
        errors = (counts + 1 / classes) / (counts.sum() + 1)
        if classes <= _MOST_CLASSES:
            pairs = np.zeros([classes, classes])
            np.add.at(pairs, (truth[wrong], answer[wrong]), 1)
            usual = _of_another(errors, np.arange(classes)).T  # [true class, answered class]
            np.fill_diagonal(usual, 0)
            errors = (pairs + _PRIOR * usual) / (pairs.sum(axis=1, keepdims=True) + _PRIOR)
        seen, hits = (np.bincount(truth[of], minlength=classes) for of in (..., ~wrong))
        overall = (hits.sum() + 1) / (seen.sum() + 2)
        of_class = logit((hits + _PRIOR * overall) / (seen + _PRIOR)) - logit(overall)
        return cls(_fit_right_rate(confidence, ~wrong), of_class, errors)

    def terms(self, told: Answers) -> np.ndarray:
        """Return log P(answer | y), [P, V_t + 1]; 0 where the source is silent."""
        answer = self.truth(told.labels)
        right = _right_rate(_confidence(told)[:, np.newaxis], self.rate, self.of_class)
        given_wrong = (
            self.errors[:, answer].T if self.errors.ndim == 2 else _of_another(self.errors, answer)
        )
        likelihood = (1 - right) * given_wrong  # [P, classes]
        rows = np.arange(len(answer))
        likelihood[rows, answer] = right[rows, answer]
        likelihood[answer == SILENT] = 1
        return np.log(np.maximum(likelihood, _TINY))

    @staticmethod
    def size(values: int) -> tuple[int, ...]:
        return (values + 1,)

    @staticmethod
    def truth(labels: np.ndarray) -> np.ndarray:
        """Return the class of each product, int64 [P]: V_t for no value, SILENT if missing."""
        present = labels == PRESENT
        value = np.where(present.any(axis=1), present.argmax(axis=1), labels.shape[1])
        return np.where((labels == MISSING).all(axis=1), SILENT, value)

    @staticmethod
    def counted(truth: np.ndarray, values: int) -> np.ndarray:
        one_hot = np.zeros([len(truth), values + 1])
        one_hot[np.arange(len(truth)), truth] = 1
        return one_hot

    @staticmethod
    def allowed(values: np.ndarray) -> np.ndarray:
        return np.append(values, True)

    @staticmethod
    def log(rates: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(rates, _TINY))

    @staticmethod
    def log_loss(terms: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return -log_softmax(terms, axis=1)[np.arange(len(truth)), truth]

    @staticmethod
    def right(terms: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return terms.argmax(axis=1) == truth

    @staticmethod
    def probabilities(terms: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(terms, axis=1))[:, :-1]


class _Several:
    """An attribute with several values: each value is present or absent on its own."""

    def __init__(self, hits: np.ndarray, alarms: np.ndarray, rate: tuple[float, float, float]):
        self.hits, self.alarms = hits, alarms  # [V_t], P(answered | present), P(answered | absent)
        self.rate = rate  # of `_right_rate`, what a confidence adds to an answered value

    @classmethod
    def fit(cls, labels: np.ndarray, told: Answers) -> _Several:
        """Fit a source to the seller's labels, int8 [P, V_t]."""
        rows = (told.labels != MISSING).all(axis=1)
        answered, present = told.labels[rows] == PRESENT, labels[rows] == PRESENT

        def rate(among: np.ndarray) -> np.ndarray:
            overall = ((answered & among).sum() + 0.5) / (among.sum() + 1)
            return ((answered & among).sum(axis=0) + _PRIOR * overall) / (
                among.sum(axis=0) + _PRIOR
            )

        hits, alarms = rate(present), rate(~present)
        prior = logit((present.sum(axis=0) + 0.5) / (len(present) + 1))
        told_odds = np.broadcast_to(prior + np.log(hits) - np.log(alarms), answered.shape)
        confidence = np.nan_to_num(told.confidence[rows][answered], nan=1.0)
        added = _fit_right_rate(confidence, present[answered], told_odds[answered])
        return cls(hits, alarms, added)

    def terms(self, told: Answers) -> np.ndarray:
        """Return log P(answer | present) - log P(answer | absent), [P, V_t]; 0 where silent."""
        answered = told.labels == PRESENT
        sure = _rate_log_odds(np.nan_to_num(told.confidence, nan=1.0), self.rate)
        there = np.log(self.hits) - np.log(self.alarms) + sure
        gone = np.log1p(-self.hits) - np.log1p(-self.alarms)
        return np.where(told.labels == MISSING, 0.0, np.where(answered, there, gone))

    @staticmethod
    def size(values: int) -> tuple[int, ...]:
        return (values,)

    @staticmethod
    def truth(labels: np.ndarray) -> np.ndarray:
        return labels == PRESENT

    @staticmethod
    def counted(truth: np.ndarray, values: int) -> np.ndarray:
        return truth.astype(np.float64)

    @staticmethod
    def allowed(values: np.ndarray) -> np.ndarray:
        return values

    @staticmethod
    def log(rates: np.ndarray) -> np.ndarray:
        return np.asarray(logit(np.clip(rates, _TINY, 1 - _TINY)))

    @staticmethod
    def log_loss(terms: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, np.where(truth, -terms, terms)).sum(axis=1)

    @staticmethod
    def right(terms: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return ((terms > 0) == truth).all(axis=1)

    @staticmethod
    def probabilities(terms: np.ndarray) -> np.ndarray:
        return expit(terms)


_Source = Union[_Exclusive, _Several]


def _of_another(errors: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Return the share of each answer among the errors that are not y, [P, y]; answer: int [P]."""
    return errors[answer][:, np.newaxis] / (1 - errors)


def _confidence(told: Answers) -> np.ndarray:
    """Return the confidence of each product's answer, float64 [P]; 1 for "no value"."""
    highest = np.max(np.nan_to_num(told.confidence, nan=0.0), axis=1, initial=0.0)
    given = ~np.isnan(told.confidence).all(axis=1)
    return np.where(given, highest, 1.0)


def _right_rate(
    confidence: np.ndarray, rate: tuple[float, float, float], added: np.ndarray
) -> np.ndarray:
    return np.asarray(expit(_rate_log_odds(confidence, rate) + added))


def _rate_log_odds(confidence: np.ndarray, rate: tuple[float, float, float]) -> np.ndarray:
    intercept, slope, centre = rate
    return np.asarray(intercept + slope * (_log_odds(confidence) - centre))


def _fit_right_rate(
    confidence: np.ndarray, right: np.ndarray, offset: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Fit how often answers are right by their confidence; one right and one wrong are added.

    Args:
      confidence: [N].
      right: bool [N].
      offset: log-odds [N] that the fit adds to; default 0.
    """
    x = _log_odds(confidence)
    centre = float(x.mean()) if len(x) else 0.0
    x = np.append(x - centre, [0.0, 0.0])
    y = np.append(right.astype(np.float64), [1.0, 0.0])
    known = np.append(np.zeros(len(right)) if offset is None else offset, [0.0, 0.0])

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        z = known + at[0] + at[1] * x
        error = expit(z) - y
        value = np.logaddexp(0, z) - y * z
        ridge = np.array([0.0, at[1]])
        gradient = np.array([error.sum(), (error * x).sum()]) + ridge
        return float(value.sum() + ridge @ at / 2), gradient

    found = minimize(
        loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None)]
    )
    return float(found.x[0]), float(found.x[1]), centre


def _log_odds(confidence: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(confidence.astype(np.float64), _CLIP, 1 - _CLIP)))
