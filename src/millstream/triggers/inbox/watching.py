"""What changed in a folder, told by the system."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Final

_log = logging.getLogger("millstream.triggers")

DEBOUNCE_MS: Final = 50
STEP_MS: Final = 10
"""How long without a change ends a group of changes; each step costs a wake-up, at 10 ms half a percent of a core."""

NAP_MS: Final = 1000


class Watching:
    """A thread that puts what changed into a queue. Where the system tells nothing, it ends, and looks do the work."""

    def __init__(self, folder: Path, *, recursive: bool) -> None:
        self._folder = folder
        self._recursive = recursive
        self._stop = threading.Event()
        self._changes: queue.SimpleQueue[frozenset[str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="files-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(NAP_MS / 1000 * 3)

    def next(self, wait_s: float) -> set[str]:
        """Return the paths that changed, after this time at the latest."""
        found: set[str] = set()
        try:
            found |= self._changes.get(timeout=max(0.0, wait_s))
            while True:
                found |= self._changes.get_nowait()
        except queue.Empty:
            return found

    def _watch(self) -> None:
        from watchfiles import watch

        try:
            for changes in watch(
                self._folder,
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                rust_timeout=NAP_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
                recursive=self._recursive,
                ignore_permission_denied=True,
            ):
                if changes:
                    self._changes.put(frozenset(path for _, path in changes))
        except (OSError, RuntimeError) as error:  # no inotify instances left, a folder that went away
            if not self._stop.is_set():
                _log.warning("%s: changes are not announced (%s); it is looked at instead", self._folder, error)
