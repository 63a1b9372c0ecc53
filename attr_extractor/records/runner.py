"""Runners of build tasks: processes on this machine, or a cluster through Apache Beam.

Both are given the paths of task files. The results of a task are also files, so finished tasks of
an interrupted build are not repeated.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Protocol, TypeVar

from tqdm import tqdm

from attr_extractor.errors import InputError, TemporaryError

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[str], None]  # a module-level function, so that other processes can import it

_ANSWERS_WITHIN = 60.0  # seconds in which a job service must accept a connection
_LONGEST_JOB = 30 * 24 * 3600  # seconds; Beam by default stops watching a job after 60
_OF_TASK = " [while running "  # Beam appends it, and the step, to an error of a task
_BAD_INPUT = re.compile(
    r"^attr_extractor\.errors\.(InputError|TemporaryError): (.*?)(?: \[while running .*)?$", re.M
)


class Runner(Protocol):
    """A runner that applies a function to each of several task files, in any order."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """Run `work` on every task and wait for all; `name` is shown in the progress bar."""


class Local:
    """Processes on this machine, started once and used for all tasks of a build."""

    def __init__(self, num_workers: int):
        # spawn, because a process that has loaded TensorFlow must not be forked
        self._pool = ProcessPoolExecutor(
            max(1, num_workers), get_context("spawn"), initializer=_leave_with_the_parent
        )

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`; raises InputError if a worker process was killed."""
        goes_on = "rerun the command to resume; "
        done = self.map(work, tasks, name, goes_on)
        for _ in tqdm(done, total=len(tasks), desc=name, unit="task"):
            pass

    def map(
        self, work: Callable[[T], R], tasks: Sequence[T], name: str, advice: str = ""
    ) -> Iterator[R]:
        """Yield the results of `work` per task, in order; raises as `run` does, with `advice`."""
        try:
            yield from self._pool.map(work, tasks)
        except BrokenProcessPool as error:
            raise InputError(
                f"{name}: a worker process was killed, perhaps out of memory; {advice}"
                "--num_workers=1 needs less memory"
            ) from error


def _is_no_bad_input(record: logging.LogRecord) -> bool:
    """Return whether to log a record of Beam; bad input is raised and needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], InputError))


def _is_not_raised(record: logging.LogRecord) -> bool:
    """Return whether to log a record; the error of a remote job is also raised at its end."""
    return record.levelno < logging.ERROR or record.module != "portable_runner"


def _leave_with_the_parent() -> None:
    """Exit this process if its parent is killed; otherwise it would wait forever."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Beam:
    """Workers of Apache Beam: a cluster, or by default threads on this machine.

    Workers need this package, and must reach the records folder, the photos, the table and the
    model by the same paths, with settings of the store of their own.
    """

    def __init__(self, arguments: Sequence[str] = ()):
        """Create a runner from Beam's own flags, such as `--runner=FlinkRunner`.

        Raises:
          InputError: if Apache Beam is not installed, or a flag is invalid.
          TemporaryError: if the job service does not answer.
        """
        try:
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
        except ImportError as error:
            raise InputError(
                "--runner=beam needs Apache Beam: pip install 'attr-extractor[beam]'"
            ) from error
        for argument in arguments:
            if not argument.startswith("--"):
                raise InputError(f"--beam={argument}: Beam flags must start with --")
        logging.getLogger("apache_beam.runners.common").addFilter(_is_no_bad_input)
        logging.getLogger().addFilter(_is_not_raised)
        # the first, so that a flag of the same name has precedence
        self._flags = [f"--job_server_timeout={_LONGEST_JOB}", *arguments]
        options = PipelineOptions(self._flags)
        try:
            beam.Pipeline(options=options)
        except ValueError as error:  # no runner for these flags
            raise InputError(f"--beam={' '.join(arguments)}: {error}") from error
        endpoint = options.view_as(PortableOptions).job_endpoint
        if endpoint and endpoint != "embed":
            _require_job_service(endpoint)

    def __enter__(self) -> Beam:
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing: every call of `run` opens and closes its own pipeline."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`.

        Raises:
          InputError, TemporaryError: as a task raised it.
          TemporaryError: if the job failed outside of the tasks, for example because a worker was
            killed.
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        if not tasks:
            return
        # new ones: a portable runner removes its name from them, and the next job would run here
        options = PipelineOptions(self._flags)
        try:
            with beam.Pipeline(options=options) as pipeline:
                created = pipeline | "tasks" >> beam.Create(list(tasks))
                # without a reshuffle one worker would run all the tasks that it creates
                _ = created | "spread" >> beam.Reshuffle() | name >> beam.Map(work)
        except Exception as error:  # each runner has its own kind
            text = str(error)
            if raised := _BAD_INPUT.search(text):
                kind = TemporaryError if raised[1] == "TemporaryError" else InputError
                raise kind(raised[2]) from error
            if "ModuleNotFoundError: " in text:  # a worker without the package
                raise InputError(f"{name}: Beam's job failed: {_reason(text)}") from error
            if _OF_TASK in text:  # a bug
                raise
            raise TemporaryError(
                f"{name}: Beam's job failed: {_reason(text)}; rerun the command to resume"
            ) from error


def _require_job_service(endpoint: str) -> None:
    """Raise TemporaryError unless a server answers; Beam would wait as long as for a job."""
    import grpc

    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWERS_WITHIN)
        except grpc.FutureTimeoutError as error:
            raise TemporaryError(
                f"--beam=--job_endpoint={endpoint}: no job service answers there"
            ) from error


def _reason(text: str) -> str:
    """Return what a failed job says: the details of a broken call, or else the last line."""
    details = re.findall(r'details = "(.*)"', text)
    last = (text.splitlines() or ["no reason given"])[-1]
    return details[-1] if details else last.removeprefix("RuntimeError: ")
