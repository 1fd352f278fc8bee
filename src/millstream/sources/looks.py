"""When files should be looked at: at once when the system says that they changed, and once a second whatever it says.

The look at every second is the safety net for file systems and moments of which nothing is announced, and what ends a
rotation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from watchfiles import Change, watch

from millstream.sources.source import Note

DEBOUNCE_MS: Final = 50
"""A program that writes a lot is read a few times a second, not once a write."""
STEP_MS: Final = 20
LOOK_MS: Final = 1000


def looks(paths: Sequence[Path], stop: threading.Event, note: Note) -> Iterator[None]:
    """Yield whenever some files, which may be missing, should be looked at; ends with `stop`."""
    directories = sorted({path.parent for path in paths if os.path.isdir(path.parent)})
    if directories:
        wanted = {str(path) for path in paths}

        def is_wanted(change: Change, path: str) -> bool:
            return path in wanted

        try:
            for _ in watch(
                *directories,
                watch_filter=is_wanted,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            ):
                yield
        except (OSError, RuntimeError) as error:  # no inotify instances left, a directory that went away
            note(f"changes of {', '.join(map(str, paths))} are not announced here ({error}); looked at once a second")
    while not stop.wait(LOOK_MS / 1000):
        yield
