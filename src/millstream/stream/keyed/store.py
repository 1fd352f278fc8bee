"""State by key, larger than memory: what was used lately is held, the rest is read when a record asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec

from millstream.log.rows import array_header
from millstream.stream.keyed.coding import StateCoding
from millstream.stream.keyed.entry import MEMORY, NEVER_US, Entry, Memory, Stored
from millstream.stream.keyed.journal import Journal
from millstream.stream.operators import StateReader, StateWrite

KIND: Final = b"v"
"""What entries are stored under, after the step's prefix."""
_NIL: Final = b"\xc0"
_OVERHEAD_BYTES: Final = 400
"""Of an entry in memory: the objects around it and its places in two tables."""

_JOURNAL_SHARE: Final = 4
"""Each of the two generations of the journal has a quarter of the memory, entries what these do not use."""

_EXPANSION: Final = 4
"""How much larger Python objects are than their msgpack, about."""

_encode = msgspec.msgpack.Encoder().encode
_stored = msgspec.msgpack.Decoder(list[Stored])

Key = bytes | None


class KeyedState:
    """Entries by key. Stored under `v` and the key: 0 and nothing for null, 1 and the bytes; or in the journal.

    Memory: two generations. What a micro-batch asks for moves to the young one; when that is full, the old one is
    forgotten, and the young one becomes old. Nothing that has changed since the last but one call of `changes` is
    forgotten: what the last one returned may still be on its way into the log.
    """

    def __init__(self, prefix: bytes, coding: StateCoding, memory: Memory = MEMORY) -> None:
        self._prefix = prefix + KIND
        self._coding = coding
        self._bytes_max = memory.state_bytes
        self._journal = Journal(
            prefix, self._prefix, bytes_max=memory.state_bytes // _JOURNAL_SHARE, few=memory.few_keys
        )
        self._reader: StateReader | None = None
        self._young: dict[Key, Entry] = {}
        self._old: dict[Key, Entry] = {}
        self._dirty: set[Key] = set()
        self._absent: set[Key] = set()
        """Keys in memory that are not stored, as far as is known."""
        self._seen = 0
        self._seen_bytes = 0
        self._asked = 0
        """Keys that were changed between the last two calls of `changes`."""

    def attach(self, reader: StateReader) -> None:
        self._reader = reader
        self._journal.attach(reader)

    @property
    def held(self) -> int:
        """The number of keys in memory."""
        return len(self._young) + len(self._old)

    @property
    def held_bytes(self) -> int:
        """Of memory, about."""
        return self.held * self._entry_bytes() + self._journal.held_bytes

    @property
    def asked_bytes(self) -> int:
        """Of memory, about: entries that the last `changes` returned, and until a commit cannot be forgotten."""
        return self._asked * self._entry_bytes()

    def fetch(self, keys: Iterable[Key], *, change: bool = True) -> dict[Key, Entry]:
        """Return a table in which each of the keys has its entry, read in one call where it is not in memory.

        Args:
            change: They will be changed, and must be stored.
        """
        wanted = set(keys)
        if change:
            self._dirty |= wanted
        if missing := wanted - self._young.keys():
            for key in missing & self._old.keys():
                self._young[key] = self._old.pop(key)
                missing.discard(key)
            if missing:
                self._read(missing)
        return self._young

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call; what was asked for before may then leave memory."""
        young = self._young
        self._asked = len(self._dirty)
        kept = [
            key for key in self._dirty if (entry := young[key]).state is not None or entry.timers or entry.clock_timers
        ]
        gone = self._dirty.difference(kept)
        self._dirty = set()
        self._absent.difference_update(kept)
        writes: list[StateWrite] = [(stored, None) for stored in self._stored_keys(gone - self._absent)]
        self._absent |= gone
        writes += zip(self._stored_keys(kept), self._encoded([young[key] for key in kept], kept), strict=True)
        self._forget()
        return self._journal.changes(writes)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _read(self, missing: set[Key]) -> None:
        by_stored = self._stored_keys(missing)
        noted = self._journal.find(by_stored)
        found = {stored: data for stored, data in noted.items() if data is not None}
        others = [stored for stored in by_stored if stored not in noted]
        if others and self._reader is not None:
            found.update(self._reader(others))
        keys = [by_stored[stored] for stored in found]
        data = list(found.values())
        self._note(data)
        self._young.update(zip(keys, self._decoded(data, keys), strict=True))
        absent = missing.difference(keys)
        self._young.update({key: Entry() for key in absent})
        self._absent |= absent

    def _decoded(self, data: Sequence[bytes], keys: Sequence[Key]) -> list[Entry]:
        rows = _stored.decode(b"".join((array_header(len(data)), *data)))
        there = [place for place, row in enumerate(rows) if bytes(row.state) != _NIL]
        states = self._coding.stored([bytes(rows[place].state) for place in there], [keys[place] for place in there])
        entries = [
            Entry(None, row.touched_us, row.timers, row.clock_timers, row.woken_us, row.clock_woken_us) for row in rows
        ]
        for place, state in zip(there, states, strict=True):
            entries[place].state = state
        return entries

    def _encoded(self, entries: Sequence[Entry], keys: Sequence[Key]) -> list[bytes]:
        there = [place for place, entry in enumerate(entries) if entry.state is not None]
        states = [_NIL] * len(entries)
        encoded = self._coding.encode([entries[place].state for place in there], [keys[place] for place in there])
        for place, data in zip(there, encoded, strict=True):
            states[place] = data
        rows = [_row(entry, state) for entry, state in zip(entries, states, strict=True)]
        self._note(rows)
        return rows

    def _forget(self) -> None:
        if len(self._young) * self._entry_bytes() * 2 > self._bytes_max - self._journal.held_bytes:
            self._absent.difference_update(self._old)
            self._old, self._young = self._young, {}

    def _note(self, data: Sequence[bytes]) -> None:
        """Learn how large entries are, from some."""
        self._seen += len(some := list(islice(data, 1000)))
        self._seen_bytes += sum(map(len, some))

    def _entry_bytes(self) -> int:
        return _OVERHEAD_BYTES + (_EXPANSION * self._seen_bytes // self._seen if self._seen else 0)

    def _stored_keys(self, keys: Collection[Key]) -> dict[bytes, Key]:
        """Return keys by what they are stored under, in order."""
        start = self._prefix + b"\1"
        return {self._prefix + b"\0" if key is None else start + key: key for key in keys}


def _row(entry: Entry, state: bytes) -> bytes:
    if entry.touched_us is None and not entry.timers and not entry.clock_timers:
        return b"\x91" + state
    row = [msgspec.Raw(state), entry.touched_us, entry.timers or None, entry.clock_timers or None, entry.woken_us]
    if entry.clock_woken_us != NEVER_US:
        row.append(entry.clock_woken_us)
    return _encode(row)
