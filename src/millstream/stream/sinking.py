"""The sinks of one run of a stream: what arrives at them is written before the commit, and made visible after it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.clock import Clock
from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import SinkError, UsageError
from millstream.log.group import Group
from millstream.log.schema import NO_JSON
from millstream.sinks.outlet import Note, Outlet
from millstream.sinks.protocol import SinkPlace
from millstream.sinks.rows import Rows
from millstream.stream.graph import Graph, Node, ToSink
from millstream.stream.operators import StateWrite
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    from millstream.stream.flow import Swept

_log = logging.getLogger("millstream.stream")

SINKS: Final = b"s"
"""The keys of the sinks' notes begin with it."""


class Sinks:
    """The sinks of a graph, each with its note in the log.

    Args:
        partition: That is a run of its own; None: the run has all.
        wait: Waits so many seconds; True when the stream is to stop meanwhile.
    """

    def __init__(self, graph: Graph, partition: int | None, clock: Clock, wait: Callable[[float], bool]) -> None:
        self._stream = graph.name
        self._log = graph.sources()[0].step.topic.log.engine.url
        self._nodes = {node: node.step.sink for node in graph.nodes if isinstance(node.step, ToSink)}
        self._names: dict[Node, str] = {}
        self._keys: dict[Node, bytes] = {}
        self._partition = partition
        self._clock = clock
        self._wait = wait
        self._outlets: dict[Node, Outlet] = {}
        self._used: set[Node] = set()
        """Those that got something, or have something to do, since the last commit."""
        self._name()

    def need_turn(self, state: Mapping[bytes, bytes]) -> bool:
        """Return whether the run must take over before anything else: what it finds must be final."""
        return bool(self._nodes) or any(key.startswith(SINKS) for key in state)

    @property
    def held(self) -> int:
        """Rows that are committed and not visible yet."""
        return sum(outlet.held for outlet in self._outlets.values())

    def check(self, state: Mapping[bytes, bytes], *, drop: bool) -> None:
        """Look for sinks that are described no more, and hold results.

        Raises:
            UsageError: There is one, and it was not said that these may go.
        """
        gone = {key: value for key, value in state.items() if not self._has(key)}
        check_gone(self._stream, gone, drop=drop)

    def begin(self, group: Group[Any], at: int, state: Mapping[bytes, bytes], expect: Sequence[StateChange]) -> None:
        """Store a note for each sink that has none, and delete those of sinks that are gone."""
        changes = [
            StateChange(at, key, msgspec.msgpack.encode(Note.fresh(self._nodes[node])))
            for node, key in self._keys.items()
            if key not in state
        ]
        changes += [StateChange(at, key, None) for key in state if key.startswith(SINKS) and not self._has(key)]
        if changes:
            group.commit([], state=changes, expect=expect)

    def load(self, state: Mapping[bytes, bytes], turn: StateChange, *, drop: bool) -> None:
        """Open the sinks as of the last commit, which nobody can change any more: the turn was taken.

        Raises:
            SinkError: One could not be opened.
        """
        for node, sink in self._nodes.items():
            note = _decode(state[self._keys[node]])
            place = SinkPlace(self._names[node], note.incarnation, int(turn.value or b"0"), self._clock, self._log)
            try:
                self._outlets[node] = Outlet(sink, place, note, self._wait)
            except SinkError as error:
                if not drop or error.retryable:
                    raise
                _log.warning("stream %s: what sink %s held is given up: %s", self._stream, sink, error)
                note = Note.fresh(sink)
                self._outlets[node] = Outlet(
                    sink, msgspec.structs.replace(place, incarnation=note.incarnation), note, self._wait
                )

    def write(self, swept: Swept) -> list[StateWrite]:
        """Write what arrived and make it safe; return what is to be committed with it.

        Raises:
            SinkError: A sink did not take it.
        """
        for node, piece in swept.arrivals:
            if node in self._outlets:
                self._outlets[node].write(_rows(piece))
                self._used.add(node)
        self._used.update(self._due())
        writes: list[StateWrite] = []
        for node in self._used:
            if (note := self._outlets[node].prepare()) is not None:
                writes.append((self._keys[node], note))
        return writes

    def publish(self) -> None:
        """Make visible what is committed now."""
        for node in self._used:
            self._outlets[node].publish()
        self._used.clear()

    def finish(self) -> bool:
        """Let all that is held become visible with the next commit; False where there is nothing."""
        for node, outlet in self._outlets.items():
            if outlet.held or outlet.noted:
                outlet.finish()
                self._used.add(node)
        return bool(self._used)

    def due_us(self) -> int | None:
        """Return when a commit is wanted by the clock, though no records come; None: it is not."""
        return min((us for outlet in self._outlets.values() if (us := outlet.due_us()) is not None), default=None)

    def close(self) -> None:
        for outlet in self._outlets.values():
            outlet.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _name(self) -> None:
        """Give each sink a name and a key that stay when other steps of the description change."""
        seen: dict[str, int] = {}
        for node, sink in self._nodes.items():
            text = str(sink)
            occurrence = seen[text] = seen.get(text, -1) + 1
            if occurrence > 254:
                raise UsageError(f"stream {self._stream!r}: more than 255 equal sinks: {text}")
            number = "" if occurrence == 0 else f".{occurrence + 1}"
            partition = "" if self._partition is None else f".p{self._partition}"
            self._names[node] = f"{self._stream}{number}{partition}"
            digest = hashlib.sha256(text.encode()).digest()[:8]
            self._keys[node] = SINKS + digest + occurrence.to_bytes(1, "big")

    def _has(self, key: bytes) -> bool:
        return key in self._keys.values()

    def _due(self) -> list[Node]:
        now_us = self._clock.now_us()
        return [node for node, outlet in self._outlets.items() if (us := outlet.due_us()) is not None and us <= now_us]


def holds(group: Group[Any], partition: int) -> bool:
    """Return whether sinks hold results of a partition that are committed and not visible yet."""
    notes = group.state(partition, within=StateRange.of_prefix(SINKS))
    return any(_decode(note).held for note in notes.values())


def check_gone(stream: str, state: Mapping[bytes, bytes], *, drop: bool) -> None:
    """Look at state that nobody goes on with, for results of sinks; raises as `Sinks.check` does."""
    notes = [_decode(value) for key, value in state.items() if key.startswith(SINKS)]
    held = [note.text for note in notes if note.held]
    if held and not drop:
        raise UsageError(
            f"stream {stream!r}: results for sinks that are not described any more are not visible yet: "
            f"{'; '.join(held)}. Run the stream as it was until it has stopped by itself, which publishes them, or "
            'give them up with @app.stream(..., changed="drop")'
        )
    for note in notes:
        _log.info("stream %s: sink %s is described no more", stream, note.text)


def _rows(piece: Piece) -> Rows:
    objects = piece.values() if piece.has_values and (piece.type is None or issubclass(piece.type, dict)) else None
    return Rows(piece.carried, piece.columns, objects, NO_JSON if objects is not None else piece.json)


def _decode(value: bytes) -> Note:
    return msgspec.msgpack.decode(value, type=Note)
