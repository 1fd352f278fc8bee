"""systemd, where it waits to be told: that a service is ready, that it is alive, that it stops.

Source: sd_notify(3). Datagrams of lines to the socket that the environment names; without one nothing is told.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

_log = logging.getLogger("millstream.run")

BEATS: Final = 2
"""Signs of life within the time after which systemd kills a service that gave none."""


class ServiceManager:
    """What systemd is told by a service of `Type=notify`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the address, and how often a sign of life is wanted, from the environment."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_s(environment)
        self._is_reloading = False

    @contextmanager
    def told(self, is_alive: Callable[[], bool]) -> Iterator[None]:
        """Tell that the service is ready, and meanwhile that it lives; at the end, that it stops, unless it reloads.

        Args:
            is_alive: Asked before each sign of life; after too many without one the service is started anew.
        """
        if not self._address:
            yield
            return
        ended = threading.Event()
        beats = threading.Thread(target=self._beat, args=(is_alive, ended), name="watchdog-signs", daemon=True)
        self.tell("READY=1")
        beats.start()
        try:
            yield
        finally:
            ended.set()
            beats.join()
            if not self._is_reloading:
                self.tell("STOPPING=1")

    def reloading(self) -> None:
        """Tell that the configuration is read anew: the next `told` says when that is done, or `reloaded`."""
        self._is_reloading = True
        self.tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Tell that it goes on as it was."""
        self._is_reloading = False
        self.tell("READY=1")

    def tell(self, text: str) -> None:
        """Send some lines. What cannot be sent is logged: the service goes on."""
        if not self._address:
            return
        # An abstract name has a NUL in front, for which the environment has an @.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), address)
        except OSError as error:
            _log.warning("systemd at %s could not be told %s: %s", self._address, text.partition("=")[0], error)

    def _beat(self, is_alive: Callable[[], bool], ended: threading.Event) -> None:
        if self._watchdog_s is None:
            return
        while not ended.wait(self._watchdog_s / BEATS):
            if is_alive():
                self.tell("WATCHDOG=1")


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return after how many seconds without a sign of life this process is killed; None: never."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        found = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return None
    return found if found > 0 else None
