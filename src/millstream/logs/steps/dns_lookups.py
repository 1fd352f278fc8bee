"""Names of addresses: asked for by a few threads, and remembered."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from millstream.clock import Clock, SystemClock

Resolve = Callable[[str], str | None]
"""Takes an address; returns its name, None or an OSError where it has none."""

_log = logging.getLogger("millstream.logs")

ADDRESSES_MAX: Final = 100_000
"""That are remembered; those not seen for longest go first. About 40 MB."""
WAITING_MAX: Final = 10_000
"""That nobody asked for yet. The last ones go first, as somebody waits for them; the oldest are given up until they are
there again."""
THREADS_MAX: Final = 16
"""The system's resolver answers one question a thread; a name server is not to be flooded."""

_NAME: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*([a-z0-9_-]{1,63})")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
"""What makes a name that ends with it an address in one of its old ways of writing."""


class _Known(msgspec.Struct, frozen=True):
    """What was answered."""

    name: str | None
    until_us: int
    """When it is asked for again."""


class Lookups:
    """Names of addresses, for many threads.

    The threads that ask end when there is nothing to ask. They are daemons: a resolver that hangs, which nothing can
    end, does not keep the program from ending.
    """

    def __init__(
        self, resolve: Resolve, *, keep_us: int, keep_failed_us: int, wait_us: int, clock: Clock | None = None
    ) -> None:
        """Look up names.

        Args:
            keep_us: How long a name is remembered.
            keep_failed_us: How long it is remembered that there is none.
            wait_us: For the names of one call, all together.
        """
        self._resolve = resolve
        self._keep_us = keep_us
        self._keep_failed_us = keep_failed_us
        self._wait_us = wait_us
        self._clock = clock or SystemClock()
        self._answered = threading.Condition()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._waiting: deque[str] = deque()
        self._asked: set[str] = set()
        """Those that wait, and those that a thread asks for just now."""
        self._threads = 0
        self._answers = 0
        self._is_silent = False
        """The last wait ran out without any answer: there is no use in the next one."""

    def names(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """Return the names of addresses, as far as they are known within the wait; others are known next time."""
        with self._answered:
            wanted = self._ask(addresses)
            if wanted and not self._is_silent:
                self._wait_for(wanted)
            found = ((address, self._known.get(address)) for address in addresses)
            return {address: one.name for address, one in found if one is not None and one.name is not None}

    def _ask(self, addresses: Sequence[str]) -> set[str]:
        """Have threads ask for what is not known, or no longer; return what is being asked for."""
        now_us = self._clock.monotonic_us()
        wanted = set()
        for address in addresses:
            known = self._known.get(address)
            if known is not None:
                self._known.move_to_end(address)
                if now_us < known.until_us:
                    continue
            if address not in self._asked:
                self._asked.add(address)
                self._waiting.append(address)
                if len(self._waiting) > WAITING_MAX:
                    self._asked.remove(self._waiting.popleft())
            wanted.add(address)
        while self._threads < min(THREADS_MAX, len(self._asked)):
            self._threads += 1
            threading.Thread(target=self._work, name="millstream-dns", daemon=True).start()
        return wanted

    def _wait_for(self, wanted: set[str]) -> None:
        before = self._answers
        # The real time, whatever the clock: somebody waits.
        end = time.monotonic() + self._wait_us / 1_000_000
        while not self._asked.isdisjoint(wanted):
            left = end - time.monotonic()
            if left <= 0:
                self._is_silent = self._answers == before
                return
            self._answered.wait(left)

    def _work(self) -> None:
        while (address := self._next()) is not None:
            began_us = self._clock.monotonic_us()
            name = self._name(address)
            with self._answered:
                self._remember(address, name, began_us)

    def _next(self) -> str | None:
        with self._answered:
            if self._waiting:
                return self._waiting.pop()
            self._threads -= 1
            return None

    def _name(self, address: str) -> str | None:
        try:
            return _checked(self._resolve(address))
        except (OSError, ValueError):
            return None  # no name, no answer, or a name that cannot be encoded
        except Exception:  # noqa: BLE001 - a defect of a resolver must not leave an address asked for without end
            _log.exception("asking for the name of %s failed", address)
            return None

    def _remember(self, address: str, name: str | None, began_us: int) -> None:
        now_us = self._clock.monotonic_us()
        keep_us = self._keep_failed_us if name is None else self._keep_us
        self._known[address] = _Known(name, now_us + keep_us)
        self._known.move_to_end(address)
        if len(self._known) > ADDRESSES_MAX:
            self._known.popitem(last=False)
        self._asked.discard(address)
        self._answers += 1
        if now_us - began_us <= self._wait_us:
            self._is_silent = False
        self._answered.notify_all()


def unconfirmed_name(address: str) -> str | None:
    """Return the name that who has an address gives it: any name, also somebody else's.

    Raises:
        OSError: It has none, or nobody answers.
    """
    return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]


def confirmed_name(address: str) -> str | None:
    """Return the name of an address if that name leads to the address; None: it does not.

    Source: RFC 1912, 2.1; what sshd does with UseDNS.

    Raises:
        OSError: It has none, or nobody answers.
        ValueError: It is longer than names are.
    """
    name = _checked(unconfirmed_name(address))
    if name is None:
        return None
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    leads_to = {ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found}
    return name if ipaddress.ip_address(address.partition("%")[0]) in leads_to else None


def _checked(name: str | None) -> str | None:
    """Return a name as it is written in small letters; None where it is none, or is an address.

    Who has an address chooses the text; it is on no account to be taken for an address, or to be more than a name.
    """
    lower = (name or "").lower().removesuffix(".")
    found = _NAME.fullmatch(lower)
    return None if found is None or _NUMBER.fullmatch(found[1]) else lower
