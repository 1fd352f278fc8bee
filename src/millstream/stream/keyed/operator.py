"""State and timers at work."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from millstream.errors import UsageError
from millstream.stream.keyed.coding import UNCHANGING, new_of
from millstream.stream.keyed.context import Context
from millstream.stream.keyed.due import DueIndex
from millstream.stream.keyed.entry import MEMORY, NEVER_US, Entry, Memory
from millstream.stream.keyed.failing import Failed, Guard, OnError
from millstream.stream.keyed.keys import keys_of
from millstream.stream.keyed.outgoing import Outgoing, timer_piece
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.keyed.store import Key, KeyedState
from millstream.stream.operators import OperatorStatus, StateReader, StateWrite
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl


class StatefulOperator:
    """Calls the function of a StatefulStep for each record, with the state of its key.

    Records of a key are handled in their order. A timer of a key fires before the first record of that key whose
    partition had come so far when it was appended, or else when the watermark gets there: the same either way, so that
    what the function sees of a key does not depend on where micro-batches end. A record that comes out of another step
    (a window's result) has no watermark of its own; of those, event time itself says how far it has come. The time to
    live is a timer like that, which forgets the state.

    Stored: entries under `v`, the index of event times under `t`, that of the wall clock under `c`.
    """

    def __init__(self, step: StatefulStep, prefix: bytes, guard: Guard | None = None, memory: Memory = MEMORY) -> None:
        coding = step.check()
        self.step = step
        self.prefix = prefix
        self._guard = guard or Guard(OnError())
        self._coding = coding
        self._new = new_of(step.init, coding)
        self._state = KeyedState(prefix, coding, memory)
        self._due = DueIndex(prefix, b"t", memory)
        self._clock_due = DueIndex(prefix, b"c", memory)
        self._page_keys = memory.page_keys
        self._takes_context = step.takes_context
        self._timed = step.takes_context or step.ttl_us is not None or step.on_timer is not None
        self._context = Context(str(step), can_fire=step.on_timer is not None)
        self._watermark_us: int | None = None
        # A function that raises may have changed the state before; where that counts, it is called with a copy.
        policy = self._guard.policy
        self._copies = not coding.unchanging and (policy.skips or policy.retry is not None)
        self._function = self._checked if self._copies or step.many else step.function

    # --- the Operator protocol --------------------------------------------------------------------------------------

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        import polars as pl

        from millstream.log.storage import dtypes
        from millstream.log.types import schema_of

        for name in self.step.by:
            if name not in schema:
                there = ", ".join(schema.names())
                raise UsageError(f"{self.step}: there is no column {name!r} to tell keys by; there are {there}")
        type = self.step.type
        return None if type is None or issubclass(type, dict | bytes) else pl.Schema(dtypes(schema_of(type)))

    def attach(self, reader: StateReader) -> None:
        self._state.attach(reader)
        self._due.attach(reader)
        self._clock_due.attach(reader)

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Do nothing: state is read when it is needed."""

    @property
    def asked_bytes(self) -> int:
        return self._state.asked_bytes

    def process(self, port: int, piece: Piece) -> list[Piece]:
        keys = keys_of(piece, self.step.by)
        if self._timed:
            outgoing = Outgoing(piece.height)
            self._with_timers(keys, piece, outgoing)
            return outgoing.pieces(piece.carried, self.step.type)
        results = self._plain(keys, piece.values())
        made = piece.flat_mapped if self.step.many else piece.mapped
        return [made(results, self.step.type)]

    def advance(self, watermark_us: int) -> list[Piece]:
        self._watermark_us = watermark_us
        return self._fire_all(self._due, watermark_us, clock=False) if self._timed else []

    def tick(self, clock_us: int) -> list[Piece]:
        return self._fire_all(self._clock_due, clock_us, clock=True) if self._timed else []

    def tick_due_us(self) -> int | None:
        return self._clock_due.first_us() if self._timed else None

    def due_us(self) -> int | None:
        return self._due.first_us() if self._timed else None

    def end_us(self) -> int | None:
        return self._due.last_us() if self._timed else None

    def out_us(self, watermark_us: int) -> int:
        return watermark_us

    def changes(self) -> list[StateWrite]:
        return [*self._state.changes(), *self._due.changes(), *self._clock_due.changes()]

    def status(self) -> OperatorStatus:
        return OperatorStatus(rows=self._state.held, bytes=self._state.held_bytes, open=self._due.held)

    def failed(self) -> list[Failed]:
        """Return the records that were given up on since the last call, by their place in the piece."""
        return self._guard.failed()

    # --- records ------------------------------------------------------------------------------------------------------

    def _plain(self, keys: Sequence[Key], values: Sequence[Any]) -> list[Any]:
        """Return what the function makes of each record, None where it was given up.

        This loop is what a record costs: nothing is in it that can be outside.
        """
        entries = self._state.fetch(keys)
        function, new, copy = self._function, self._new, self._coding.copy
        results: list[Any] = []
        add = results.append
        rest = zip(map(entries.__getitem__, keys), values, strict=True)
        while True:
            try:
                for entry, value in rest:
                    state = entry.state
                    after, output = function(new() if state is None else state, value)
                    if output is after and after.__class__ not in UNCHANGING:
                        # The next record may change the state in place, and must not change what came out before.
                        output = copy(after)
                    entry.state = after
                    add(output)
                return results
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything; the policy decides
                again = functools.partial(self._checked, new() if state is None else state, value)
                result = self._guard.again(again, self._told(error), len(results))
            if result is not None:
                entry.state = result[0]
            add(None if result is None else result[1])

    def _with_timers(self, keys: Sequence[Key], piece: Piece, outgoing: Outgoing) -> None:
        """Do as `_plain` does; before each record the timers of its key fire that are due by then."""
        import polars as pl

        entries = self._fetch(keys)
        function, new, copy, many, ttl_us = (
            self._function,
            self._new,
            self._coding.copy,
            self.step.many,
            self.step.ttl_us,
        )
        begin = self._context._begin if self._takes_context else None
        times = piece.carried["_event_time"].cast(pl.Int64).to_list()
        watermarks = piece.carried["_watermark"].to_list()
        made, places = outgoing.values.append, outgoing.places.append
        place = -1
        for key, value, time_us, watermark_us in zip(keys, piece.values(), times, watermarks, strict=True):
            place += 1
            entry = entries[key]
            passed_us = time_us if watermark_us is None else watermark_us
            if entry.due_us <= passed_us:
                self._catch_up(key, entry, passed_us, outgoing)
            state = entry.state
            timers, clock_timers = entry.timers, entry.clock_timers
            try:
                if begin is None:
                    after, output = function(new() if state is None else state, value)
                else:
                    context = begin(key, entry, time_us, watermark_us)
                    after, output = function(new() if state is None else state, value, context)
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything; the policy decides

                def again() -> tuple[Any, Any]:
                    # What an earlier attempt set is not left over.
                    entry.timers, entry.clock_timers = timers, clock_timers  # noqa: B023
                    arguments = () if begin is None else (begin(key, entry, time_us, watermark_us),)  # noqa: B023
                    return self._checked(new() if state is None else state, value, *arguments)  # noqa: B023

                result = self._guard.again(again, self._told(error), place)
                if result is None:
                    entry.timers, entry.clock_timers = timers, clock_timers
                    continue
                after, output = result
            if output is after and after.__class__ not in UNCHANGING:
                output = copy(after)
            entry.state = after
            if many:
                outgoing.add(place, output)
            elif output is not None:
                made(output)
                places(place)
            if ttl_us is not None:
                self._touch(entry, time_us)
            if entry.timers or ttl_us is not None or entry.due_us != NEVER_US:
                entry.plan(ttl_us)
                if entry.due_us <= passed_us:
                    self._catch_up(key, entry, passed_us, outgoing)
            woken_us = entry.woken_us
            if (entry.due_us != woken_us and (entry.due_us < woken_us or entry.due_us == NEVER_US)) or (
                entry.clock_timers or entry.clock_woken_us != NEVER_US
            ):
                self._index(key, entry)

    def _checked(self, state: Any, *arguments: Any) -> tuple[Any, Any]:
        """Call the function: on a copy of the state where the old one is wanted if it fails.

        Raises:
            UsageError: It returns something other than state and output.
        """
        return self._pair(self.step.function(self._coding.copy(state) if self._copies else state, *arguments))

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if type(result) is not tuple or len(result) != 2:
            raise UsageError(f"{self.step}: the function returns (state, output), and returned {result!r:.200}")
        state, output = result
        if self.step.many:
            # A generator runs here, where what it raises is the function's error.
            output = [self._coding.copy(state) if value is state else value for value in output or ()]
        return state, output

    def _told(self, error: Exception) -> Exception:
        """Return an error of the function; of what it returned, where that was no pair."""
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            return UsageError(f"{self.step}: the function returns (state, output): {error}")
        return error

    def _touch(self, entry: Entry, at_us: int) -> None:
        if self.step.ttl_us is None or entry.state is None:
            entry.touched_us = None
        elif entry.touched_us is None or at_us > entry.touched_us:
            entry.touched_us = at_us

    # --- timers -------------------------------------------------------------------------------------------------------

    def _fetch(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        entries = self._state.fetch(keys)
        for key in set(keys):
            entries[key].plan(self.step.ttl_us)
        return entries

    def _fire_all(self, index: DueIndex, until_us: int, *, clock: bool) -> list[Piece]:
        """Fire what is due of all keys in order of time, a page of keys at a time."""
        outgoing = Outgoing()
        while taken := index.pop(until_us, self._page_keys):
            bound_us = until_us if len(taken) < self._page_keys else taken[-1][0]
            keys = [key for _, key in taken]
            entries = self._fetch(keys)
            for key in keys:
                if clock:
                    entries[key].clock_woken_us = NEVER_US
                else:
                    entries[key].woken_us = NEVER_US
            waiting = [(self._due_of(entries[key], clock), key is not None, key or b"") for key in keys]
            heapq.heapify(waiting)
            while waiting and waiting[0][0] <= bound_us:
                _, has_key, text = waiting[0]
                entry = entries[key := text if has_key else None]
                self._fire(key, entry, outgoing, clock=clock)
                heapq.heapreplace(waiting, (self._due_of(entry, clock), has_key, text))
            for key in keys:
                self._index(key, entries[key])
        return outgoing.pieces(None, self.step.type)

    def _catch_up(self, key: Key, entry: Entry, until_us: int, outgoing: Outgoing) -> None:
        while entry.due_us <= until_us:
            self._fire(key, entry, outgoing, clock=False)

    def _due_of(self, entry: Entry, clock: bool) -> int:
        if not clock:
            return entry.due_us
        timer = entry.next_clock_timer()
        return NEVER_US if timer is None else timer[0]

    def _fire(self, key: Key, entry: Entry, outgoing: Outgoing, *, clock: bool) -> None:
        """Do what is due next for a key: a timer, or else its state has lived long enough."""
        timer = entry.next_clock_timer() if clock else entry.next_timer()
        if timer is not None and (clock or timer[0] == entry.due_us):
            self._fire_timer(key, entry, timer, outgoing, clock)
        else:
            entry.state = entry.touched_us = None
        entry.plan(self.step.ttl_us)

    def _fire_timer(self, key: Key, entry: Entry, timer: tuple[int, str], outgoing: Outgoing, clock: bool) -> None:
        at_us, name = timer
        timers = entry.clock_timers if clock else entry.timers
        assert timers is not None
        del timers[name]
        if self.step.on_timer is None:
            return  # set by a version of the program that had one
        now_us = self._watermark_us if clock else at_us
        kept = entry.timers, entry.clock_timers
        function = self.step.on_timer

        def call() -> tuple[Any, Any]:
            # What an earlier attempt set is not left over.
            entry.timers, entry.clock_timers = kept
            state = self._new() if entry.state is None else entry.state
            context = self._context._begin(key, entry, at_us, now_us, timer, clock)
            return self._pair(function(self._coding.copy(state) if self._copies else state, context))

        try:
            result: tuple[Any, Any] | None = call()
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything; the policy decides
            result = self._guard.again(call, error, 0, timer_piece(key, at_us, name, clock=clock))
        if result is None:
            entry.timers, entry.clock_timers = kept
            return
        entry.state, output = result
        if output is entry.state and output.__class__ not in UNCHANGING:
            output = self._coding.copy(output)
        self._touch(entry, at_us)
        outgoing.timer(key, at_us, output if self.step.many or output is None else (output,))

    def _index(self, key: Key, entry: Entry) -> None:
        """Have the key woken in time. A time that moved away stays in the index until then: it is not written anew."""
        if entry.due_us < entry.woken_us or entry.due_us == NEVER_US:
            entry.woken_us = self._move(self._due, key, entry.woken_us, entry.due_us)
        clock_us = self._due_of(entry, True)
        if clock_us != entry.clock_woken_us:
            entry.clock_woken_us = self._move(self._clock_due, key, entry.clock_woken_us, clock_us)

    def _move(self, index: DueIndex, key: Key, before_us: int, after_us: int) -> int:
        if before_us != NEVER_US:
            index.remove(before_us, key)
        if after_us != NEVER_US:
            index.put(after_us, key)
        return after_us
