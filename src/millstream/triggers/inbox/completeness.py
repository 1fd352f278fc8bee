"""When is a file completely written?

| rule | complete when |
|---|---|
| `settle="1s"` | size and time of change stayed the same for a second, and nobody has it open for writing |
| `settle="closed"` | nobody has it open for writing any more: at once when it is closed, or renamed into place |
| `marker=".done"` | a file of its name with `.done` behind it is there |

Whether somebody has a file open for writing is told by Linux: a read lease on a file is given only where nobody has. On
other systems, and for files of other users, it cannot be told, and the time decides alone.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.triggers.inbox.file import Signature

SETTLE_US: Final = 1_000_000
"""Where nobody can tell whether a file is still being written: programs that copy do not pause for a second."""

CLOSED: Final = "closed"

if sys.platform == "linux":
    import fcntl

    F_SETSIG: Final = getattr(fcntl, "F_SETSIG", 10)


class Completeness(msgspec.Struct, frozen=True):
    """The rule of one trigger."""

    settle_us: int = SETTLE_US
    closed: bool = False
    """Do not wait where it can be told that it is closed."""
    marker: str | None = None

    @classmethod
    def of(cls, settle: object, marker: str | None) -> Completeness:
        """Return what was declared.

        Raises:
            UsageError: It is no time, or the marker is no ending of a name.
        """
        if marker is not None and (not marker or any(separator in marker for separator in "/\\")):
            raise UsageError(f'marker is {marker!r}; give what the name of the marker ends in, such as ".done"')
        if settle == CLOSED:
            return cls(closed=True, marker=marker)
        return cls(duration_us(settle), marker=marker)  # type: ignore[arg-type]

    def is_complete(self, path: str, signature: Signature, unchanged_us: int) -> bool:
        """Say whether a file is, that has not changed for so long."""
        if self.marker is not None:
            return os.path.exists(path + self.marker)
        # An empty file that was made and closed is most often about to be opened again, and written.
        at_once = self.closed and signature.size > 0
        if not at_once and unchanged_us < self.settle_us:
            return False
        is_open = open_for_writing(path)
        if is_open is None:
            return unchanged_us >= self.settle_us
        return not is_open


def open_for_writing(path: str) -> bool | None:
    """Say whether any process has a file open for writing; None where that cannot be told.

    Source: fcntl(2), "Leases".
    """
    if sys.platform != "linux":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A writer that comes while the lease is held is announced by a signal: this one is ignored unless asked for.
        fcntl.fcntl(descriptor, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(descriptor)
