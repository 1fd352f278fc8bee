"""What functions keep by key, for people: read from the log, without the program whose functions they are."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from millstream.engines.values import StateRange
from millstream.log.group import Group
from millstream.records import time_from_us
from millstream.stream.keyed.entry import Stored
from millstream.stream.keyed.journal import KIND, Changes, joined

Key = bytes | None

_ENTRIES: Final = b"v"
"""What `store.py` has them under, after the step's prefix; then 0 for null, or 1 and the key."""

_decoder: Final = msgspec.msgpack.Decoder(Stored)


class Kept(msgspec.Struct, frozen=True):
    """The state of one key."""

    key: Key
    state: Any
    """As plain data: what was a Struct is a dict. None: only timers are kept."""
    touched_us: int | None = None
    """The latest event time of the key, where its state has a time to live."""
    timers: dict[str, int] = {}
    """Event time by name."""
    clock_timers: dict[str, int] = {}
    """Wall-clock time by name."""

    def to_object(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "key": self.key,
            "state": self.state,
            "touched": None if self.touched_us is None else time_from_us(self.touched_us).isoformat(),
            "timers": {name: time_from_us(us).isoformat() for name, us in self.timers.items()},
            "clock_timers": {name: time_from_us(us).isoformat() for name, us in self.clock_timers.items()},
        }


def kept_of(group: Group[Any], partition: int, prefix: bytes, key: Key) -> Kept | None:
    """Return what a step keeps of a key; None: nothing.

    Args:
        prefix: Of the step's state.
    """
    place = prefix + _ENTRIES + (b"\0" if key is None else b"\1" + key)
    journal = _journal(group, partition, prefix)
    data = journal[place] if place in journal else group.state(partition, [place]).get(place)
    return None if data is None else _kept(key, data)


def some_kept(group: Group[Any], partition: int, prefix: bytes, keys_max: int) -> list[Kept]:
    """Return what a step keeps of its first keys, in order of their bytes."""
    journal = _journal(group, partition, prefix)
    gone = sum(data is None for data in journal.values())
    within = StateRange.of_prefix(prefix + _ENTRIES)
    found = group.state(partition, within=StateRange(within.first, within.past, keys_max + gone))
    there = sorted((place, data) for place, data in {**found, **journal}.items() if data is not None)
    return [_kept(_key(place[len(within.first) :]), data) for place, data in there[:keys_max]]


def _journal(group: Group[Any], partition: int, prefix: bytes) -> Changes:
    """Return what is not yet in its place."""
    return joined(group.state(partition, within=StateRange.of_prefix(prefix + KIND)), prefix + _ENTRIES)


def _key(place: bytes) -> Key:
    return None if place[:1] == b"\0" else place[1:]


def _kept(key: Key, data: bytes) -> Kept:
    row = _decoder.decode(data)
    state = msgspec.msgpack.decode(row.state)
    return Kept(key, state, row.touched_us, row.timers or {}, row.clock_timers or {})
