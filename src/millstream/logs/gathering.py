"""Which events of several kinds came together within a time: in any order, or one after another.

A mark is one event of a key: when it was, and which of the conditions of the rule it meets, a bit each. What is kept of
them is bounded by the number of conditions, and enough for events that come in order of time: whatever comes next, what
it completes can be completed with what was kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

Mark = tuple[int, int]
"""When (us), and the conditions that are met."""

LATE: Final = 4
"""Times the number of conditions: the last so many marks are kept whatever they are good for, for events that come out
of order."""

WAYS_MAX: Final = 4
"""Chains of one length that are looked at within a moment."""

Chain = tuple[int, ...]
"""Places of marks, one for each of the first conditions."""


def gathered(marks: Sequence[Mark], at_us: int, least: int, within_us: int) -> tuple[int, int] | None:
    """Return when the shortest span began and ended in which so many conditions are met, with an event at a time.

    Args:
        marks: In any order; one is at `at_us`.
        least: Different conditions; one event may meet several.
    """
    near = sorted(mark for mark in marks if -within_us < mark[0] - at_us < within_us)
    for place in range(len(near) - 1, -1, -1):
        first_us, met = near[place][0], 0
        if first_us > at_us:
            continue
        for time_us, bits in near[place:]:
            if time_us - first_us >= within_us:
                break
            met |= bits
            if met.bit_count() >= least and time_us >= at_us:
                return first_us, time_us
    return None


def in_order(marks: Sequence[Mark], at_us: int, count: int, within_us: int) -> tuple[int, int] | None:
    """Return when a span began and ended in which an event of each condition came, in the order of the conditions.

    Events at one moment are in the order that is wanted. Each stands for one condition, whatever else it meets.

    Args:
        marks: In any order; one is at `at_us`.
        count: Of conditions.
    """
    near = [place for place, mark in enumerate(marks) if -within_us < mark[0] - at_us < within_us]
    for time_us, chains in _chains(marks, near, count):
        whole = chains[count]
        if whole and time_us - marks[whole[0]][0] < within_us:
            return marks[whole[0]][0], time_us
    return None


def kept(marks: Sequence[Mark], count: int, *, ordered: bool) -> tuple[Mark, ...]:
    """Return those marks that can be good for something, in the order in which they came."""
    late = range(max(0, len(marks) - LATE * count), len(marks))
    if len(late) == len(marks):
        return tuple(marks)
    useful = {*late, *(_of_chains(marks, count) if ordered else _newest(marks, count))}
    return tuple(marks[place] for place in sorted(useful))


def _newest(marks: Sequence[Mark], count: int) -> set[int]:
    """Return the places of the newest mark of each condition."""
    by_time = sorted(range(len(marks)), key=lambda place: marks[place][0])
    newest = {bit: place for place in by_time for bit in range(count) if marks[place][1] >> bit & 1}
    return set(newest.values())


def _of_chains(marks: Sequence[Mark], count: int) -> set[int]:
    """Return the places of the marks that make up the best beginning of each length."""
    best: list[tuple[int, ...]] = []
    for _, chains in _chains(marks, range(len(marks)), count):
        best = chains
    return {place for chain in best for place in chain}


def _chains(marks: Sequence[Mark], places: Sequence[int], count: int) -> Iterator[tuple[int, list[Chain]]]:
    """Yield, at each moment, of each number of first conditions the places of a chain that meets them one by one.

    Of all that there are it is one that begins latest, which is then good for longest. Nothing for those without one.
    """
    best: list[Chain] = [()] * (count + 1)
    ordered = sorted(places, key=lambda place: marks[place][0])
    for time_us, group in itertools.groupby(ordered, key=lambda place: marks[place][0]):
        best = _after(marks, best, list(group))
        yield time_us, best


def _after(marks: Sequence[Mark], best: Sequence[Chain], moment: Sequence[int]) -> list[Chain]:
    """Return the best chains after the events of a moment, which may be in any order."""
    # An event that meets several conditions stands for one: a chain without it may be good for more than a later one.
    several = {place for place in moment if marks[place][1].bit_count() > 1}
    ways: list[list[Chain]] = [[()], *([chain] if chain else [] for chain in best[1:])]

    def lengthen(place: int) -> bool:
        changed = False
        for length in range(len(ways) - 1, 0, -1):
            if marks[place][1] >> (length - 1) & 1:
                longer = [(*before, place) for before in ways[length - 1] if place not in before]
                changed |= any([_add(marks, ways[length], chain, several) for chain in longer])  # noqa: C419 - all are
        return changed

    for _ in best[1:]:  # each time round, a chain that is not yet as long as can be becomes longer
        if not any([lengthen(place) for place in moment]):  # noqa: C419 - all are
            break
    return [(), *(max(some, key=lambda chain: marks[chain[0]][0], default=()) for some in ways[1:])]


def _add(marks: Sequence[Mark], ways: list[Chain], chain: Chain, several: set[int]) -> bool:
    """Add a chain to others of its length, unless one is as good for all that may come; return whether it was added."""
    begun_us, spent = marks[chain[0]][0], several.intersection(chain)
    if any(marks[way[0]][0] >= begun_us and several.intersection(way) <= spent for way in ways):
        return False
    ways[:] = [way for way in ways if marks[way[0]][0] > begun_us or not spent <= several.intersection(way)]
    if len(ways) >= WAYS_MAX:
        first = min(ways, key=lambda way: marks[way[0]][0])
        if marks[first[0]][0] >= begun_us:
            return False
        ways.remove(first)
    ways.append(chain)
    return True
