"""A peer as the benchmarks use it: enqueue into it, run its workers, look at the tally."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec

from benchmarks.harness import ROOT
from benchmarks.queue import servers
from benchmarks.queue.environments import python_of
from benchmarks.queue.tally import Tally

STOP_S = 10.0


class Peer(msgspec.Struct, frozen=True):
    """One system with one place where it keeps its jobs."""

    name: str
    module: str
    environment: str
    server: str
    """redis, nats, or "" for a file of its own."""
    jobs: int = 4000
    """How many it is given where its throughput is measured: about one second's worth."""
    durabilities: tuple[str, ...] = ("relaxed",)
    has_workers: bool = True
    note: str = ""


OURS = Peer("Millstream", "millstream_jobs", "", "", 600_000, ("relaxed", "fsync"))

_BEFORE = "takes a job out of its queue before it runs: a crash loses it"

PEERS = (
    Peer("Celery, Redis", "celery_jobs", "peers", "redis", 1500, ("relaxed", "fsync")),
    Peer("RQ, Redis", "rq_jobs", "peers", "redis", 500, ("relaxed", "fsync"), note=_BEFORE),
    Peer("Dramatiq, Redis", "dramatiq_jobs", "peers", "redis", 6000, ("relaxed", "fsync")),
    Peer("Huey, Redis", "huey_jobs", "peers", "redis", 6000, ("relaxed", "fsync"), note=_BEFORE),
    Peer("Huey, SQLite", "huey_jobs", "peers", "", 12_000, ("relaxed", "fsync"), note=_BEFORE),
    Peer("arq, Redis", "arq_jobs", "peers_redis5", "redis", 2000, ("relaxed", "fsync")),
    Peer("SAQ, Redis", "saq_jobs", "peers_redis5", "redis", 3000, ("relaxed", "fsync")),
    Peer("taskiq, Redis", "taskiq_jobs", "peers", "redis", 6000, ("relaxed", "fsync")),
    Peer("taskiq, NATS", "taskiq_jobs", "peers", "nats", 8000, ("relaxed",)),
    Peer("persist-queue", "persist_queue_jobs", "peers", "", 4000, ("fsync",), has_workers=False),
    Peer("litequeue", "litequeue_jobs", "peers", "", 6000, ("relaxed",), has_workers=False),
)

DURABILITY = (
    "fsync: on disk when the call returns (Redis: appendfsync always; SQLite: synchronous full); relaxed: survives a "
    "killed process, not power loss (Redis: appendfsync everysec; SQLite: synchronous normal or off; NATS: its "
    "default, a sync each two minutes)"
)


class Installation:
    """A peer with its server, or its own new file, in a folder of its own."""

    def __init__(self, peer: Peer, durability: str, url: str, folder: Path) -> None:
        self.peer = peer
        self.durability = durability
        self.folder = folder
        self._url = url

    def use(self, action: str, *numbers: int) -> Any:
        """Run an action of `benchmarks.queue.peers` and return what it printed."""
        command = [*self._python(), "-m", "benchmarks.queue.peers", self.peer.module, action, *map(str, numbers)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment(self.folder),
            capture_output=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"{self.peer.name}: {action} failed:\n{done.stderr.decode()[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def workers(self, processes: int) -> Iterator[tuple[Tally, list[subprocess.Popen[bytes]]]]:
        """Run its workers, each in a process group of its own; ends them with the block.

        Peers are killed, as what they have is thrown away; our own stop as they do in earnest.
        """
        tally = Tally(Path(mkdtemp(prefix="tally-", dir=self.folder)))
        log = (self.folder / "workers.log").open("ab")
        with log:
            running = [
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=self._environment(tally.folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for command in self.use("commands", processes)
            ]
            try:
                yield tally, running
            finally:
                for worker in running:
                    _end(worker, softly=self.peer is OURS)

    def drain(self, jobs: int, processes: int, *, seconds_max: float) -> Tally:
        """Let workers do what is there; ends when all is done, or so many seconds after the first job."""
        with self.workers(processes) as (tally, running):
            wait_for(tally, 1, seconds_max=20, running=running, log=self.folder / "workers.log")
            with contextlib.suppress(TimeoutError):
                wait_for(tally, jobs, seconds_max=seconds_max, running=running, log=self.folder / "workers.log")
        return tally

    def _python(self) -> list[str]:
        return [str(python_of(self.peer.environment))]

    def _environment(self, tally: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "PEER_URL": self._url,
            "PEER_DURABILITY": self.durability,
            "TALLY": str(tally),
        }


_numbers = itertools.count()


@contextmanager
def installed(peer: Peer, durability: str, directory: Path) -> Iterator[Installation]:
    """Set a peer up with an empty queue; everything is gone after the block."""
    folder = directory / f"{peer.module}-{next(_numbers)}"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        url = str(folder / "queue.db")
        if peer.server == "redis":
            always = {"fsync": "always", "relaxed": "everysec"}[durability]
            url = stack.enter_context(servers.redis(folder / "redis", appendfsync=always))
        elif peer.server == "nats":
            url = stack.enter_context(servers.nats(folder / "nats"))
        yield Installation(peer, durability, url, folder)


def wait_for(tally: Tally, jobs: int, *, seconds_max: float, running: list[subprocess.Popen[bytes]], log: Path) -> None:
    """Wait until so many jobs were started.

    Raises:
        TimeoutError: They were not.
        RuntimeError: A worker has ended.
    """
    until = time.monotonic() + seconds_max
    while tally.count() < jobs:
        for worker in running:
            if worker.poll() is not None:
                raise RuntimeError(f"a worker ended with {worker.returncode}:\n{log.read_text()[-2000:]}")
        if time.monotonic() > until:
            raise TimeoutError(f"{tally.count()} of {jobs} jobs in {seconds_max} s:\n{log.read_text()[-2000:]}")
        time.sleep(0.02)


def _end(worker: subprocess.Popen[bytes], *, softly: bool) -> None:
    """End a worker and what it started."""
    if softly:
        worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
