"""Why one approach fits and another does not: one function a reason, each looks at one thing.

A reason gives points to an approach, or takes them. What is done with the records weighs most (4): it is what the three
approaches are made for. A property that an approach cannot have costs as much. What merely suits it counts 1 or 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from millstream.advise.facts import Approach, Facts, Order, Use
from millstream.advise.wording import bytes_text, number_text, percent_text, rate_text, time_text

QUEUE, STREAM, BATCH = Approach.QUEUE, Approach.STREAM, Approach.BATCH

AT_ONCE_S: Final = 60.0
"""Results wanted sooner than this are not a batch's: a run starts, reads and ends, and wants many records for that."""

LATER_S: Final = 3600.0
"""Results that may be as late as this need nobody who waits for records."""

SLOW_S: Final = 0.05
"""Work that takes longer is not computing on the record: it waits for a network, a disk, a program."""

QUICK_S: Final = 0.0002
"""Work that takes less costs less than handing the record over by itself."""

FAST_PER_S: Final = 5_000.0
"""From about here on, records one by one are noticed on one processor; columns are not."""

LARGE_BYTES: Final = 100_000.0
"""Records of this size are read for their own sake, one by one."""

LOAD_RECORDS: Final = 1000.0
"""Records of one append: files and exports come like this, events do not."""

BUSY: Final = 0.8
"""A worker that has to be busy for more of its time than this is not enough."""


class Reason(msgspec.Struct, frozen=True):
    """Points for an approach, or against it where negative, and why."""

    approach: Approach
    points: int
    text: str


Rule = Callable[[Facts], Iterator[Reason]]


def use(facts: Facts) -> Iterator[Reason]:
    match facts.use:
        case Use.EACH:
            yield Reason(QUEUE, 4, "each record is work by itself: it is done, fails and is tried again alone")
        case Use.COMBINE:
            yield Reason(STREAM, 4, "results join several records as they come: windows, joins and state are kept")
        case Use.WHOLE:
            yield Reason(BATCH, 4, "many records are looked at together: a run gets them as one frame")
        case None:
            pass


def latency(facts: Facts) -> Iterator[Reason]:
    if facts.latency_s is None:
        return
    wanted = time_text(facts.latency_s)
    if facts.latency_s < AT_ONCE_S:
        yield Reason(BATCH, -4, f"results are wanted within {wanted}; runs are for minutes and more")
        if facts.use is not Use.EACH:
            yield Reason(STREAM, 1, f"results within {wanted} have to be ready, not begun when they are asked for")
    elif facts.latency_s >= LATER_S:
        points = 1 if facts.use is Use.EACH else 5
        yield Reason(BATCH, points, f"results may be {wanted} late: a run now and then is simplest to watch and repeat")


def service(facts: Facts) -> Iterator[Reason]:
    if facts.service_s is None:
        return
    takes = time_text(facts.service_s)
    if facts.service_s >= SLOW_S:
        yield Reason(QUEUE, 2, f"work on one record takes {takes}: several workers do it side by side")
        offered = facts.offered
        if offered is not None and offered > BUSY:
            text = f"one after another is too slow: {number_text(offered)} workers are busy with it on average"
            yield Reason(STREAM, -4, text)
        else:
            yield Reason(STREAM, -2, f"one record after another, none could follow within {takes}")
    elif facts.service_s <= QUICK_S and (facts.rate_per_s or 0) >= FAST_PER_S:
        text = f"handing over {rate_text(facts.rate_per_s or 0)} one by one costs more than the {takes} of work"
        yield Reason(QUEUE, -2, text)


def rate(facts: Facts) -> Iterator[Reason]:
    if facts.rate_per_s is not None and facts.rate_per_s >= FAST_PER_S and (facts.service_s or 0) < SLOW_S:
        text = f"{rate_text(facts.rate_per_s)} arrive: as columns they cost little, one by one much"
        yield Reason(STREAM, 1, text)
        yield Reason(BATCH, 1, text)


def order(facts: Facts) -> Iterator[Reason]:
    if facts.order is Order.ALL:
        yield Reason(STREAM, 2, "all records in their order: a stream reads a partition strictly in it")
        yield Reason(QUEUE, -3, "all records in their order: a queue keeps it with one worker and no retries only")
    elif facts.order is Order.KEY:
        yield Reason(STREAM, 1, "the order of each key is that of its partition")
        share, offered = facts.key_share, facts.offered
        if share is not None and offered is not None and share * offered > BUSY:
            text = (
                f"the commonest key has {percent_text(share)} of the records, one after another: that alone is "
                f"{number_text(share * offered)} of a worker's time"
            )
            yield Reason(QUEUE, -1, text)


def waves(facts: Facts) -> Iterator[Reason]:
    if facts.peak_ratio is None or facts.dispersion is None or facts.window_s is None:
        return
    if facts.dispersion > 2 and facts.peak_ratio > 3 and facts.use is Use.EACH:
        text = (
            f"they come in waves, {number_text(facts.peak_ratio)} times the mean within {time_text(facts.window_s)} "
            f"(index of dispersion {number_text(facts.dispersion)}): a queue takes them and works them off"
        )
        yield Reason(QUEUE, 1, text)


def size(facts: Facts) -> Iterator[Reason]:
    if facts.record_bytes is not None and facts.record_bytes >= LARGE_BYTES:
        text = f"a record has {bytes_text(facts.record_bytes)}: it is read for its own sake"
        yield Reason(QUEUE, 1, text)


def loads(facts: Facts) -> Iterator[Reason]:
    if facts.records_per_append is not None and facts.records_per_append >= LOAD_RECORDS:
        text = f"{number_text(facts.records_per_append)} records come at once, as files and exports do"
        yield Reason(BATCH, 1, text)


def shape(facts: Facts) -> Iterator[Reason]:
    if facts.raw:
        yield Reason(QUEUE, 1, "its values are bytes: a function can open them, windows and frames cannot")
    elif facts.time_field is not None:
        yield Reason(STREAM, 1, f"its field {facts.time_field} says when things happened: windows go by that")


def readers(facts: Facts) -> Iterator[Reason]:
    for reader in facts.readers:
        behind = f", {number_text(reader.lag)} records behind" if reader.lag else ""
        yield Reason(reader.approach, 1, f"{reader.name} reads it as a {reader.approach} already{behind}")


RULES: Final[tuple[Rule, ...]] = (use, latency, service, rate, order, waves, size, loads, shape, readers)
"""In the order in which reasons are told."""
