"""The servers that peers need, on a free port of the loopback interface; ended with their `with` block."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.queue.environments import python_of

START_S = 20.0


@contextmanager
def redis(folder: Path, *, appendfsync: str) -> Iterator[str]:
    """Run Redis with an append-only file and yield its address.

    Args:
        appendfsync: "always" syncs before it answers; "everysec", its usual setting, may lose the last second.
    """
    folder.mkdir()
    port = free_port()
    settings = ["--save", "", "--appendonly", "yes", "--appendfsync", appendfsync, "--loglevel", "warning"]
    address = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    with _running([redis_server(), *address, *settings], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def nats(folder: Path) -> Iterator[str]:
    """Run NATS with JetStream on files and yield its address; it syncs each two minutes, its default."""
    folder.mkdir()
    port = free_port()
    server = python_of("peers").parent / "nats-server"
    with _running([str(server), "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)], port):
        yield f"nats://127.0.0.1:{port}"


def redis_server() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise SystemExit("redis-server is not installed; Debian: apt-get install redis-server")
    return found


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{command[0]} did not start on port {port}") from None
                time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)
