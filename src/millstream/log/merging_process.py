"""Merging and compacting in a process of its own, for one without Polars, which would keep 50 MB of it for good."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from millstream.engines.protocol import Engine
from millstream.log.cold.compaction import ColdRange
from millstream.log.cold.upkeep import make_cold
from millstream.log.merging import MergeRange, merge_range

RANGES_MAX: Final = 100
"""Given to one process: they are on its command line. The rest is due in the next round."""


class MergingProcess:
    """One short-lived process that merges some ranges of an engine's log, or makes them cold.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, url: str, ranges: Sequence[MergeRange | ColdRange]) -> None:
        work = msgspec.json.encode(list(ranges[:RANGES_MAX])).decode()
        # -P: a queue.py in the folder of the program must not be taken for the standard library's. A session of its
        # own: Ctrl-C is for the program, which ends this one when it is done.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, url, work],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str | None:
        """Return why it ended, None where it did its work or was ended by a signal; waits for the end."""
        _, errors = self._process.communicate()
        if self._process.returncode <= 0:
            return None
        lines = errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def stop(self) -> None:
        """End it; the transaction that it is at is undone, those before stay."""
        self._process.terminate()
        self._process.communicate()


def can_start() -> bool:
    """Tell whether this program's interpreter can be started anew: not that of a program frozen into one file."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def main(url: str, work: str) -> None:
    """Do the work, in the process that was started for it."""
    from millstream.engines.connect import connect

    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine: Engine = connect(url)
    try:
        for range_ in msgspec.json.decode(work, type=list[MergeRange | ColdRange]):
            if isinstance(range_, MergeRange):
                merge_range(engine, range_, stop.is_set)
            else:
                make_cold(engine, range_, stop.is_set)
    finally:
        engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
