"""How the listeners of one process fare: each source, as its thread and the source itself tell.

`listener_signs.py` puts it into the log, where other processes see it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import msgspec

from millstream.clock import Clock
from millstream.sources.source import Source
from millstream.sources.spare import SpareSource
from millstream.sources.troubles import Troubled

_log = logging.getLogger("millstream.sources")

WHY_CHARACTERS_MAX: Final = 1_000
"""Of what is told of one listener: a thousand missing files are one sentence."""
TROUBLES_MAX: Final = 3
"""That are told in full; of the others how many there are."""


class ListenerState(StrEnum):
    """The word that an operator looks for first."""

    RUNNING = "running"
    WAITING = "waiting"
    """Something cannot be read now; it is tried again."""
    STOPPED = "stopped"
    """It has ended as it should: told to, or all was read."""
    BROKEN = "broken"
    """It has ended because it cannot be read."""


class ListenerSign(msgspec.Struct, frozen=True):
    """How one listener fares."""

    name: str
    state: ListenerState
    why: str | None
    """What cannot be read, in sentences; None where there is nothing to tell."""
    since_us: int | None
    """Since when there is something to tell."""
    lines: int
    """Stored since its process began."""
    read_us: int | None
    """When the last of them were stored."""
    spare: bool
    """Whether a machine may be without it; see `failures`."""
    behind_bytes: int | None = None
    """Of its files, what is not stored yet; None where that is not known."""


class Listening:
    """One source at work. Safe to use from many threads."""

    def __init__(self, source: Source, name: str, *, clock: Clock, spare: bool) -> None:
        """Begin.

        Args:
            name: That no other has.
            spare: It is one of those that not every machine has.
        """
        self.source = source
        self.name = name
        self.spare = spare
        self.has_noted = False
        """Whether a sentence of it was handed on to people."""
        self._clock = clock
        self._lock = threading.Lock()
        self._lines = 0
        self._read_us: int | None = None
        self._trouble: str | None = None
        self._ended: ListenerState | None = None
        self._is_defect_told = False
        self._left: str | None = None
        self._since_us: int | None = None

    def stored(self, lines: int) -> None:
        """Some lines of it are stored."""
        with self._lock:
            self._trouble = None
            if lines:
                self._lines += lines
                self._read_us = self._clock.now_us()

    def hindered(self, sentence: str) -> None:
        """What was read could not be stored; it is tried again."""
        with self._lock:
            self._trouble = sentence

    def end(self, *, told: bool) -> None:
        """It has ended.

        Args:
            told: By us, so that whatever it waited for is no failure.
        """
        why = self._why()
        with self._lock:
            self._left = why
            self._ended = ListenerState.BROKEN if why is not None and not told else ListenerState.STOPPED

    def sign(self, *, behind_bytes: int | None = None) -> ListenerSign:
        """Return how it fares now."""
        why = self._left if self._ended is not None else self._why()
        with self._lock:
            if why is None:
                self._since_us = None
            elif self._since_us is None:
                self._since_us = self._clock.now_us()
            state = self._ended or (ListenerState.RUNNING if why is None else ListenerState.WAITING)
            return ListenerSign(
                self.name, state, why, self._since_us, self._lines, self._read_us, self.spare, behind_bytes
            )

    def _troubles(self) -> Sequence[str]:
        if not isinstance(self.source, Troubled):
            return ()
        try:
            return self.source.troubles()
        except Exception as error:  # noqa: BLE001 - a defect of one source must not end what is told of the others
            if not self._is_defect_told:
                _log.exception("the %s could not be asked what it cannot read", self.name)
            self._is_defect_told = True
            return (f"it could not be asked, because of a defect: {error}",)

    def _why(self) -> str | None:
        found = self._troubles()
        own = self._trouble
        said = [*([own] if own is not None else []), *found]
        if not said:
            return None
        more = [f"and {len(said) - TROUBLES_MAX:,} more like these"] if len(said) > TROUBLES_MAX else []
        return "; ".join([*said[:TROUBLES_MAX], *more])[:WHY_CHARACTERS_MAX]


def listenings(sources: Sequence[Source], clock: Clock) -> list[Listening]:
    """Return the listeners of some sources, with names by which each is told apart."""
    count = Counter(source.name for source in sources)
    seen: Counter[str] = Counter()
    found = []
    for source in sources:
        seen[source.name] += 1
        name = source.name if count[source.name] == 1 else f"{source.name} {seen[source.name]}"
        found.append(Listening(source, name, clock=clock, spare=isinstance(source, SpareSource)))
    return found


class Fares(Protocol):
    """What is known of a listener."""

    @property
    def state(self) -> ListenerState: ...

    @property
    def spare(self) -> bool: ...


F = TypeVar("F", bound=Fares)


def failures(listeners: Sequence[F], *, ended: bool) -> list[F]:
    """Return the listeners that do not read what they should.

    Those that not every machine has count only where not one of them works: an ordinary user may read some of a
    machine's logs, and that is as it should be.

    Args:
        ended: Only of those that have ended; else also of those that wait.
    """
    bad = (ListenerState.BROKEN,) if ended else (ListenerState.BROKEN, ListenerState.WAITING)
    all_spare_fail = all(one.state in bad for one in listeners if one.spare)
    return [one for one in listeners if one.state in bad and (not one.spare or all_spare_fail)]
