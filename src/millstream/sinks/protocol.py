"""What a sink is: where the results of a stream leave the log.

A stream commits offsets, state and outputs to topics in one transaction of the log. A file, a database or a web hook is
no part of that transaction, so one of two things can happen around a crash: it got results that the log then does not
know of (written, not committed), or the log counts on results that are not there yet (committed, not visible).

After a crash the stream reads on from its last commit. The *records* that come out are the same as before, in the same
order, because a step's output depends on nothing but its input and state. The *micro-batches* are not: they may be cut
elsewhere. So the number or the offsets of a micro-batch say nothing about whether its results were written before, and
no sink may build on them. What is left, and what each guarantee stands on:

exactly once
    Write in two phases. `write` and `prepare` make results durable where nobody sees them, and `prepare` returns a note
    of them, which the log commits *together with the offsets*. `publish` then makes them visible. A crash before the
    commit leaves hidden results of which the log has no note: `open` removes them, and the stream makes them again. A
    crash after the commit leaves hidden results with a note: `open` publishes them. Publishing twice is publishing
    once.
idempotent
    Write each result under its key (an upsert). What is written twice is there once. Between a crash and the moment the
    stream has caught up, an older value of a key may be seen once more; the last value stays. This needs that no older
    run writes after a newer one, see below.
at least once
    Write before the commit. Nothing is lost; what a crash interrupts may be written again.

One run at a time: a stream with sinks takes its state over when it is loaded, by raising a number, the *turn*. No
commit of an earlier run succeeds from then on, so what `open` is given is final: nothing that is missing from it will
ever be committed. An earlier run that was only slow may still *write*, though, until it finds out. A sink must not be
harmed by that: it writes under names that contain its turn, or lets the outside check the turn in the same transaction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.clock import Clock
from millstream.sinks.rows import Rows

if TYPE_CHECKING:
    import polars as pl


class Guarantee(StrEnum):
    """What is there after crashes, of each result of the stream."""

    EXACTLY_ONCE = "exactly once"
    IDEMPOTENT = "idempotent"
    AT_LEAST_ONCE = "at least once"


class Patience(msgspec.Struct, frozen=True):
    """How often a call that failed is made again, and how long after one another.

    Waits are doubled and drawn at random between half and all of that. After the last attempt the stream stops with
    the error, and whoever runs it starts it again from the last commit, with growing waits of its own.
    """

    attempts: int = 8
    first_s: float = 0.1
    most_s: float = 30.0

    def delay_s(self, attempt: int, draw: float) -> float | None:
        """Return the wait after an attempt (1 for the first); None: it was the last.

        Args:
            draw: A random number in [0, 1).
        """
        if attempt >= self.attempts:
            return None
        longest = min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, 32))
        return longest * (0.5 + draw / 2)


PATIENCE: Final = Patience()
"""About 13 seconds: longer than a database's restart or a reload of a web server, short enough to be reported soon."""


class SinkPlace(msgspec.Struct, frozen=True):
    """Who writes: one output of one run of a stream."""

    name: str
    """Of the output: the stream's name, a number where a stream has several of equal sinks, and its partition where
    each partition is a run of its own. Valid as a file's name. Runs that share a stream have different ones."""
    incarnation: str
    """Made at random when the stream wrote here for the first time, and kept with its state: a stream of the same name
    in another log, or made anew, has another one."""
    turn: int
    """Larger than that of every earlier run of this incarnation."""
    clock: Clock
    log: str = ""
    """The URL of the log that the stream is in. A sink must not write there by itself."""


class SinkWriter(ABC):
    """A sink at work for one run of a stream, used by one thread at a time.

    Calls come in this order: any number of `write`, `prepare`, the commit of the log, `publish`; and so on. A call that
    raised is made again after a while, the same call with the same rows: it must leave nothing behind, or go on where
    it was. After the last attempt, and after a commit that failed, the writer is closed and never used again; a new one
    is opened with what was committed last.

    What raises `UsageError` (rows that do not fit) is not tried again.
    """

    held: int = 0
    """Rows that are committed and not visible yet."""

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Take rows, in order."""

    def prepare(self) -> bytes | None:
        """Make what was written safe from a crash; return what `open` needs to know of it, which is committed next.

        Its size matters: it is stored with each commit that changes it.
        """
        return None

    def publish(self) -> None:  # noqa: B027 - most sinks have nothing to do here
        """Make visible what the commit that just happened knows of."""

    def finish(self) -> None:  # noqa: B027 - as above
        """The stream stops, or has read all there is: all that is held is to become visible with the next commit."""

    def due_us(self) -> int | None:
        """Return the time of the clock at which a commit is wanted though no records come; None: there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - as above
        """Let go of connections; nothing is written any more."""


class Sink(ABC):
    """A kind of outside, as a description names it: `s.to(sink)`. A value without state; `open` returns what works.

    Its text (`str`) names it in messages and says which sink it is when a changed description meets stored state: it
    must not contain secrets, nor what may change without being another place.
    """

    @property
    @abstractmethod
    def guarantee(self) -> Guarantee:
        """Say what it promises."""

    @property
    def patience(self) -> Patience:
        """Return how calls that fail are made again."""
        return PATIENCE

    def check(self, schema: pl.Schema) -> None:  # noqa: B027 - most sinks take any columns
        """Look at the columns that will arrive, when the stream is described.

        Raises:
            UsageError: They cannot be written.
        """

    @abstractmethod
    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        """Return what writes from the last commit on; finish or remove what an earlier run had prepared.

        Args:
            stored: What `prepare` returned for the last commit; None: nothing was committed yet.

        Raises:
            UsageError: It cannot be used as it is described.
            SinkError: What was committed is not there, or the outside does not answer; the latter is tried again.
        """
