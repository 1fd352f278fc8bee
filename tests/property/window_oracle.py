"""Windows by brute force: each record by itself, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from millstream.stream.windows import GlobalWindow, Hopping, Session, Sliding, Tumbling, Window


class Row(NamedTuple):
    """A record."""

    partition: int
    time: int
    key: str | None
    n: int | None
    x: float | None


class Placed(NamedTuple):
    """A record with the watermark of its partition just before it."""

    row: Row
    before: int | None


class Group(NamedTuple):
    key: Any
    start: int
    end: int
    turn: int = 0
    """Of several results of the same bounds, as blocks of records can have."""


def numbered(group: Group, found: Container[Group]) -> Group:
    """Return a group that is not among those found."""
    while group in found:
        group = group._replace(turn=group.turn + 1)
    return group


def placed(rows: Sequence[Row], disorder: int = 0) -> list[Placed]:
    """Return records with the newest time before them in their partition, less the disorder that is expected."""
    newest: dict[int, int] = {}
    made = []
    for row in rows:
        before = newest.get(row.partition)
        made.append(Placed(row, None if before is None else before - disorder))
        newest[row.partition] = max(newest.get(row.partition, row.time), row.time)
    return made


def windows(
    window: Window, lateness: int, records: Sequence[Placed], keyed: bool
) -> tuple[dict[Group, list[Row]], int]:
    """Return the records of each window in the order of time and arrival, and how many were late."""
    match window:
        case Tumbling():
            found, late = _overlapping(window.size_us, window.size_us, lateness, records, keyed)
        case Hopping():
            found, late = _overlapping(window.size_us, window.advance_us, lateness, records, keyed)
        case Sliding():
            found, late = _sliding(window.size_us, lateness, records, keyed)
        case Session():
            found, late = _sessions(window, lateness, records, keyed)
        case GlobalWindow():
            found, late = _global(window, lateness, records, keyed), 0
    return {group: sorted(rows, key=order) for group, rows in found.items()}, late


def _overlapping(
    size: int, advance: int, lateness: int, records: Sequence[Placed], keyed: bool
) -> tuple[dict[Group, list[Row]], int]:
    found: dict[Group, list[Row]] = {}
    late = 0
    for row, before in records:
        starts = [s for s in _starts(row.time, size, advance) if before is None or s + size + lateness > before]
        late += not starts
        for start in starts:
            found.setdefault(Group(row.key if keyed else None, start, start + size), []).append(row)
    return found, late


def _starts(time: int, size: int, advance: int) -> Iterator[int]:
    start = time // advance * advance
    while start > time - size:
        yield start
        start -= advance


def _sliding(size: int, lateness: int, records: Sequence[Placed], keyed: bool) -> tuple[dict[Group, list[Row]], int]:
    kept = [row for row, before in records if before is None or row.time + 1 + lateness > before]
    found: dict[Group, list[Row]] = {}
    for row in kept:
        key = row.key if keyed else None
        group = Group(key, row.time - size, row.time)
        found[group] = [r for r in kept if (not keyed or r.key == row.key) and row.time - size < r.time <= row.time]
    return found, len(records) - len(kept)


def _sessions(
    window: Session, lateness: int, records: Sequence[Placed], keyed: bool
) -> tuple[dict[Group, list[Row]], int]:
    slack = window.slack_us + lateness
    kept = [row for row, before in records if before is None or row.time + slack >= before]
    found: dict[Group, list[Row]] = {}
    for key in {row.key if keyed else None for row in kept}:
        session: list[Row] = []
        for row in sorted((r for r in kept if not keyed or r.key == key), key=lambda r: r.time):
            if session and row.time - session[-1].time >= window.gap_us:
                found[Group(key, session[0].time, session[-1].time + window.gap_us)] = session
                session = []
            session.append(row)
        found[Group(key, session[0].time, session[-1].time + window.gap_us)] = session
    return found, len(records) - len(kept)


def _global(window: GlobalWindow, lateness: int, records: Sequence[Placed], keyed: bool) -> dict[Group, list[Row]]:
    found: dict[Group, list[Row]] = {}
    keys = {row.key if keyed else None for row, _ in records}
    for key in keys:
        mine = [(row, before) for row, before in records if not keyed or row.key == key]
        if window.records is not None:
            for end in range(window.records, len(mine) + 1, window.records):
                rows = [row for row, _ in mine[:end]]
                group = Group(key, min(r.time for r in rows), max(r.time for r in rows) + 1)
                found[numbered(group, found)] = rows
            continue
        period = window.period_us
        assert period is not None
        ends = []
        for row, before in mine:
            end = row.time // period * period + period
            if before is not None:
                end = max(end, (before - lateness) // period * period + period)
            ends.append(end)
        for end in sorted(set(ends)):
            rows = [row for (row, _), own in zip(mine, ends, strict=True) if own <= end]
            found[Group(key, min(r.time for r in rows), end)] = rows
    return found


def order(row: Row) -> tuple[Any, ...]:
    """Return the order of a window's records; those that are equal stay as they came."""
    return row.time, row.key is None, row.key or ""


# --- aggregates -------------------------------------------------------------------------------------------------------


def total(values: Sequence[float]) -> float:
    if not all(map(math.isfinite, values)):
        return sum(value for value in values if not math.isfinite(value))
    exact = sum(map(Fraction, values))
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def quantile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values, key=lambda value: (math.isnan(value), value))
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    below, above = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
    return below if place == low else below + (above - below) * (place - low)


def deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    if not all(map(math.isfinite, values)):
        return math.nan
    mean = sum(map(Fraction, values)) / len(values)
    variance = sum((Fraction(value) - mean) ** 2 for value in values) / (len(values) - 1)
    try:
        return math.sqrt(variance)
    except OverflowError:
        return math.inf


def largest(values: Sequence[float], choose: Callable[..., float]) -> float | None:
    numbers = [value for value in values if not math.isnan(value)]
    return choose(numbers) if numbers else (values[0] if values else None)


def compared(rows: Sequence[Row], sign: int) -> int | None:
    """Return n of the first record with the largest (sign 1) or smallest (-1) x."""
    rows = [row for row in rows if row.x is not None and not math.isnan(row.x)]
    return max(rows, key=lambda row: sign * (row.x or 0.0)).n if rows else None


def same(one: Any, other: Any) -> bool:
    """Return whether two results are equal; NaN is NaN, lists by their members."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        # Rounded once or twice: a few units in the last place.
        return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-15)
    return bool(one == other)
