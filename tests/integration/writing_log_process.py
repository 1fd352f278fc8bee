"""Writes numbered lines to a log file until its input ends or all are written; for tests that rotate it.

Opens the file anew when told to by SIGHUP, as a daemon does. Stops between lines while the file `PATH.pause` exists,
and says so with `PATH.paused`.

Usage: python writing_log_process.py PATH LINES LINES_A_SECOND
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path


def main() -> None:
    path, lines, rate = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    pause, paused = Path(f"{path}.pause"), Path(f"{path}.paused")
    again = False

    def reopen(*_: object) -> None:
        nonlocal again
        again = True

    signal.signal(signal.SIGHUP, reopen)
    file = path.open("ab", buffering=0)
    print("started", flush=True)
    started = time.monotonic()
    number = 0
    while number < lines:
        if again:
            again = False
            file.close()
            file = path.open("ab", buffering=0)
        if pause.exists():
            paused.touch()
            time.sleep(0.001)
            continue
        count = min(20, lines - number)
        for _ in range(count):
            file.write(b"line %d of a log that is rotated\n" % number)
            number += 1
        ahead = number / rate - (time.monotonic() - started)
        if ahead > 0:
            time.sleep(ahead)
    file.close()
    print("done", flush=True)


if __name__ == "__main__":
    main()
