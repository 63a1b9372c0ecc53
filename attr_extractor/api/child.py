"""Call a function in a child process.

Training changes settings of its process that TensorFlow cannot restore (deterministic operations,
the distribution over workers), and a build starts worker processes, which multiprocessing does only
in a script whose own code is guarded by `if __name__ == "__main__"`. In a child process neither
concerns the caller.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from attr_extractor.errors import InputError

R = TypeVar("R")


def call(function: Callable[..., R], *arguments: Any) -> R:
    """Return `function(*arguments)`, computed in a child process whose output appears here.

    The child process ends if this process does, or if this call is interrupted.

    Args:
      function: a function of a module of this package; it, `arguments` and the result are pickled.

    Raises:
      InputError: raised by the function.
      RuntimeError: if the function fails otherwise; the child process prints the traceback.
    """
    (read_request, write_request), (read_answer, write_answer) = os.pipe(), os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(read_request), str(write_answer)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=(read_request, write_answer),
    )
    os.close(read_request)
    os.close(write_answer)
    with Connection(write_request, readable=False) as request, Connection(read_answer) as answer:
        try:
            request.send_bytes(pickle.dumps((function, arguments)))
            outcome = pickle.loads(answer.recv_bytes())
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"{function.__name__} failed: exit code {child.wait()}") from None
        except BaseException:
            child.terminate()
            raise
        finally:
            child.wait()
    if isinstance(outcome, InputError):
        raise outcome
    return outcome


def _answer(request: Connection, answer: Connection) -> None:
    """Answer one request of `call`, in the child process."""
    function, arguments = pickle.loads(request.recv_bytes())
    threading.Thread(target=_exit_with_the_caller, args=[request], daemon=True).start()
    try:
        outcome = function(*arguments)
    except InputError as error:
        outcome = error
    answer.send_bytes(pickle.dumps(outcome))


def _exit_with_the_caller(request: Connection) -> None:
    with contextlib.suppress(EOFError):
        request.recv_bytes()  # nothing more is sent: it returns when the caller's end closes
    os._exit(1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted caller terminates this process
    _answer(*(Connection(int(number)) for number in sys.argv[1:]))
