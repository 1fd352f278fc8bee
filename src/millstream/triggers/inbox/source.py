"""Writes an event for each file that is complete, each version of it once.

What was written is remembered in the transaction that writes the event: the signature of each file that is there. It is
read when the app starts, so a restart repeats nothing, and another process that watches the same folder gets a conflict
instead of a second event.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final

import msgspec

from millstream.errors import CommitConflictError
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import time_from_us
from millstream.triggers.inbox.completeness import Completeness
from millstream.triggers.inbox.file import File, Signature, signature_of
from millstream.triggers.inbox.pattern import Pattern
from millstream.triggers.inbox.watching import Watching
from millstream.triggers.memory import Memory

_log = logging.getLogger("millstream.triggers")

SCAN_S: Final = 5.0
"""The folder is read this often even if nothing is announced: network file systems announce nothing."""

SCAN_SHARE: Final = 50
"""Reading a large folder takes at most one part in so many of the time."""

LOOK_S: Final = 0.01
"""Files that are yet to be complete are looked at this often: whoever closes a file is not announced."""

LOOK_S_EACH: Final = 0.0001
"""And so much less often for each of them."""

LOOK_SHARE: Final = 20
"""A file that has not changed for a while is looked at after one part in so many of that while."""

LOOK_S_MAX: Final = 0.2

STOP_S: Final = 0.2
"""A stop is noticed within this time."""

EVENTS_MAX: Final = 500
"""Of one transaction."""

GONE_US: Final = 86_400_000_000
"""A file that went away is remembered for a day: a folder that is not mounted for a while has no new files after it."""

OPEN_WARN_US: Final = 600_000_000


class _Pending(msgspec.Struct):
    """A file that is not complete yet."""

    signature: Signature
    since_us: int
    """Not changed since, by the clock that nobody sets."""
    warned: bool = False


class FileSource:
    """The source of one trigger.

    Args:
        scan_s: Between two looks at the whole folder.
        watched: Changes are announced.
        forgets: A file that went away is new when it comes back: files are moved away when they are done.
        skips: Endings of names that are never files of the trigger: marks.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        events: Topic[File],
        pattern: Pattern,
        rule: Completeness,
        *,
        scan_s: float,
        watched: bool,
        forgets: bool,
        skips: tuple[str, ...],
    ) -> None:
        self._clock = log.clock
        self._log = log
        self._name = name
        self._events = events
        self._pattern = pattern
        self._rule = rule
        self._scan_s = scan_s
        self._watched = watched
        self._forgets = forgets
        self._skips = skips
        self._memory: Memory | None = None
        self._known: dict[str, Signature] = {}
        self._away: set[str] = set()
        """Known ones that were not there at the last look."""
        self._pending: dict[str, _Pending] = {}
        self._odd: set[bytes] = set()

    def run(self, stop: threading.Event) -> None:
        self._open()
        watching = Watching(self._pattern.folder, recursive=self._pattern.recursive)
        if self._watched:
            watching.start()
        try:
            self._run(watching, stop)
        finally:
            if self._watched:
                watching.stop()

    def run_now(self, stop: threading.Event) -> int:
        """Write what is complete, waiting for files that only have to settle."""
        self._open()
        self._scan()
        count = self._complete()
        until = time.monotonic() + 2 * self._rule.settle_us / 1e6
        while self._pending and self._rule.marker is None and time.monotonic() < until and not stop.is_set():
            stop.wait(self._look_s())
            count += self._complete()
        return count

    def _run(self, watching: Watching, stop: threading.Event) -> None:
        scan_s, scanned = 0.0, 0.0
        while not stop.is_set():
            begun = time.monotonic()
            if begun - scanned >= scan_s:
                self._scan()
                scanned = time.monotonic()
                scan_s = max(self._scan_s, (scanned - begun) * SCAN_SHARE)
            self._complete()
            wait_s = min(STOP_S, self._look_s() if self._pending else STOP_S)
            for path in watching.next(wait_s):
                self._consider(path)

    # --- looking ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._pattern.folder.mkdir(parents=True, exist_ok=True)
        if self._memory is None:
            self._memory = Memory(self._log, self._name, self._events)
        self._known = {path.decode(): _decode(data) for path, data in self._memory.read().items()}
        self._away.clear()
        self._pending.clear()

    def _scan(self) -> None:
        """Look at all files that are there, and for those that are not any more."""
        found = set(self._pattern.paths())
        for path in found:
            self._consider(path)
        for path in self._known.keys() - found:
            self._consider(path)
        for path in self._pending.keys() - found:
            self._consider(path)

    def _consider(self, path: str) -> None:
        """Look at one file: is it new, changed, or gone?"""
        marker = self._rule.marker
        if marker is not None and path.endswith(marker):
            path = path.removesuffix(marker)
        if not self._pattern.matches(path) or path.endswith(self._skips) or not self._has_name(path):
            return
        signature = signature_of(path)
        if signature is None:
            self._pending.pop(path, None)
            self._gone(path)
        elif self._known.get(path) == signature:
            self._pending.pop(path, None)
            self._back(path)
        else:
            waiting = self._pending.get(path)
            if waiting is None or waiting.signature != signature:
                self._pending[path] = _Pending(signature, self._clock.monotonic_us())

    def _has_name(self, path: str) -> bool:
        """False for names that are no text: an event could not say which file it is about."""
        try:
            path.encode()
        except UnicodeEncodeError:
            raw = path.encode("utf-8", "surrogateescape")
            if raw not in self._odd:
                self._odd.add(raw)
                _log.warning("%s: the file %r is left alone: its name is no UTF-8; rename it", self._name, raw)
            return False
        return True

    def _look_s(self) -> float:
        """Return when to look at the files that are not complete: soon at those that changed just now."""
        latest_us = max((waiting.since_us for waiting in self._pending.values()), default=0)
        unchanged_s = (self._clock.monotonic_us() - latest_us) / 1e6
        return max(LOOK_S + LOOK_S_EACH * len(self._pending), min(unchanged_s / LOOK_SHARE, LOOK_S_MAX))

    def _complete(self) -> int:
        """Write the events of files that are complete now; return how many."""
        ready: list[tuple[str, Signature]] = []
        for path, waiting in tuple(self._pending.items()):
            self._consider(path)
            now = self._pending.get(path)
            if now is None:
                continue
            unchanged_us = self._clock.monotonic_us() - now.since_us
            if self._rule.is_complete(path, now.signature, unchanged_us) and signature_of(path) == now.signature:
                ready.append((path, now.signature))
            elif unchanged_us > OPEN_WARN_US and not waiting.warned and self._rule.marker is None:
                now.warned = True
                _log.warning(
                    "%s: %s has not changed for 10 minutes, but a program has it open for writing", self._name, path
                )
        return sum(self._write(ready[at : at + EVENTS_MAX]) for at in range(0, len(ready), EVENTS_MAX))

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, files: list[tuple[str, Signature]]) -> int:
        try:
            self._keep([_event(path, signature) for path, signature in files], files)
        except CommitConflictError:
            if len(files) == 1:
                self._reread(files[0][0])
                return 0
            return sum(self._write([one]) for one in files)
        return len(files)

    def _keep(
        self, events: list[File], files: Iterable[tuple[str, Signature]], *, forget: bool = False, days: bool = False
    ) -> None:
        """Write events and what is remembered of their files."""
        files = list(files)
        assert self._memory is not None
        found = {path.encode(): self._encoded(path) for path, _ in files}
        kept = {path.encode(): None if forget else _encode(signature) for path, signature in files}
        expires_us = self._clock.now_us() + GONE_US if days else None
        self._memory.write(events, found=found, kept=kept, expires_us=expires_us)
        for path, signature in files:
            self._pending.pop(path, None)
            if forget:
                self._known.pop(path, None)
            else:
                self._known[path] = signature

    def _encoded(self, path: str) -> bytes | None:
        known = self._known.get(path)
        return None if known is None else _encode(known)

    def _reread(self, path: str) -> None:
        """Another process was faster: take what it wrote."""
        assert self._memory is not None
        data = self._memory.read(path.encode()).get(path.encode())
        if data is None:
            self._known.pop(path, None)
        else:
            self._known[path] = _decode(data)
        self._consider(path)

    def _gone(self, path: str) -> None:
        known = self._known.get(path)
        if known is None or path in self._away or not self._pattern.folder.exists():
            return
        try:
            self._keep([], [(path, known)], forget=self._forgets, days=True)
        except CommitConflictError:
            self._reread_known(path)
        if not self._forgets:
            self._away.add(path)

    def _back(self, path: str) -> None:
        """A file that was away is there again, as it was: remember it for good."""
        if path not in self._away:
            return
        self._away.discard(path)
        try:
            self._keep([], [(path, self._known[path])])
        except CommitConflictError:
            self._reread_known(path)

    def _reread_known(self, path: str) -> None:
        assert self._memory is not None
        data = self._memory.read(path.encode()).get(path.encode())
        if data is None:
            self._known.pop(path, None)
            self._away.discard(path)
        else:
            self._known[path] = _decode(data)


def _event(path: str, signature: Signature) -> File:
    return File(
        path=path,
        size=signature.size,
        modified=time_from_us(signature.modified_ns // 1000),
        inode=signature.inode,
        modified_ns=signature.modified_ns,
    )


def _encode(signature: Signature) -> bytes:
    return b"%d %d %d" % signature


def _decode(data: bytes) -> Signature:
    return Signature(*map(int, data.split()))
