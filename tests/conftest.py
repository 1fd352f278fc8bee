"""What all tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest

# No deadline: how long an example takes says nothing on a machine that also does something else. The examples are the
# same in each run, as chance must not refuse somebody's work; MILLSTREAM_FULL=1 draws new ones.
hypothesis.settings.register_profile(
    "millstream",
    deadline=None,
    derandomize=os.environ.get("MILLSTREAM_FULL") != "1",
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("millstream")


class DemoProcess:
    """`millstream demo` as a user starts it: its own process, a free port, a folder of its own."""

    def __init__(self, data: Path, *arguments: str, program: Sequence[str] = ("-m", "millstream")) -> None:
        command = [sys.executable, *program, "demo", "--data", str(data), "--no-browser", *arguments]
        if "--port" not in arguments:
            command += ["--port", "0"]
        self.log = data / "millstream.db"
        # A file, not a pipe: a full pipe that nobody reads would stop the demo.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by finish
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def address(self) -> str:
        """Return the address it prints, which it does at once; ends with a slash unless a token follows."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Millstream demo: http://"), line or self.finish()[2]
        return line.partition(": ")[2].strip()

    def interrupt(self) -> tuple[int, str, str]:
        """Press Ctrl-C; return exit code, the rest of its output, and what it said on stderr."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; once."""
        assert self.process.stdout is not None
        code = self.process.wait(60)
        with self.process.stdout, self._errors:
            self._errors.seek(0)
            return code, self.process.stdout.read(), self._errors.read()


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., DemoProcess]]:
    """Start demos on the test's data folder; whatever still runs at the end is killed."""
    started: list[DemoProcess] = []

    def start(*arguments: str, **more: Sequence[str]) -> DemoProcess:
        started.append(DemoProcess(tmp_path / "data", *arguments, **more))
        return started[-1]

    yield start
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
        if not demo.process.stdout.closed:
            demo.finish()
