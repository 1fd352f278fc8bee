"""One run of `log`, the program that reads the unified log of macOS."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

READ_BYTES: Final = 256 * 1024
LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one entry; a message has at most 32 KiB, so a longer line is none."""
COMPLAINT_BYTES_MAX: Final = 4096
_STOP_CHECK_S: Final = 0.5
_END_S: Final = 2.0


class LogRun:
    """A child process whose output is read line by line, and which ends with us."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start it.

        Raises:
            OSError: It cannot be started.
        """
        # A session of its own: Ctrl-C is for us, and we end the child after what it wrote is stored.
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},  # its complaints are looked at
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._streams = (self._process.stdout, self._process.stderr)
        self._selector = selectors.DefaultSelector()
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._complaint = b""
        self._partial = b""
        self._lines: list[bytes] = []

    @property
    def complaint(self) -> str:
        """What it wrote to stderr, the beginning of it."""
        return self._complaint.decode(errors="replace").strip()

    @property
    def failure(self) -> str | None:
        """Why it ended; None when it ended as it should, or goes on."""
        if self._process.poll() in (None, 0):
            return None
        return self.complaint.splitlines()[0] if self.complaint else f"exit code {self._process.returncode}"

    def begin(self, stop: threading.Event, patience_s: float) -> None:
        """Wait until it wrote something, which says that it reads; at most for so long. Nothing of it is lost."""
        until = time.monotonic() + patience_s
        while not self._lines and not stop.is_set() and self._selector.get_map() and time.monotonic() < until:
            self._gather()

    def lines(self, stop: threading.Event) -> Iterator[list[bytes]]:
        """Yield lines as they come, without their ends; ends with the child or with `stop`."""
        while not stop.is_set():
            if self._lines:
                found, self._lines = self._lines, []
                yield found
            elif not self._selector.get_map():
                break
            else:
                self._gather()
        # A line without an end was cut off with its writer.

    def close(self) -> None:
        """End the child and take its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        for stream in self._streams:
            stream.close()

    def wait(self) -> None:
        """Take the exit code of a child whose output has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def _gather(self) -> None:
        """Take what there is of the child's output, waiting for a moment."""
        output, complaints = (stream.fileno() for stream in self._streams)
        for key, _ in self._selector.select(_STOP_CHECK_S):
            try:
                data = os.read(key.fd, READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fd)
            elif key.fd == complaints:
                self._complaint = (self._complaint + data)[:COMPLAINT_BYTES_MAX]
            elif key.fd == output:
                *complete, self._partial = (self._partial + data).split(b"\n")
                self._lines += complete
                self._partial = self._partial[:LINE_BYTES_MAX]
