"""Who does the work: this process, local processes, or a cluster of dask.distributed."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from fxsim.errors import ConfigError, missing_extra
from fxsim.sweeps.jobs import CostJob, Failure, Training, line, measure, train
from fxsim.training.settings import Watcher

Outcome = dict[str, float] | Failure
Watch = Callable[[str], Watcher | None]
_ALLOWED_LOSSES = 8  # workers that a job may lose before it is given up


class Pool(Protocol):
    """Trains and measures points."""

    def work(
        self, points: Sequence[tuple[str, Sequence[Training], CostJob]]
    ) -> Iterator[tuple[int, Outcome]]:
        """(number, outcome) of (label, trainings, cost_job), as they come."""


def _key(job: Training) -> str:
    """The job's name on a scheduler that others may use for sweeps elsewhere."""
    return hashlib.sha256(f"{job.sha256} {job.place}".encode()).hexdigest()


class Here:
    """One after the other, in this process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._trained: dict[str, float | Failure] = {}

    def work(
        self, points: Sequence[tuple[str, Sequence[Training], CostJob]]
    ) -> Iterator[tuple[int, Outcome]]:
        """See `Pool`."""
        for number, (label, trainings, cost_job) in enumerate(points):
            for job in trainings:
                if job.sha256 not in self._trained:
                    new = not (job.place / "run.json").is_file()
                    watcher = self._watch(f"{label}, seed {job.seed}") if new else None
                    self._trained[job.sha256] = train(job, watcher)
            yield number, measure(cost_job, [self._trained[job.sha256] for job in trainings])


class Cluster:
    """On a dask.distributed scheduler, which gives a lost worker's jobs to the others."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._trained: dict[str, Any] = {}

    def work(
        self, points: Sequence[tuple[str, Sequence[Training], CostJob]]
    ) -> Iterator[tuple[int, Outcome]]:
        """See `Pool`."""
        from distributed import as_completed

        numbers = {}
        for number, (_, trainings, cost_job) in enumerate(points):
            for job in trainings:
                if job.sha256 not in self._trained:
                    self._trained[job.sha256] = self._client.submit(
                        train, job, pure=False, key=f"train-{_key(job)}"
                    )
            runs = [self._trained[job.sha256] for job in trainings]
            numbers[self._client.submit(measure, cost_job, runs, pure=False)] = number
        for future in as_completed(list(numbers)):
            try:
                yield numbers[future], future.result()
            except Exception as problem:  # a worker died too often, or cannot load our code
                yield numbers[future], Failure(line(problem))
            future.release()


def _reach(scheduler: str) -> None:
    """Fail at once where nobody listens; dask would try for long."""
    protocol, _, place = scheduler.rpartition("://")
    host, _, port = place.rpartition(":")
    if protocol in ("", "tcp", "tls"):
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that begin here do not hear Ctrl-C, which a terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def pool(jobs: int, scheduler: str | None, watch: Watch) -> Iterator[Pool]:
    """Who works.

    jobs : local processes; 1 is this one; scheduler : a cluster's address instead
    """
    if scheduler is None and jobs == 1:
        yield Here(watch)
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        what = "--scheduler" if scheduler else f"--jobs {jobs}"
        raise missing_extra(what, "sweeps", "--jobs 1") from None
    dask.config.set({"distributed.scheduler.allowed-failures": _ALLOWED_LOSSES})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ports and disks; what matters fails
        if scheduler is not None:
            try:
                _reach(scheduler)
                client = Client(scheduler, timeout="20s")
            except (OSError, ValueError, TimeoutError) as problem:
                raise ConfigError(
                    f"--scheduler must be the address of a running dask scheduler, as"
                    f" tcp://host:8786, not {scheduler!r}: {line(problem)}"
                ) from None
            try:
                yield Cluster(client)
            finally:
                client.close()
            return
        os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "65536")
        with _uninterrupted():
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=50,
            )
        with cluster, Client(cluster) as client:
            yield Cluster(client)
