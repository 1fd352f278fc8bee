"""Queue, stream or batch: the answer, its reasons, and what would change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from millstream.advise.facts import Approach, Facts, Order, Use
from millstream.advise.rules import LATER_S, RULES, Reason
from millstream.advise.wording import rate_text, time_text
from millstream.durations import span_text

SURE_POINTS: Final = 3
"""Ahead of the next approach by so many, an answer does not hang on one small reason."""

LATENCIES_S: Final = (1.0, 60.0, 3600.0, 86_400.0)
SERVICES_S: Final = (0.0001, 0.01, 0.1, 1.0, 10.0, 60.0)
RATES_PER_S: Final = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
"""What is tried in place of what is known, to find what would change the answer."""

USES: Final = {
    Use.EACH: "each record were work by itself (--use each)",
    Use.COMBINE: "results joined several records as they come (--use combine)",
    Use.WHOLE: "many records were looked at together (--use whole)",
}
ORDERS: Final = {
    Order.NONE: "no order had to be kept (--order none)",
    Order.KEY: "the order of each key had to be kept (--order key)",
    Order.ALL: "all records had to be handled in their order (--order all)",
}


class Change(msgspec.Struct, frozen=True):
    """Something that, if it were so, would make the answer another."""

    condition: str
    approach: Approach


class Choice(msgspec.Struct, frozen=True):
    """An answer with everything that led to it."""

    approach: Approach
    sure: bool
    """False: it hangs on a small reason, or on none; say more."""
    points: dict[Approach, int]
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]

    @property
    def against(self) -> tuple[Reason, ...]:
        """The reasons that speak for another approach, or against this one."""
        return tuple(reason for reason in self.reasons if (reason.approach == self.approach) == (reason.points < 0))

    @property
    def supporting(self) -> tuple[Reason, ...]:
        return tuple(reason for reason in self.reasons if reason not in self.against)


def choose(facts: Facts) -> Choice:
    """Return which approach fits, why, and what would change that."""
    approach, points, reasons = _judge(facts)
    others = [value for other, value in points.items() if other != approach]
    changes = tuple(
        Change(condition, other) for condition, changed in _others(facts) if (other := _judge(changed)[0]) != approach
    )
    return Choice(approach, points[approach] - max(others) >= SURE_POINTS, points, reasons, _nearest(changes))


def _judge(facts: Facts) -> tuple[Approach, dict[Approach, int], tuple[Reason, ...]]:
    reasons = tuple(reason for rule in RULES for reason in rule(facts))
    points = dict.fromkeys(Approach, 0)
    for reason in reasons:
        points[reason.approach] += reason.points
    # Of equals the one that is easier to begin with comes first: the order of the approaches.
    return max(Approach, key=lambda approach: points[approach]), points, reasons


def _others(facts: Facts) -> Iterator[tuple[str, Facts]]:
    """Yield what could be otherwise, one thing at a time, the nearest first."""

    def with_(**changed: Any) -> Facts:
        return msgspec.structs.replace(facts, **changed)

    for use, text in USES.items():
        if use is not facts.use:
            yield text, with_(use=use)
    for order, text in ORDERS.items():
        if order is not (facts.order or Order.NONE):
            yield text, with_(order=order)
    for value in _sorted_by_distance(LATENCIES_S, facts.latency_s):
        late = f"results could be {time_text(value)} late"
        soon = f"results were wanted within {time_text(value)}"
        text = late if value >= LATER_S else soon
        yield f"{text} (--latency {_option(value)})", with_(latency_s=value)
    for value in _sorted_by_distance(SERVICES_S, facts.service_s):
        text = f"work on one record took {time_text(value)} (--service {_option(value)})"
        yield text, with_(service_s=value)
    for value in _sorted_by_distance(RATES_PER_S, facts.rate_per_s):
        yield f"{rate_text(value)} arrived (--rate {value:g})", with_(rate_per_s=value)


def _nearest(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return, of each kind of change to each approach, the first: the nearest."""
    kept: dict[tuple[str, Approach], Change] = {}
    for change in changes:
        option = change.condition.rpartition("(")[2].split()[0]
        # Uses and orders are told each; of the values of a number the nearest says it all.
        kind = change.condition if option in ("--use", "--order") else option
        kept.setdefault((kind, change.approach), change)
    return tuple(kept.values())


def _sorted_by_distance(values: tuple[float, ...], known: float | None) -> list[float]:
    if known is None:
        return list(values)
    return sorted((value for value in values if value != known), key=lambda value: max(value / known, known / value))


def _option(seconds: float) -> str:
    return span_text(round(seconds * 1e6))
