"""How many records a stream with state by key reads at once."""

from __future__ import annotations

from typing import Final

RECORDS_AT_FIRST: Final = 2_048
"""While it is not known how many keys come together."""

RECORDS_MIN: Final = 1_000
"""Fewer do not share what a micro-batch costs whatever its size."""

ASKED_SHARE: Final = 4
"""What a micro-batch asks for stays in memory until it is committed, while the next one is computed: it may be so
small a part of what steps may hold of their keys."""

RECORD_BYTES: Final = 500
"""Of a record at work, about: a Python value, its fields, what is made of it."""


class Fit:
    """As many records as ask for what fits into memory, learned from those read last.

    A million records of a thousand keys are read many thousands at a time; a million of a key each, a few thousand.

    Args:
        keyed: Whether a step keeps something by key; else there is no bound but `records_max`.
        memory_bytes: What all steps may hold of their keys.
    """

    def __init__(self, *, keyed: bool, memory_bytes: int, records_max: int) -> None:
        self._keyed = keyed
        self._aim_bytes = memory_bytes // ASKED_SHARE
        self._records_max = records_max
        self.records = min(RECORDS_AT_FIRST, records_max) if keyed else records_max
        """To read at once."""

    def note(self, records: int, asked_bytes: int) -> None:
        """Learn from a micro-batch.

        Args:
            records: Of it; 1 or more.
            asked_bytes: What it asked for and has to stay in memory.
        """
        if self._keyed:
            wanted = records * self._aim_bytes // (asked_bytes + records * RECORD_BYTES)
            self.records = max(min(RECORDS_MIN, self._records_max), min(wanted, 2 * self.records, self._records_max))
