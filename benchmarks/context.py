"""What a run's answers gain from known cells and texts, each cell judged without itself.

Print for each set of inputs the mean score of the answers (equation 2, with the run's thresholds)
with the paired interval of the difference to the photo alone, the mean accuracy of the best value
over exclusive attributes, and the mean expected calibration error of its score. Beside them stand
the context without the photo, and scikit-learn's models of the same cells and words alone: logistic
regression and gradient boosting (table_models.py).
A second table has the score of the photo and of all inputs by attribute: over all cells, and over
those whose value the text does not name.
With --planted, that share of the cells of exclusive attributes is swapped first, and a third table
has the share of them that is found with 95 % precision by the margin of another value.
  python -m benchmarks.context --run_dir=RUN [--split=test] [--together=colour,colour_tone]
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor.evaluation import baselines, calibrate, context, predictions, scores
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import Contender
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.network import BASE
from attr_extractor.records import words
from attr_extractor.schema import Schema, fold
from attr_extractor.training.run_dir import RunDir
from benchmarks import audit_planted, table_models


def main() -> None:
    """Parse the flags, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run_dir", type=Path, required=True, help="a calibrated run")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--together", action="append", default=[], help="hidden together")
    parser.add_argument("--planted", type=float, default=0.0, help="share of wrong cells")
    asked = parser.parse_args()
    together = [names.split(",") for names in asked.together]
    run = RunDir.read(asked.run_dir)
    has = run.config.model.context.names
    predicted = predictions.predict(run, asked.split)
    train, products = (table_models.of_split(run, split) for split in ("train", asked.split))
    texts = products.texts
    inputs = [names for names in (["known"], ["text"], ["known", "text"]) if set(names) <= set(has)]
    rows: dict[str, Predictions] = {"photo": predicted}
    for names in inputs:
        rows["photo, " + ", ".join(names)] = context.in_context(
            predicted, run, None, names, together
        )
    rows[f"{', '.join(inputs[-1])} without photo"] = without_photo(
        run, predicted, inputs[-1], together
    )
    print(f"{len(predicted.labels):,} photos, {asked.split}")
    print(f"{'':28} score   gain [interval]           accuracy  calibration error")
    measured = {name: measure(run, each, predicted) for name, each in rows.items()}
    for name, figures in measured.items():
        mean, accuracy = figures["mean"]["score"], accuracy_of(run.schema, figures)
        error = calibration_error(run, rows[name])
        low, high = figures["comparison"]["mean"]["difference_interval"]
        gain = figures["comparison"]["mean"]["difference"]
        print(
            f"{name:28} {mean:.4f}  {gain:+.4f} [{low:+.4f}, {high:+.4f}]  "
            f"{accuracy:.4f}  {error:.4f}"
        )
    for name, make in table_models.MODELS.items():
        accuracy, error = table_models.measure(run.schema, train, products, make, together)
        print(f"{name:28} {'':33}  {accuracy:.4f}  {error:.4f}")
    named = named_values(run.schema, predicted, texts)
    last = list(rows)[len(inputs)]
    told = {
        name: measure(run, hide(run.schema, rows[name], named), None) for name in ("photo", last)
    }
    print(f"{'attribute':20} photo  {last}  named by the text  photo  {last}, where it is not")
    for name in run.schema.names:
        photo, all_inputs = (measured[row]["attributes"][name]["score"] for row in ("photo", last))
        where = run.schema.slices[name]
        applies = (predicted.labels[:, where] == PRESENT).any(axis=1)
        share = np.mean(named[applies][:, where].any(axis=1)) if applies.any() else 0.0
        rest = [told[row]["attributes"][name]["score"] for row in ("photo", last)]
        print(f"{name:20} {photo:.3f}  {all_inputs:.3f}  {share:.3f}  {rest[0]:.3f}  {rest[1]:.3f}")
    if asked.planted:
        planted = np.array(predicted.labels)
        planted = audit_planted.swap(run.schema, planted, asked.planted, np.random.default_rng(0))
        wrong = dataclasses.replace(predicted, labels=planted)
        for names in ([], *inputs):
            each = context.in_context(wrong, run, None, names)
            found = found_at_precision(run, each, predicted.labels)
            print(f"planted {asked.planted:.0%}, photo {' '.join(names):12} {found:.3f} found")


def measure(run: RunDir, predicted: Predictions, photo: Predictions | None) -> dict[str, Any]:
    """Return the figures of `scores.measure`, compared with the photo alone if given."""
    contender = Contender(run.scoring().scores_of, run.answers())
    usual = baselines.MostFrequent.of(run.schema, run.origin.most_frequent)
    other = (contender, photo.blocks()) if photo is not None else None
    return scores.measure(contender, predicted.blocks(), usual, None, other)[0]


def accuracy_of(schema: Schema, figures: dict[str, Any]) -> float:
    """Return the mean accuracy of the best value over exclusive attributes."""
    found = [figures["attributes"][a.name]["accuracy"] for a in schema.attributes if a.exclusive]
    return float(np.mean([each for each in found if each is not None]))


def calibration_error(run: RunDir, predicted: Predictions) -> float:
    """Return the mean over attributes of the error of the best value's score."""
    contender = Contender(run.scoring().scores_of, run.answers())
    reliability = calibrate.Reliability(run.schema)
    for block in predicted.blocks():
        answered = contender.answer(block.logits)
        reliability.add(answered.scores, block.labels, answered.best)
    return float(np.nanmean(reliability.expected_error()))


def without_photo(
    run: RunDir, predicted: Predictions, names: list[str], together: list[list[str]]
) -> Predictions:
    """Return predictions from base rates and evidence alone."""
    base = run.load_network().trained.get_layer(BASE).log_odds.numpy()
    found = context.of_split(predicted, run, None, names, together)
    logits = (base + found) * run.scoring().temperatures
    return dataclasses.replace(predicted, logits=logits.astype(np.float32), added=None)


def named_values(schema: Schema, predicted: Predictions, texts: list[str]) -> np.ndarray:
    """Return bool [N, V], the values of a product that its text names."""
    named = np.zeros(predicted.labels.shape, bool)
    values = [f" {fold(value)} " for attribute in schema.attributes for value in attribute.values]
    for row, text in enumerate(words.split(texts).to_list()):
        said = " " + " ".join(word.decode() for word in text) + " "
        named[row] = [value in said for value in values]
    return named & (np.asarray(predicted.labels) == PRESENT)


def found_at_precision(run: RunDir, wrong: Predictions, truth: np.ndarray) -> float:
    """Return the share of planted cells that the largest margins find with 95 % precision.

    A cell's margin is the log-odds of the best other value minus those of its own. The seller's own
    mistakes count as false alarms.
    """
    margins, planted = [], []
    rule = run.scoring()
    logits = np.concatenate([block.logits for block in wrong.blocks()]) / rule.temperatures
    for attribute, where in zip(run.schema.attributes, run.schema.slices.values()):
        given = wrong.labels[:, where] == PRESENT
        rows = np.flatnonzero(given.any(axis=1))
        if not attribute.exclusive or not len(rows) or given.shape[1] < 2:
            continue
        own = np.where(given, logits[:, where], -np.inf).max(axis=1)
        best = np.where(given, -np.inf, logits[:, where]).max(axis=1)
        margins.append((best - own)[rows])
        planted.append((truth[:, where] != wrong.labels[:, where]).any(axis=1)[rows])
    order = np.argsort(-np.concatenate(margins), kind="stable")
    is_planted = np.concatenate(planted)[order]
    hits = np.cumsum(is_planted)
    precise = np.flatnonzero(hits >= 0.95 * np.arange(1, len(hits) + 1))
    return float(hits[precise[-1]] / is_planted.sum()) if len(precise) else 0.0


def hide(schema: Schema, predicted: Predictions, named: np.ndarray) -> Predictions:
    """Return the predictions without the labels of attributes of which a value is named."""
    hidden = np.array(predicted.labels)
    for where in schema.slices.values():
        hidden[named[:, where].any(axis=1), where] = MISSING
    return dataclasses.replace(predicted, labels=hidden)


if __name__ == "__main__":
    main()
