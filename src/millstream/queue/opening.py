"""From leases to what a worker handles: records that are not for the handler are sorted out first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.engines.fetching import Fetched
from millstream.engines.handing import BUSY, KEPT, Tally, TallyOrder
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.log.addressed import is_for
from millstream.log.batches import BadRecord
from millstream.log.dead_letter import Failure
from millstream.log.delivery import DUE, due_us
from millstream.queue.cancelling import Cancelled, cancelled
from millstream.queue.ended import WORKER_DIED, Ended
from millstream.queue.options import Mode
from millstream.queue.part import Part, Run
from millstream.records import Record

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

SPARSE: Final = 8
"""Records of a call are read in one piece where that is not more than so many times their number."""

Found = Record[Any] | BadRecord


def open_leases(crew: Crew, fetched: Fetched, worker: str) -> Run:
    """Return what is to be handled of some leases; settles at once what is not for the handler.

    That is: what the log no longer has, what cannot be decoded, what killed its workers too often, what is not due yet,
    what was cancelled, and what was sent back, or replayed, for another group.
    """
    leases = fetched.leases
    tallies = _tallies(crew, leases)
    parts: list[Part] = []
    ended: list[Ended] = []
    in_order = crew.feed.sorter is not None
    flagged = _flagged(crew, leases) if fetched.flagged else {}
    for place, (lease, records) in enumerate(zip(leases, _read(crew, fetched), strict=True)):
        reasons = flagged.get(lease.partition, {})
        made = _open(crew, lease, records, reasons, worker, ended, place if in_order else None)
        for part in made:
            tally = tallies.get(lease.lease_id)
            if tally is not None:
                part.cell = tally.cell
            part.flags = BUSY if crew.hook is None else BUSY | KEPT
        parts += made
    if ended:
        crew.settle(ended, worker)
    return Run(parts, list(tallies.values()))


def _tallies(crew: Crew, leases: Sequence[Lease]) -> dict[int, Tally]:
    """Open a tally for each lease, before anything is read: decoding could be what kills."""
    order = TallyOrder.WORK_UP
    if crew.at_once:
        order = TallyOrder.WORK_ALL
    elif crew.feed.sorter is not None:
        order = TallyOrder.WORK_PLACE
    elif crew.options.mode == Mode.LIFO:
        order = TallyOrder.WORK_DOWN
    found: dict[int, Tally] = {}
    for lease in leases:
        if lease.lease_id not in found:
            tally = crew.group.tally(lease, order)
            if tally is not None:
                found[lease.lease_id] = tally
    return found


def _read(crew: Crew, fetched: Fetched) -> list[Sequence[Found]]:
    """Return the records of each lease, with few reads where the leases are of single records close together."""
    group, leases = crew.group, fetched.leases
    if len(leases) == 1:
        return [group.fetched_records(fetched)]
    spans: dict[int, tuple[int, int, int]] = {}
    for lease in leases:
        low, high, count = spans.get(lease.partition, (lease.start, lease.end, 0))
        spans[lease.partition] = (min(low, lease.start), max(high, lease.end), count + lease.end - lease.start)
    at_once: dict[int, dict[int, Found]] = {}
    for partition, (low, high, count) in spans.items():
        if len(leases) > 1 and high - low <= SPARSE * count:
            at_once[partition] = {_record(found).offset: found for found in group.peek(partition, low, high)}
    return [
        [there[offset] for offset in range(lease.start, lease.end) if offset in there]
        if (there := at_once.get(lease.partition)) is not None
        else group.records(lease)
        for lease in leases
    ]


def _record(found: Found) -> Record[Any]:
    return found.record if isinstance(found, BadRecord) else found


def _flagged(crew: Crew, leases: Sequence[Lease]) -> dict[int, dict[int, str]]:
    """Return by partition which records were cancelled, and why; asked once, as mostly none was."""
    leased: dict[int, list[int]] = {}
    for lease in leases:
        leased.setdefault(lease.partition, []).extend(range(lease.start, lease.end))
    return {partition: cancelled(crew.group, partition, offsets) for partition, offsets in leased.items()}


def _open(
    crew: Crew,
    lease: Lease,
    records: Sequence[Found],
    reasons: dict[int, str],
    worker: str,
    ended: list[Ended],
    place: int | None,
) -> list[Part]:
    down = crew.options.mode == Mode.LIFO
    given_up = lease.attempt > crew.retry.attempts_max
    if not given_up and not reasons and not any(isinstance(found, BadRecord) or found.headers for found in records):
        return _parts(crew, lease, lease.start, lease.end, records, down, place, worker, ended)
    parts: list[Part] = []
    start = lease.start
    run: list[Record[Any]] = []
    for at, found in enumerate(records):
        end = lease.end if at == len(records) - 1 else _record(found).offset + 1
        verdict = _verdict(crew, lease, found, reasons, given_up)
        if verdict is None:
            assert not isinstance(found, BadRecord)
            run.append(found)
            continue
        own = max(start, _record(found).offset)
        if run:
            parts += _parts(crew, lease, start, own, run, down, place, worker, ended)
            run = []
            start = own
        outcome, failure, due = verdict
        settlement = Settlement(lease, start, end, outcome, due)
        ended.append(Ended(settlement, [found]) if failure is None else crew.dead(settlement, found, failure, worker))
        start = end
    if run or start < lease.end:
        parts += _parts(crew, lease, start, lease.end, run, down, place, worker, ended)
    return parts[::-1] if down else parts


def _parts(
    crew: Crew,
    lease: Lease,
    start: int,
    end: int,
    records: Sequence[Any],
    down: bool,
    place: int | None,
    worker: str,
    ended: list[Ended],
) -> list[Part]:
    if not records:
        if start < end:
            # Retention deleted them.
            ended.append(Ended(Settlement(lease, start, end, Outcome.ACK)))
        return []
    key = b""
    if crew.feed.sorter is not None and crew.options.parallel == 1:
        try:
            key = crew.feed.sorter.key(records[0])
        except Exception as error:  # noqa: BLE001 - a function of the user's; its record fails, and the others go on
            ended.append(crew.failed(lease, start, end, records[0], error, worker))
            return []
    return [Part(lease, start, end, records[::-1] if down else records, down=down, place=place, key=key)]


_Verdict = tuple[Outcome, Failure | None, int]


def _verdict(crew: Crew, lease: Lease, found: Found, reasons: dict[int, str], given_up: bool) -> _Verdict | None:
    """Return outcome, reason and due time of a record that is not for the handler."""
    if isinstance(found, BadRecord):
        return Outcome.REJECT, Failure("millstream.errors.SchemaError", found.error, ""), 0
    if found.offset in reasons:
        return Outcome.REJECT, Failure(Cancelled.__name__, reasons[found.offset], ""), 0
    if given_up:
        return Outcome.REJECT, Failure(WORKER_DIED, f"not finished in {lease.attempt - 1} deliveries", ""), 0
    if not is_for(found.headers, crew.name):
        return Outcome.ACK, None, 0
    if DUE in found.headers and (due := due_us(found.headers)) > crew.clock.now_us():
        return Outcome.RELEASE, None, due
    return None
