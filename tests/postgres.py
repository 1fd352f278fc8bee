"""A real PostgreSQL server for tests, in a folder of its own, on a port of this machine only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.kafka_broker import free_port

PATIENCE_S = 60.0


def programs() -> Path | None:
    """Return the folder of initdb and postgres; None where they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


class PostgresServer:
    """Started by `start`; `crash` ends it as a power cut does, and it can be started again."""

    def __init__(self) -> None:
        self._programs = programs()
        if self._programs is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
        # The server refuses to run as root, and wants a folder that is its own.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="millstream-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        try:
            if self._as:
                shutil.chown(self._folder, "postgres")
            command = [str(self._programs / "initdb"), "--pgdata", str(self._folder / "data"), "--username", "tester"]
            command += ["--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"]
            done = subprocess.run(
                [*self._as, *command], cwd="/", capture_output=True, text=True, check=False, timeout=120
            )
            if done.returncode:
                pytest.skip(f"PostgreSQL cannot be set up here: {done.stderr.strip()[-300:]}")
        except (LookupError, OSError) as error:
            pytest.skip(f"PostgreSQL cannot be set up here: {error}")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://tester:not-a-secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import psycopg

        assert self._programs is not None
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port)]
        command += [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._folder}",
            "-c",
            "fsync=off",
        ]
        until = time.monotonic() + PATIENCE_S
        while True:
            if self._process is None or self._process.poll() is not None:
                # After a crash the first tries may find that what was killed has not let go of its memory yet.
                with (self._folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(
                        [*self._as, *command], cwd="/", stdout=log, stderr=log, start_new_session=True
                    )
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < until, (self._folder / "log").read_text()[-1000:]
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """End it and all of its processes at once."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        # What was killed may not have let go of its memory and port yet; the lock file is of a process that is gone.
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        until = time.monotonic() + PATIENCE_S
        while _is_there(pid) and time.monotonic() < until:
            time.sleep(0.02)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
