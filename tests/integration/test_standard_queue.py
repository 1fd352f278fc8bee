"""Queue, LifoQueue, PriorityQueue beyond the standard library: on disk, with types, leases, many at once."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from millstream import (
    App,
    ClosedError,
    Empty,
    Full,
    LeaseLostError,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    UsageError,
)
from millstream.engines.protocol import Outcome, Settlement
from millstream.log.log import Log

Open = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open queues on the test's file; all are closed at the end."""
    made: list[Queue[Any]] = []

    def open_one(kind: type[Queue[Any]] = Queue, **arguments: Any) -> Queue[Any]:
        made.append(kind(path, durability="relaxed", **arguments))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


def all_of(q: Queue[Any]) -> list[Any]:
    items = []
    while not q.empty():
        items.append(q.get())
    return items


def until(condition: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "expected"), [(Queue, [2, 1, 3]), (LifoQueue, [3, 1, 2]), (PriorityQueue, [1, 2, 3])])
def test_items_are_there_after_reopening(path: Path, kind: type[Queue[int]], expected: list[int]) -> None:
    with kind(path) as q:
        for item in (9, 2, 1, 3):
            q.put(item)
        assert 9 in [q.get() for _ in range(1 if kind is Queue else 4)]
        if kind is not Queue:
            q.put_many([2, 1, 3])
    with kind(path) as q:
        assert q.qsize() == 3
        assert all_of(q) == expected
    with kind(path) as q:
        assert q.empty()


def test_items_that_were_taken_in_a_run_and_not_handed_out_are_there_after_reopening(path: Path) -> None:
    with Queue[int](path) as q:
        q.put_many(range(1000))
        first = [q.get() for _ in range(300)]  # fast enough for runs
        assert q.qsize() == 700
    with Queue[int](path) as q:
        assert first + all_of(q) == list(range(1000))


def test_unfinished_tasks_are_counted_across_reopening(path: Path) -> None:
    with Queue[int](path) as q:
        q.put_many([1, 2, 3])
        q.get()
        q.task_done()
    with Queue[int](path) as q:
        assert q.unfinished_tasks == 2
        q.task_done()
        q.task_done()
        q.join()
        with pytest.raises(ValueError, match="too many"):
            q.task_done()


def test_shutdown_ends_with_the_program(path: Path) -> None:
    with Queue[int](path) as q:
        q.put(1)
        q.shutdown()
        with pytest.raises(ShutDown):
            q.put(2)
    with Queue[int](path) as q:
        assert not q.is_shutdown
        q.put(2)
        assert all_of(q) == [1, 2]


def test_closed_queue_says_so(path: Path) -> None:
    q = Queue[int](path)
    q.put(1)
    q.close()
    q.close()
    for call in (q.get, q.qsize, lambda: q.put(1)):
        with pytest.raises(ClosedError):
            call()


def test_what_everybody_took_is_deleted_from_the_file(path: Path) -> None:
    with Queue[bytes](path) as q:
        q.put_many([b"x" * 1000] * 5000)
        for _ in range(5000):
            q.get()
    with App(str(path)) as app:
        assert app.topic("queue").info().records == 0


def test_what_was_taken_from_a_topic_that_was_there_before_stays_in_it(path: Path) -> None:
    with App(str(path)) as app:
        app.topic("events").extend([b"\x01", b"\x02"])
    with Queue[int](path, name="events") as q:
        q.put(3)
        assert all_of(q) == [1, 2, 3]
    with App(str(path)) as app:
        assert app.topic("events").info().records == 3


# --- names ------------------------------------------------------------------------------------------------------------


def test_queues_of_one_file_are_told_apart_by_name(opened: Open) -> None:
    a, b, also_a = opened(name="a"), opened(name="b"), opened(name="a")
    a.put(1)
    b.put(2)
    assert also_a.get() == 1
    assert b.get() == 2
    assert a.empty()


def test_each_class_has_a_name_of_its_own_in_a_file(opened: Open) -> None:
    queues = [opened(kind) for kind in (Queue, LifoQueue, PriorityQueue)]
    for number, each in enumerate(queues):
        each.put(number)
    assert [each.get_nowait() for each in queues] == [0, 1, 2]


def test_queue_is_not_opened_as_one_of_another_class(path: Path, opened: Open) -> None:
    opened(name="a").put(1)
    with pytest.raises(UsageError, match="is a Queue: open it as one"):
        LifoQueue(path, name="a")
    with pytest.raises(UsageError, match="is a Queue: open it as one"):
        PriorityQueue(path, name="a")
    assert opened(name="a").get() == 1


def test_pickled_queue_is_the_same_file_opened_again(opened: Open) -> None:
    q = opened(PriorityQueue, name="a", maxsize=3)
    q.put((1, "x"))
    with pickle.loads(pickle.dumps(q)) as other:
        assert type(other) is PriorityQueue
        assert other.maxsize == 3
        assert other.get() == (1, "x")
    assert q.empty()


# --- items ------------------------------------------------------------------------------------------------------------

DATA: list[Any] = [
    {"nested": [(1, {"deep": ({1, 2}, b"x")})], (1, 2): "key", None: 1.5},
    [2**200, -(2**200), "\ud800", {"a": 2**64}],
    datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - naive ones are data too
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    date(2026, 2, 28),
    clock_time(1, 2, 3, 4),
    timedelta(days=-1, microseconds=7),
    Decimal("1.10"),
    UUID(int=7),
    frozenset({(1, 2)}),
    3 + 4j,
    bytearray(b"abc"),
]


@pytest.mark.parametrize("item", DATA, ids=lambda item: type(item).__name__)
def test_data_comes_back_equal_and_of_its_type(opened: Open, item: Any) -> None:
    q = opened()
    q.put(item)
    found = q.get()
    assert found == item
    assert type(found) is type(item)
    if isinstance(item, datetime):
        assert found.utcoffset() == item.utcoffset()


def test_what_is_no_data_is_refused_by_name_and_place(opened: Open) -> None:
    q = opened()

    class Custom:
        pass

    @dataclass
    class Point:
        x: int

    class Name(str):
        __slots__ = ()

    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for item, words in [
        (Custom(), r"the item is no data, but of type .*Custom; put numbers, text"),
        ({"jobs": [1, (2, threading.Lock())]}, r"the item\['jobs'\]\[1\]\[1\] is no data, but of type _thread.lock"),
        ([print], r"the item\[0\] is no data, .*; code cannot be put: .*@app.task"),
        (Point(1), r"open the queue with type=Point, or put a dict"),
        (Name("x"), r"it would come back as str: convert it first"),
        ({Custom: 1}, r"a key of the item is no data"),
        (cyclic, r"contains itself"),
    ]:
        with pytest.raises(TypeError, match=words):
            q.put(item)
    with pytest.raises(TypeError, match=r"no data"):
        q.put_many([1, 2, Custom()])
    assert q.empty()


class Job(msgspec.Struct):
    name: str
    size: int = 0


@dataclass(order=True)
class PrioritizedItem:
    """As in the documentation of `queue.PriorityQueue`."""

    priority: int
    item: str = field(compare=False)


@pytest.mark.parametrize("kind", [Queue, LifoQueue])
def test_typed_queue_takes_and_gives_its_type(opened: Open, kind: type[Queue[Job]]) -> None:
    q = opened(kind, type=Job)
    q.put(Job("a", 1))
    q.put_many([Job("b"), Job("c")])
    names = [item.name for item in all_of(q)]
    assert names == (["a", "b", "c"] if kind is Queue else ["c", "b", "a"])


def test_typed_queue_refuses_other_types(opened: Open) -> None:
    q = opened(type=Job)
    with pytest.raises(TypeError, match="takes Job"):
        q.put({"name": "a"})
    with pytest.raises(TypeError, match=r"size.*Expected `int`, got `str`"):
        q.put(Job("a", "big"))  # type: ignore[arg-type]
    assert q.empty()


def test_typed_queue_is_a_typed_topic(path: Path, opened: Open) -> None:
    opened(type=Job).put_many([Job("a", 1), Job("b", 2)])
    with App(str(path)) as app:
        assert app.sql("SELECT sum(size) FROM queue").item() == 3


# --- priorities -------------------------------------------------------------------------------------------------------


def test_equal_priorities_leave_in_the_order_in_which_they_came(opened: Open) -> None:
    q = opened(PriorityQueue)
    q.put_many([(2, {"n": 1}), (1, {"n": 2}), (2, {"n": 3}), (1, {"n": 4})])
    q.put((1, {"n": 0}))
    assert [item[1]["n"] for item in all_of(q)] == [2, 4, 0, 1, 3]


def test_priority_of_a_dataclass_is_its_order(opened: Open) -> None:
    q = opened(PriorityQueue, type=PrioritizedItem)
    for item in (PrioritizedItem(2, "b"), PrioritizedItem(1, "z"), PrioritizedItem(1, "a")):
        q.put(item)
    assert [item.item for item in all_of(q)] == ["z", "a", "b"]


def test_items_without_an_order_are_refused(opened: Open) -> None:
    q = opened(PriorityQueue)
    for item in ({"a": 1}, None, {1, 2}):
        with pytest.raises(TypeError, match=r"put \(priority, item\)"):
            q.put(item)
    with pytest.raises(TypeError, match="order=True"):
        opened(PriorityQueue, name="jobs", type=Job).put(Job("a"))


def test_empty_priority_queue_takes_another_kind_of_items(opened: Open) -> None:
    q, other = opened(PriorityQueue), opened(PriorityQueue)
    q.put(1)
    with pytest.raises(TypeError, match="a str, and the queue holds items of the kind number"):
        other.put("a")
    q.get()
    other.put("a")
    with pytest.raises(TypeError, match="a number, and the queue holds items of the kind str"):
        q.put(2)
    assert q.get() == "a"


def test_lower_item_put_by_another_object_is_the_next(opened: Open) -> None:
    q, other = opened(PriorityQueue), opened(PriorityQueue)
    q.put_many(range(10, 110))
    assert [q.get() for _ in range(50)] == list(range(10, 60))
    other.put(1)
    assert q.get() == 1
    assert other.get() == 60


def test_newest_item_put_by_another_object_is_the_next(opened: Open) -> None:
    q, other = opened(LifoQueue), opened(LifoQueue)
    q.put_many(range(100))
    assert [q.get() for _ in range(50)] == list(range(99, 49, -1))
    other.put("new")
    assert q.get() == "new"
    assert other.get() == 49


# --- many at once -----------------------------------------------------------------------------------------------------


def test_put_many_and_get_many_keep_the_order(opened: Open) -> None:
    q = opened()
    q.put_many(range(10_000))
    q.put_many(number for number in (10_000, 10_001))
    q.put_many([])
    assert q.get_many(3) == [0, 1, 2]
    assert q.get() == 3
    assert q.get_many(9_000) == list(range(4, 9_004))
    assert q.get_many(5_000) == list(range(9_004, 10_002))
    assert q.unfinished_tasks == 10_002
    with pytest.raises(Empty):
        q.get_many(1, block=False)
    with pytest.raises(ValueError, match="count"):
        q.get_many(0)


@pytest.mark.parametrize("kind", [LifoQueue, PriorityQueue])
def test_get_many_keeps_to_the_order_of_the_class(opened: Open, kind: type[Queue[int]]) -> None:
    q = opened(kind)
    q.put_many([3, 1, 2])
    assert q.get_many(2) == ([2, 1] if kind is LifoQueue else [1, 2])
    assert q.get_many(2) == [3]


def test_put_many_into_a_bounded_queue_puts_what_there_is_room_for_and_waits(opened: Open) -> None:
    q = opened(maxsize=3)
    with pytest.raises(Full):
        q.put_many(range(5), block=False)
    assert q.qsize() == 3
    putting = threading.Thread(target=lambda: q.put_many(range(3, 50)), daemon=True)
    putting.start()
    assert [q.get(timeout=60) for _ in range(50)] == list(range(50))
    putting.join(60)
    assert not putting.is_alive()


# --- leased items -----------------------------------------------------------------------------------------------------


def test_item_that_is_acknowledged_is_done(path: Path, opened: Open) -> None:
    q = opened()
    q.put("a")
    item = q.get(ack=True)
    assert item == "a"
    assert q.qsize() == 0
    with pytest.raises(Empty):
        opened().get_nowait()
    assert q.unfinished_tasks == 1
    q.ack(item)
    assert q.unfinished_tasks == 0
    q.join()
    with pytest.raises(ValueError, match="not an item that get"):
        q.ack(item)


def test_item_that_is_given_back_is_the_next_one(opened: Open) -> None:
    q = opened()
    q.put_many(["a", "b"])
    item = q.get(ack=True)
    q.nack(item)
    assert q.qsize() == 2
    assert [q.get(), q.get()] == ["a", "b"]
    with pytest.raises(ValueError, match="not an item that get"):
        q.nack("a")


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_leased_item_comes_back_when_its_holder_closes_the_queue(opened: Open, kind: type[Queue[int]]) -> None:
    holder, other = opened(kind), opened(kind)
    holder.put(1)
    assert holder.get(ack=True) == 1
    assert other.empty()
    holder.close()
    assert other.get(timeout=60) == 1


def test_receiving_acknowledges_at_the_end_and_gives_back_on_an_error(opened: Open) -> None:
    q = opened()
    q.put_many(["a", "b"])
    with q.receiving() as item:
        assert item == "a"
        assert q.qsize() == 1
    with pytest.raises(KeyError), q.receiving() as item:
        raise KeyError(item)
    with q.receiving(block=False) as item:
        assert item == "b"
    q.join()
    with pytest.raises(Empty), q.receiving(timeout=0.01):
        pytest.fail("there was nothing")


def test_equal_leased_items_are_acknowledged_one_by_one(opened: Open) -> None:
    q = opened()
    q.put_many([1, 1, 1])
    items = [q.get(ack=True) for _ in range(3)]
    q.ack(items[0])
    q.nack(items[1])
    q.ack(items[2])
    assert all_of(q) == [1]


def test_get_with_ack_follows_what_was_got_before_it(opened: Open) -> None:
    q = opened()
    q.put_many(range(1000))
    assert [q.get() for _ in range(200)] == list(range(200))
    assert q.get(ack=True) == 200
    assert q.get() == 201


def test_lease_that_was_lost_cannot_be_acknowledged(path: Path, opened: Open) -> None:
    q = opened()
    q.put("a")
    item = q.get(ack=True)
    # What happens to the leases of a process that is taken for dead.
    engine = q._store.log.engine
    row = q._taker._out[id(item)][0][1]
    engine.settle([Settlement(row, row.start, row.end, Outcome.RELEASE)])
    with pytest.raises(LeaseLostError):
        q.ack(item)
    assert q.get() == "a"


# --- several objects --------------------------------------------------------------------------------------------------


def test_run_that_is_not_handed_out_is_given_back(opened: Open) -> None:
    fast, other = opened(), opened()
    fast.put_many(range(5000))
    first = [fast.get() for _ in range(700)]
    assert until(lambda: other.qsize() == 4300)  # not a moment later, and not by closing
    assert first + all_of(other) == list(range(5000))


def test_shutdown_reaches_everyone_who_has_the_queue_open(opened: Open) -> None:
    q, other = opened(), opened()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            other.get()
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    q.shutdown()
    waiting.join(60)
    assert [type(error) for error in errors] == [ShutDown]
    with pytest.raises(ShutDown):
        other.put(1)


def test_join_waits_for_what_others_do(opened: Open) -> None:
    q, other = opened(), opened()
    q.put(1)
    joining = threading.Thread(target=q.join, daemon=True)
    joining.start()
    joining.join(0.05)
    assert joining.is_alive()
    other.get()
    other.task_done()
    joining.join(60)
    assert not joining.is_alive()


def test_bound_counts_what_anybody_put(opened: Open) -> None:
    q, other = opened(maxsize=2), opened(maxsize=2)
    q.put(1)
    other.put(2)
    assert q.full()
    assert other.full()
    with pytest.raises(Full):
        q.put_nowait(3)
    assert other.get() == 1
    q.put_nowait(3)


def test_ledger_balances_whatever_was_done(path: Path, opened: Open) -> None:
    q = opened()
    q.put_many(range(500))
    for _ in range(120):
        q.get()
    held = [q.get(ack=True) for _ in range(3)]
    q.ack(held[0])
    q.nack(held[1])
    q.close()
    with App(str(path)) as app:
        ledger = app.topic("queue").group("queue").info().ledger
        assert ledger.balanced
        assert (ledger.accepted, ledger.done, ledger.leased) == (500, 121, 0)


def test_item_of_a_newer_release_is_raised_once_and_does_not_stop_the_line(path: Path, opened: Open) -> None:
    q = opened()
    q.put("a")
    topic = Log(q._store.log.engine, housekeeping=False).topic("queue")
    topic.append(msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"?")))
    q.put("b")
    assert q.get() == "a"
    with pytest.raises(ValueError, match="upgrade Millstream"):
        q.get()
    assert q.get() == "b"


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_nobody_sleeps_while_there_is_an_item(opened: Open, kind: type[Queue[int]]) -> None:
    q = opened(kind)
    for _ in range(40):
        waiting = [threading.Thread(target=q.get, daemon=True) for _ in range(4)]
        for thread in waiting:
            thread.start()
        q.put_many([1, 2])
        q.put_many([3, 4])
        for thread in waiting:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
@pytest.mark.parametrize("maxsize", [0, 9])
def test_a_put_notices_that_another_one_has_shut_the_queue_down(
    opened: Open, kind: type[Queue[int]], maxsize: int
) -> None:
    q, other = opened(kind, maxsize=maxsize), opened(kind, maxsize=maxsize)
    q.put(1)
    other.shutdown()
    with pytest.raises(ShutDown):
        q.put(2)
    with pytest.raises(ShutDown):
        q.put_many([])
    assert q.is_shutdown
    assert q.get() == 1
