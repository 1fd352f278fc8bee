"""Waking readers in other processes: a datagram to each of them after a commit.

A reader that waits binds a Unix datagram socket in the folder `<file>-wake`; a writer sends to every socket there. The
list is kept until another listener comes, which the `roll` tells, so a commit without listeners costs next to nothing.
Where the system has no Unix sockets (Windows), nothing is sent and readers poll.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import sys
from collections.abc import Iterable

from millstream.engines.sqlite.roll import Roll, change

_SUPPORTED = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
_PATH_BYTES_MAX = 100  # sun_path holds 104 (macOS) or 108 (Linux) bytes
_DATAGRAM_BYTES_MAX = 4096
_MESSAGES_MAX = 1000


class Sender:
    """The writing side: sends the ids of changed topics."""

    def __init__(self, folder: str, roll: str) -> None:
        """Take the folder of the sockets, and the file of the roll."""
        self._folder = folder
        self._roll = Roll(roll)
        self._addresses: list[str] = []
        self._socket: socket.socket | None = None

    def send(self, topic_ids: Iterable[int], *, but: str | None = None) -> None:
        """Tell every listener; never blocks. A full socket buffer means that its owner is awake already.

        Args:
            but: Name of the sender's own listener.
        """
        if _SUPPORTED and self._roll.changed():
            self._look()
        if not self._addresses:
            return
        message = b" ".join(b"%d" % topic_id for topic_id in topic_ids)
        if len(message) > _DATAGRAM_BYTES_MAX:
            message = b"*"
        if self._socket is None:
            try:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            except OSError:
                return  # no descriptor left; the commit holds, and readers look for themselves after a while
            self._socket.setblocking(False)
        for name in tuple(self._addresses):
            if name == but:
                continue
            try:
                with _short_address(self._folder, name) as address:
                    self._socket.sendto(message, address)
            except (ConnectionRefusedError, FileNotFoundError):
                # Its owner has closed it, or died without removing it.
                self._addresses.remove(name)
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self._folder, name))
            except OSError:
                continue

    def _look(self) -> None:
        try:
            self._addresses = [name for name in os.listdir(self._folder) if name.endswith(".sock")]
        except FileNotFoundError:
            self._addresses = []  # nobody has made it
        except OSError:
            self._roll.forget()  # no descriptor left, perhaps: the next commit tries again

    def close(self) -> None:
        self._roll.close()
        if self._socket is not None:
            self._socket.close()


class Listener:
    """The waiting side."""

    def __init__(self, folder: str, roll: str) -> None:
        """Bind a socket, and have senders look for it.

        Raises:
            OSError: The folder cannot be used; the caller polls instead.
        """
        if not _SUPPORTED:
            raise OSError("no Unix datagram sockets on this system")
        os.makedirs(folder, exist_ok=True)
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._path = os.path.join(folder, self.name)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        try:
            with _short_address(folder, self.name) as address:
                self._socket.bind(address)
            change(roll)
        except OSError:
            self._socket.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            raise

    def receive(self, timeout_s: float) -> list[set[int]]:
        """Return the ids of changed topics, a set a message, empty for "any"; none when the time passes.

        Called by one thread at a time.
        """
        messages: list[set[int]] = []
        try:
            if timeout_s <= 0 or self._poll.poll(timeout_s * 1000):
                while len(messages) < _MESSAGES_MAX:
                    messages.append(_topic_ids(self._socket.recv(_DATAGRAM_BYTES_MAX)))
        except OSError:
            pass  # nothing more is there, or the socket was closed
        return messages

    def close(self) -> None:
        """Wake `receive` for the last time and remove the socket."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.setblocking(False)
            with _short_address(os.path.dirname(self._path), self.name) as address:
                last.sendto(b"", address)
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def release(self) -> None:
        """Close the descriptor, when nobody receives any more."""
        self._socket.close()


class _short_address:  # noqa: N801 - used as a function
    """An address that fits in `sun_path`, through the folder's descriptor on Linux when the path is long."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = os.path.join(folder, name)
        self._folder = folder
        self._name = name
        self._descriptor: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _PATH_BYTES_MAX:
            return self._path
        if sys.platform != "linux":
            raise OSError(f"the path {self._path} is too long for a socket")
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{self._name}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def _topic_ids(message: bytes) -> set[int]:
    return set() if message == b"*" else {int(part) for part in message.split() if part.isdigit()}
