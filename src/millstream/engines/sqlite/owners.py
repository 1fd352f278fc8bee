"""Which processes live: a lock for each that holds leases, which the system drops when the process ends.

A process that dies, however it dies, loses its locks at once; whoever looks next finds its file unlocked and lets its
leases run out. No timer decides, so a long task of a living process is never handed over a second time.

A name begins with the machine's current run (`_boot`): deadlines of leases are on its steady clock, and say nothing on
another's. Leases of another run, found after a restart or in a copy of the file, are over unless their owner lives.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from millstream.engines.sqlite.handing import Tallies, read_held_until_us, read_tallies

_LOOK_S = 1.0
"""How often a process looks for dead ones."""

_SUFFIX = ".alive"


class Owners:
    """The processes that share a log."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.reset()

    def reset(self) -> None:
        """Become another process: after a fork the child is one of its own."""
        self._mutex = threading.Lock()
        self._name: str | None = None
        self._file: int | None = None
        self._tallies: Tallies | None = None
        self._looked = 0.0
        self._settled = False

    def reset_in_child(self) -> None:
        """The same, without dropping the parent's lock: it belongs to the open file, which is only closed here."""
        if self._file is not None:
            os.close(self._file)
        self.reset()

    def own_name(self) -> str:
        """Return the name of this process, which holds its lock from now on.

        Raises:
            OSError: The folder cannot be used, or the disk is full.
        """
        if self._name is not None:
            return self._name
        with self._mutex:
            if self._name is None:
                os.makedirs(self._folder, exist_ok=True)
                while self._name is None:
                    name = f"{_boot()}-{os.getpid()}-{secrets.token_hex(4)}"
                    file = _lock(self._path(name), wait=True)
                    # Between its making and its lock, another process may have found the file unlocked, taken its owner
                    # for dead, and removed it: nobody would ever notice our death by that one.
                    if file is not None and _is_at(file, self._path(name)):
                        self._tallies = self._room_for_tallies(file, name)
                        self._file, self._name = file, name
                    elif file is not None:
                        os.close(file)
            return self._name

    def _room_for_tallies(self, file: int, name: str) -> Tallies:
        """Make room before anything is leased: what was handed out without a note would be handed out again."""
        try:
            return Tallies(file)
        except OSError:
            os.unlink(self._path(name))
            os.close(file)
            raise

    def tallies(self) -> Tallies:
        """Return what this process notes about its leases; only once it has a name."""
        assert self._tallies is not None
        return self._tallies

    @property
    def held_until_us(self) -> int:
        """Until when (steady clock) nobody takes the leases of this process, whatever their deadlines."""
        return self._tallies.held_until_us if self._tallies is not None else 0

    def hold_until(self, steady_us: int) -> None:
        """Keep the leases of this process, where a full disk keeps them from being renewed."""
        if self._tallies is not None:
            self._tallies.hold_until(steady_us)

    def holds(self, name: str, steady_us: int) -> bool:
        """Whether a process keeps its leases in that way."""
        if name == self._name:
            return self.held_until_us > steady_us
        try:
            file = os.open(self._path(name), os.O_RDONLY)
        except OSError:
            return False
        try:
            return read_held_until_us(file) > steady_us
        finally:
            os.close(file)

    def look(
        self, dead: Callable[[str, Mapping[int, tuple[int, int]]], None], holders: Callable[[], Iterable[str]]
    ) -> None:
        """Call `dead` for every owner that lives no more, with its tallies; at most once a second.

        Args:
            holders: Return the owners of all leases; asked once, for those of an earlier run of the machine.
        """
        with self._mutex:
            if time.monotonic() - self._looked < _LOOK_S:
                return
            self._looked = time.monotonic()
        if not self._settled:
            self._end_other_runs(dead, holders())
            self._settled = True
        try:
            there = os.listdir(self._folder)
        except OSError:
            return
        for entry in there:
            name = entry.removesuffix(_SUFFIX)
            if entry == name or name == self._name:
                continue
            with contextlib.suppress(OSError):
                file = _lock(self._path(name), wait=False)
                if file is None:
                    continue
                try:
                    # Its leases first, then the file: should we die between, the next one does it again.
                    dead(name, read_tallies(file))
                    with contextlib.suppress(OSError):
                        os.unlink(self._path(name))
                finally:
                    # Also where the disk is full: with the lock in our hands it would seem to live.
                    os.close(file)

    def _end_other_runs(
        self, dead: Callable[[str, Mapping[int, tuple[int, int]]], None], holders: Iterable[str]
    ) -> None:
        for name in holders:
            # Those with a file are looked at like all others; so is one whose machine calls itself otherwise by now.
            if not name.startswith(f"{_boot()}-") and not os.path.exists(self._path(name)):
                dead(name, {})

    def close(self) -> None:
        """Say goodbye."""
        with self._mutex:
            if self._file is not None and self._name is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._path(self._name))
                os.close(self._file)
                self._file = None

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name + _SUFFIX)


@functools.cache
def _boot() -> str:
    """Return what this run of the machine is called: eight digits."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except OSError:
        # Elsewhere a copy of the file on another machine is known at least; after a restart owners have left files.
        return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_at(file: int, path: str) -> bool:
    """True when an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(path: str, *, wait: bool) -> int | None:
        """Open and lock a file; None where another process holds it."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOINHERIT)
        try:
            msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(file)
            return None
        return file

else:
    import fcntl

    def _lock(path: str, *, wait: bool) -> int | None:
        """Open and lock a file; None where another process holds it."""
        file = os.open(path, os.O_RDWR | (os.O_CREAT if wait else 0) | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(file)
            return None
        return file
