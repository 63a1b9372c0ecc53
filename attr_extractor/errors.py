"""Errors in user input, reported in one line.

`InputError` is the only exception of the package that users are meant to see: an input cannot be
used. Every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

LONGEST = 1000  # maximum characters of an error line
BAD_INPUT = 2
TEMPORARY_FAILURE = 75  # sysexits.h: the same command may succeed later


class InputError(Exception):
    """Invalid user input; the message says what is wrong, where, and how to fix it."""

    exit_code = BAD_INPUT

    def __init__(self, message: str):
        super().__init__(one_line(message))


class TemporaryError(InputError):
    """Valid input, but a resource that the program needs is temporarily unavailable."""

    exit_code = TEMPORARY_FAILURE


COPIES = "attr-extractor-"  # starts the name of a temporary folder with copies from buckets


def one_line(text: str) -> str:
    """Join the lines of a text, and cut out its middle beyond LONGEST characters.

    An error starts with the path and ends with the fix, so both are kept. Spaces within names stay.
    A path in the copy of a folder in a bucket becomes the address.
    """
    line = " ".join(filter(None, (part.strip() for part in text.splitlines())))
    half = (LONGEST - 3) // 2
    short = line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"
    # not gettempdir(): it writes a file, and raises on a full disk; None before the first copy
    scratch = tempfile.tempdir
    return short if scratch is None else _start_of_copy(scratch).sub(r"\1://", short)


@functools.cache
def _start_of_copy(scratch: str) -> re.Pattern[str]:
    """Return the pattern of the start of a path in a copy, up to the rest of the address."""
    name = "[a-z0-9_]{8}"
    start = rf"{re.escape(scratch)}/{COPIES}{name}/(?:tmp{name}/)?"
    return re.compile(rf"{start}([a-z][a-z0-9+.-]*):/")


@contextmanager
def parsing(problem: str) -> Iterator[None]:
    """Raise InputError, with `problem` and the reason, for any exception of a library's parser.

    Wrap only the library call: a bug of this package inside the block would be blamed on the file.
    """
    try:
        yield
    except Exception as error:
        raise InputError(f"{problem}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it does not fit in memory"
    says = isinstance(error, (OSError, ValueError)) and str(error)
    return says or f"{type(error).__name__}: {error}"


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known spelling closest to `text`, or None if none is close."""
    matches = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'v-neck'?`, or an empty string if no spelling is close."""
    guess = nearest(text, known)
    return f"; did you mean {guess!r}?" if guess else ""


def require_file(path: str | Path, what: str) -> Path:
    """Return the path of an existing file; `what` names it in the error ("the schema file")."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: {what} is a folder; a file is required")
    if not path.is_file():
        raise InputError(f"{path}: {what} does not exist")
    return path


def require_folder(path: str | Path, what: str) -> Path:
    """Return the path of an existing folder; `what` names it in the error ("the image root")."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: {what} is not a folder")
    return path


def make_folder(path: str | Path, what: str) -> Path:
    """Create a folder if it does not exist; raise InputError if that fails."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: {what} cannot be created: {error.strerror}") from error
    return path


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Wrap optional imports; if one is missing, raise with the pip command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: pip install 'attr-extractor[{name}]'"
        ) from error


@contextmanager
def from_checkout() -> Iterator[None]:
    """Wrap imports of `benchmarks`, which is not installed; without it, end with one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] != "benchmarks":
            raise
        fail("this program needs a checkout: its folder benchmarks/ is not installed")


def run_program(main: Callable[[], None], argv: Sequence[str] | None = None) -> None:
    """Parse the flags and run `main`.

    An invalid flag or an InputError prints one line; the exit code is 2 or the error's own.

    Args:
      main: a function of the module that defines the flags; the module's docstring is the help.
      argv: name of the program and its arguments; sys.argv by default.
    """

    def parse_flags(arguments: list[str]) -> list[str]:
        if _asks_help(arguments):
            _show_help(main, arguments)
        try:
            rest = flags.FLAGS(arguments)
        except flags.Error as error:
            fail(f"{error}; --help lists the flags")
        if len(rest) > 1:
            fail(f"unexpected argument {rest[1]!r}: every option is a flag, see --help")
        return rest

    def run(_argv: list[str]) -> None:
        # TensorFlow's INFO messages are for its developers
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # logs the errors that it raises
        # Google's packages announce the end of each Python version
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
        try:
            main()
        except InputError as error:
            fail(str(error), error.exit_code)

    app.run(run, argv=None if argv is None else list(argv), flags_parser=parse_flags)


def _show_help(main: Callable[[], None], argv: list[str]) -> NoReturn:
    """Print the docstring of the module of `main` and its flags; with --helpfull, all flags."""
    module = main.__module__
    print(f"{inspect.getdoc(sys.modules[module])}\n")
    if "helpfull" in (argument.lstrip("-") for argument in argv[1:]):
        print(flags.FLAGS.get_help())
    else:  # absl registers the flags of a script by the script's name
        print(flags.FLAGS.module_help(sys.argv[0] if module == "__main__" else module).strip())
    sys.exit(0)


def _asks_help(argv: list[str]) -> bool:
    return any(arg.lstrip("-") in ("help", "helpfull", "helpshort", "helpxml") for arg in argv[1:])


def fail(line: str, code: int = BAD_INPUT) -> NoReturn:
    """Print an error line and exit."""
    print(f"error: {one_line(line)}", file=sys.stderr)
    sys.exit(code)
