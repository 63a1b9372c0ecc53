"""Beam's local job service for worker pools on other hosts.

  python -m attr_extractor.records.job_service --port=8099

It differs from `apache_beam.runners.portability.local_job_service_main` in three ways:
- A job runs on `--direct_num_workers` workers; there it runs on one.
- `--environment_config` may name several pools, separated by commas, which take turns.
- A job fails if a worker is lost; there it waits forever: the broken connection ends the thread
  that reads the worker's answers, and nothing fails the requests that were not answered.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from typing import Any

import grpc
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_job_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers

LOST = "a Beam worker was lost, perhaps killed or out of memory"
_STARTS_WITHIN = 300.0  # seconds from the first request to a worker until it must have connected


class _Connection(worker_handlers.ControlConnection):
    """Requests to a worker; they fail if its connection breaks, or is not made in time."""

    def __init__(self) -> None:
        super().__init__()
        self._is_lost = False

    def push(self, req: Any) -> Any:
        future = super().push(req)
        if future is None:  # the end of the connection
            return None
        if self._is_lost:
            self._lose()
        elif self._input is None:
            timer = threading.Timer(_STARTS_WITHIN, self._require_input)
            timer.daemon = True
            timer.start()
        return future

    def _read(self) -> None:
        try:
            super()._read()
        except grpc.RpcError as error:
            logging.getLogger(__name__).warning("%s: %r", LOST, error)
        finally:
            self._lose()

    def _require_input(self) -> None:
        if self._input is None:
            self._lose()

    def _lose(self) -> None:
        """Answer the open requests, and those that follow, with an error."""
        self._is_lost = True
        for number in list(self._futures_by_id):
            future = self._futures_by_id.pop(number, None)
            if future is not None:
                response = beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=LOST)
                future.set(response)


@worker_handlers.WorkerHandler.register_environment(
    common_urns.environments.EXTERNAL.urn, beam_runner_api_pb2.ExternalPayload
)
class _PooledWorker(worker_handlers.ExternalWorkerHandler):
    """A worker of one of several pools."""

    def start_worker(self) -> None:
        pools = self._external_payload.endpoint.url.split(",")
        number = int(self.worker_id.rpartition("_")[2])  # counted by Beam
        payload = beam_runner_api_pb2.ExternalPayload()
        payload.CopyFrom(self._external_payload)
        payload.endpoint.url = pools[number % len(pools)]
        self._external_payload = payload
        super().start_worker()


class _Job(local_job_service.BeamJob):
    """A job on several workers."""

    def _invoke_runner(self) -> Any:
        self.set_state(beam_job_api_pb2.JobState.RUNNING)
        options = self.pipeline_options()
        runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
        runner._num_workers = int(options.view_as(DirectOptions).direct_num_workers) or 1
        return runner.run_via_runner_api(self._pipeline_proto, options)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0, help="port of this host; 0: any free one")
    port = parser.parse_args().port
    logging.basicConfig(level=logging.INFO)
    worker_handlers.ControlConnection = _Connection  # type: ignore[misc]
    service = local_job_service.LocalJobServicer(beam_job_type=_Job)
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.set())
    print(f"job service: localhost:{service.start_grpc_server(port)}", flush=True)
    ends.wait()
    service.stop()


if __name__ == "__main__":
    main()
