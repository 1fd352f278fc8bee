"""Changes of some keys among many, one after another in a row each, until they are written where they belong.

Entries are stored in the order of their keys. A commit that changes a thousand of millions finds almost each on a page
of its own, and writes a thousand pages for what would fill four. So the changes of a commit are stored together, as one
row of a journal, and are in memory until they are folded: written to their places in order of the keys, a stretch of
them with each commit, so that many share a page.

(The scheme is that of a log-structured merge tree with a single level, O'Neil and others 1996.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from millstream.engines.values import StateRange
from millstream.stream.operators import StateReader, StateWrite

KIND: Final = b"j"
"""What rows are stored under, after the step's prefix; then 8 bytes of their number."""

MANY: Final = 10_000
"""Changes of a commit from which on they are written to their places at once: enough of them share a page."""

VALUE_BYTES_MAX: Final = 1024
"""A larger value fills a page to an eighth or more: it is not worth being written twice."""

ROW_BYTES_MAX: Final = 1024 * 1024
"""Of one row; what is more begins another."""

_ENTRY_BYTES: Final = 200
"""Of an entry in memory: its objects and its place in a table."""

_ROWS_DELETED: Final = 8
"""With each commit, for each that it writes."""

Changes = dict[bytes, bytes | None]
"""Values by where they are stored; None: deleted."""

_Row = list[tuple[bytes, bytes | None]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode


class Journal:
    """The changes of one step that are not yet in their places.

    Two generations: the young one takes what changes. When it is full and nothing else is left to fold, it becomes the
    old one. Of the old one a stretch is folded with each commit, then its rows are deleted, the oldest first, and then
    it is forgotten. Until then whatever changes of its keys goes to the journal again, so that a row that is still
    stored never hides something newer.

    Args:
        entries: What the places of entries begin with.
        bytes_max: Of a generation in memory, about.
        few: Changes of a commit up to which each is written to its place at once.
    """

    def __init__(self, prefix: bytes, entries: bytes, *, bytes_max: int, few: int) -> None:
        self._prefix = prefix + KIND
        self._entries = entries
        self._bytes_max = bytes_max
        self._few = few
        self._young: Changes = {}
        self._young_bytes = 0
        """Of its rows: what a key was before counts as well, as a restart reads it."""
        self._old: Changes = {}
        self._unfolded: list[bytes] = []
        """Places of the old generation that are not folded, in order from the last."""
        self._first = self._next = self._young_first = 0
        """Numbers of the first row that is stored, of the next one, and of the first one of the young generation."""

    @property
    def held_bytes(self) -> int:
        """Of memory, about."""
        return self._young_bytes + len(self._old) * _ENTRY_BYTES

    def attach(self, reader: StateReader) -> None:
        """Take over what was stored."""
        rows = reader(within=StateRange.of_prefix(self._prefix))
        if not rows:
            return
        for place, value in joined(rows, self._entries).items():
            self._young[place] = value
        self._young_bytes = sum(map(len, rows.values())) + len(self._young) * _ENTRY_BYTES
        numbers = [int.from_bytes(key[len(self._prefix) :], "big") for key in rows]
        self._first = self._young_first = min(numbers)
        self._next = max(numbers) + 1

    def find(self, places: Iterable[bytes]) -> Changes:
        """Return those of the places that the journal knows something of."""
        young, old = self._young, self._old
        if not young and not old:
            return {}
        return {
            place: young[place] if place in young else old[place] for place in places if place in young or place in old
        }

    def changes(self, changed: Sequence[StateWrite]) -> list[StateWrite]:
        """Return what is to be stored for what changed, and of what changed before.

        A thousand changes among five million keys: a row, and with it about two hundred pages of folding instead of a
        thousand pages.
        """
        noted, placed = self._apart(changed)
        rows = self._rows(noted)
        # More than came: the young generation must not grow while the old one is folded and its rows are deleted.
        folded = self._folded(max(self._few, len(changed) * 5 // 4 + 1), _ROWS_DELETED * max(1, len(rows)))
        return [*placed, *rows, *folded]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _apart(self, changed: Sequence[StateWrite]) -> tuple[list[StateWrite], list[StateWrite]]:
        """Return what goes to the journal, and what goes to its place."""
        young, old = self._young, self._old
        few_of_many = self._few < len(changed) <= MANY
        if not few_of_many and not young and not old:
            return [], [*changed]
        noted: list[StateWrite] = []
        placed: list[StateWrite] = []
        for change in changed:
            place, value = change
            small = few_of_many and (value is None or len(value) <= VALUE_BYTES_MAX)
            (noted if small or place in young or place in old else placed).append(change)
        return noted, placed

    def _rows(self, noted: Sequence[StateWrite]) -> list[StateWrite]:
        """Return the rows of some changes, and take these into the young generation."""
        writes: list[StateWrite] = []
        row: _Row = []
        row_bytes = 0
        skipped = len(self._entries)
        for place, value in noted:
            row.append((place[skipped:], value))
            row_bytes += len(place) + len(value or b"")
            if row_bytes >= ROW_BYTES_MAX:
                writes.append(self._row(row))
                self._young_bytes += row_bytes
                row, row_bytes = [], 0
        if row:
            writes.append(self._row(row))
        self._young.update(noted)
        self._young_bytes += row_bytes + len(noted) * _ENTRY_BYTES
        return writes

    def _row(self, row: _Row) -> StateWrite:
        key = self._key(self._next)
        self._next += 1
        return key, _encode(row)

    def _folded(self, count: int, rows: int) -> list[StateWrite]:
        """Return what is next to be written to its place, or deleted of the journal."""
        if not self._old:
            if self._young_bytes < self._bytes_max:
                return []
            self._old, self._young, self._young_bytes = self._young, {}, 0
            self._unfolded = sorted(self._old, reverse=True)
            self._young_first = self._next
        if self._unfolded:
            some = self._unfolded[-count:]
            del self._unfolded[-count:]
            # What changed again meanwhile is in a row of the young generation.
            return [(place, self._old[place]) for place in reversed(some) if place not in self._young]
        past = min(self._young_first, self._first + rows)
        writes: list[StateWrite] = [(self._key(number), None) for number in range(self._first, past)]
        self._first = past
        if past == self._young_first:
            self._old = {}
        return writes

    def _key(self, number: int) -> bytes:
        return self._prefix + number.to_bytes(8, "big")


def joined(rows: Mapping[bytes, bytes], entries: bytes) -> Changes:
    """Return the newest change of each place in some rows.

    Args:
        rows: By their keys.
        entries: What places begin with.
    """
    return {entries + rest: value for key in sorted(rows) for rest, value in _decode(rows[key])}
