"""The journal of keyed state against a dict: whatever changes, wherever it is stored and loaded again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream.stream.keyed.journal import KIND, VALUE_BYTES_MAX, Journal, joined

PREFIX = b"w1"
ENTRIES = PREFIX + b"v"
PLACES = [ENTRIES + b"\1%d" % number for number in range(12)]

values = st.one_of(st.none(), st.binary(max_size=3), st.just(b"x" * (VALUE_BYTES_MAX + 1)))
commits = st.tuples(st.dictionaries(st.sampled_from(PLACES), values, max_size=8), st.booleans())
"""What changes, and whether it is loaded anew afterwards."""


class Stored:
    """State as the log keeps it."""

    def __init__(self) -> None:
        self.state: dict[bytes, bytes] = {}

    def __call__(self, keys: Any = None, within: Any = None) -> dict[bytes, bytes]:
        return {key: self.state[key] for key in sorted(self.state) if within.first <= key < within.past}

    def commit(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    def rows(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.state.items() if key.startswith(PREFIX + KIND)}

    def entries(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.state.items() if key.startswith(ENTRIES)}


def opened(stored: Stored, bytes_max: int, few: int) -> Journal:
    journal = Journal(PREFIX, ENTRIES, bytes_max=bytes_max, few=few)
    journal.attach(stored)
    return journal


def seen(stored: Stored, journal: Journal) -> dict[bytes, bytes]:
    """Return the entries as a step finds them."""
    noted = journal.find(PLACES)
    return {place: value for place, value in {**stored.entries(), **noted}.items() if value is not None}


@given(
    history=st.lists(commits, max_size=40), bytes_max=st.sampled_from([0, 700, 3000]), few=st.sampled_from([0, 1, 4])
)
def test_every_place_has_its_newest_value_after_any_commit_and_restart(
    history: list[tuple[dict[bytes, bytes | None], bool]], bytes_max: int, few: int
) -> None:
    stored, model = Stored(), dict[bytes, bytes]()
    journal = opened(stored, bytes_max, few)
    for changed, again in history:
        stored.commit(journal.changes([*changed.items()]))
        for place, value in changed.items():
            model.pop(place, None) if value is None else model.__setitem__(place, value)
        if again:
            journal = opened(stored, bytes_max, few)
        assert seen(stored, journal) == model
        by_people = {**stored.entries(), **joined(stored.rows(), ENTRIES)}
        assert {place: value for place, value in by_people.items() if value is not None} == model


def test_what_is_noted_is_folded_in_order_of_the_keys_and_the_rows_deleted() -> None:
    stored = Stored()
    journal = opened(stored, 2000, 0)
    for number in range(300):
        places = [ENTRIES + b"\1%03d" % (number * 37 % 300 + add) for add in range(3)]
        changes = journal.changes([(place, b"%d" % number) for place in places])
        folded = [key for key, _ in changes if key.startswith(ENTRIES)]
        assert folded == sorted(folded)
        assert len(folded) <= 4
        stored.commit(changes)
        assert len(stored.rows()) < 20
    assert len(stored.entries()) > 250


def test_few_changes_and_very_many_are_written_to_their_places() -> None:
    stored = Stored()
    journal = opened(stored, 1 << 20, 4)
    stored.commit(journal.changes([(place, b"1") for place in PLACES[:4]]))
    assert not stored.rows()
    stored.commit(journal.changes([(ENTRIES + b"\1%05d" % number, b"1") for number in range(20_000)]))
    assert not stored.rows()
    stored.commit(journal.changes([(place, b"2") for place in PLACES]))
    assert len(stored.rows()) == 1
    stored.commit(journal.changes([(PLACES[0], b"3")]))
    assert len(stored.rows()) == 2, "a place that a row hides is noted again"
