"""The command `attr-extractor VERB`: one verb per program; see `programs`.

The scripts in tools/ run the same programs.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from attr_extractor import __version__, errors
from attr_extractor.catalogue import photos

# in the order of use
STAGES = {
    "Start": ("demo", "doctor"),
    "Records of a catalogue": ("draw", "infer", "build", "check"),
    "A trained model": ("features", "train", "evaluate", "calibrate", "explain", "sweep"),
    "Better labels": ("mine-text", "ask-model", "add-sources", "audit", "learning-curve"),
    "A served model": ("export", "convert", "serve"),
    "A filled catalogue": ("predict", "qualify", "review", "export-decisions", "simulate-review"),
    "Search and change": ("index", "search", "drift", "migrate"),
}
VERBS = [verb for verbs in STAGES.values() for verb in verbs]


def main() -> None:
    """Run `attr-extractor` with the arguments of the command line."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(overview())
    elif verb == "--version":
        print(__version__)
    elif verb in VERBS:
        run(verb, arguments)
    else:
        guess = errors.did_you_mean(verb, VERBS)
        errors.fail(f"unknown verb {verb!r}{guess or '; attr-extractor --help lists the verbs'}")


def run(verb: str, arguments: Sequence[str] | None = None) -> None:
    """Run the program of a verb in this process; by default with the command line's arguments."""
    # TensorFlow 2.15 logs "Unable to register cuBLAS factory" as an error in every process, with or
    # without a GPU. Real failures reach Python as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    photos.silence_pillow()
    program = importlib.import_module(f"attr_extractor.programs.{_module(verb)}")
    arguments = sys.argv[1:] if arguments is None else arguments
    errors.run_program(program.main, [f"attr-extractor {verb}", *arguments])


def overview() -> str:
    """Return a line for each verb, by stage."""
    lines = ["attr-extractor VERB --help shows the flags and an example."]
    for stage, verbs in STAGES.items():
        lines += ["", stage, *(f"  {verb:18}{_first_line(verb)}" for verb in verbs)]
    return "\n".join(lines)


def _first_line(verb: str) -> str:
    """Return the first line of a program's docstring, without importing the program."""
    source = Path(__file__).with_name("programs") / f"{_module(verb)}.py"
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def _module(verb: str) -> str:
    return verb.replace("-", "_")
