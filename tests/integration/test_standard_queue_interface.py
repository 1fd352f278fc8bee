"""What the documentation of CPython 3.13's `queue` says, asked of the standard library's classes and of ours alike."""

from __future__ import annotations

import inspect
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import millstream

Make = Callable[..., Any]

CLASSES = ("Queue", "LifoQueue", "PriorityQueue")
SHORT_S = 0.05
needs_shutdown = pytest.mark.usefixtures("_has_shutdown")


class Makers:
    """Makes queues of one of the two kinds, and closes them at the end."""

    def __init__(self, ours: bool, folder: Path) -> None:
        self.ours = ours
        self._folder = folder
        self._made: list[Any] = []

    def __call__(self, kind: str = "Queue", maxsize: int = 0) -> Any:
        if not self.ours:
            return getattr(queue, kind)(maxsize)
        path = self._folder / f"{len(self._made)}.db"
        self._made.append(getattr(millstream, kind)(path, maxsize, durability="relaxed"))
        return self._made[-1]

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture(params=["stdlib", "millstream"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Makers]:
    makers = Makers(request.param == "millstream", tmp_path)
    yield makers
    makers.close()


@pytest.fixture
def _has_shutdown(make: Makers) -> None:
    if not make.ours and sys.version_info < (3, 13):
        pytest.skip("the standard library's queues have no shutdown before Python 3.13")


@pytest.fixture(params=CLASSES)
def any_queue(request: pytest.FixtureRequest, make: Makers) -> Any:
    return make(request.param)


@pytest.fixture(params=CLASSES)
def full_queue(request: pytest.FixtureRequest, make: Makers) -> Any:
    made = make(request.param, 2)
    made.put(1)
    made.put(2)
    return made


class Running:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 - shown to the test
            self.error = error

    def waits(self) -> bool:
        """Whether it is still at it a moment later."""
        self._thread.join(SHORT_S)
        return self._thread.is_alive()

    def end(self) -> Running:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self


# --- exceptions -------------------------------------------------------------------------------------------------------


def test_the_exceptions_are_those_of_the_standard_library() -> None:
    assert millstream.Empty is queue.Empty
    assert millstream.Full is queue.Full
    assert issubclass(millstream.ShutDown, Exception)
    if sys.version_info >= (3, 13):
        assert millstream.ShutDown is queue.ShutDown


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_method_of_the_standard_library_is_there_with_its_parameters(kind: str) -> None:
    theirs, ours = getattr(queue, kind), getattr(millstream, kind)
    for name, method in inspect.getmembers(theirs, inspect.isfunction):
        if name.startswith("_"):
            continue
        expected = list(inspect.signature(method).parameters.values())
        found = list(inspect.signature(getattr(ours, name)).parameters.values())
        assert [(p.name, p.default) for p in found[: len(expected)]] == [(p.name, p.default) for p in expected], name
        assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :]), name


def test_lifo_and_priority_queues_are_queues(make: Makers) -> None:
    base = type(make("Queue"))
    assert isinstance(make("LifoQueue"), base)
    assert isinstance(make("PriorityQueue"), base)


# --- order ------------------------------------------------------------------------------------------------------------


def test_queue_is_first_in_first_out(make: Makers) -> None:
    q = make("Queue")
    for item in (3, 1, 2):
        q.put(item)
    assert [q.get(), q.get(), q.get()] == [3, 1, 2]


def test_lifo_queue_is_last_in_first_out(make: Makers) -> None:
    q = make("LifoQueue")
    for item in (3, 1, 2):
        q.put(item)
    assert q.get() == 2
    q.put(4)
    assert [q.get(), q.get(), q.get()] == [4, 1, 3]


def test_priority_queue_is_lowest_first(make: Makers) -> None:
    q = make("PriorityQueue")
    for item in (3, 1, 2):
        q.put(item)
    assert q.get() == 1
    q.put(0)
    q.put(5)
    assert [q.get(), q.get(), q.get(), q.get()] == [0, 2, 3, 5]


@pytest.mark.parametrize(
    "items",
    [
        [2.5, 1, True, -7, 10**15 + 1, 1e15, float("inf"), -0.5],
        [2**70, 2**70 + 1, -(2**70), 2.0**70, 0],
        ["b", "a", "", "ab", "é", "z", "Z", "\U0001f600", "￿"],
        [b"b", b"", b"\x00", b"a\x00", b"a", b"\xff"],
        [(2, "code"), (1, "eat"), (3, "sleep"), (1, "drink")],
        [(1,), (), (1, 0), (0, 9, 9), (1, 0, "x")],
        [[1, 2], [1], [0, 5]],
        [("a", 2), ("a\x00", 1), ("a", 1), ("", 3)],
        [((1, 2), "x"), ((1,), "y"), ((0, 9), "z")],
    ],
)
def test_priority_queue_orders_items_as_python_does(make: Makers, items: list[Any]) -> None:
    q = make("PriorityQueue")
    for item in items:
        q.put(item)
    assert [q.get() for _ in items] == sorted(items)


def test_priority_queue_refuses_what_cannot_be_compared_with_what_it_holds(make: Makers) -> None:
    q = make("PriorityQueue")
    q.put(1)
    with pytest.raises(TypeError, match="not supported"):
        q.put("a")


# --- what is put is what is got ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [None, True, 0, -1, 2**100, 1.5, "text", "", b"bytes", (1, ("a", None)), [1, [2]], {"a": [1], 2: (3,)}, {1, 2}],
    ids=repr,
)
def test_item_comes_back_equal_and_of_its_type(make: Makers, item: Any) -> None:
    q = make("Queue")
    q.put(item)
    found = q.get()
    assert found == item
    assert type(found) is type(item)


# --- put --------------------------------------------------------------------------------------------------------------


def test_put_into_an_unbounded_queue_ignores_block_and_timeout(any_queue: Any) -> None:
    any_queue.put(1, False)
    any_queue.put(2, True, -1)
    any_queue.put(3, block=False, timeout=-1)
    any_queue.put(item=4, block=True, timeout=0)
    assert any_queue.qsize() == 4


@pytest.mark.parametrize("maxsize", [0, -1])
def test_maxsize_of_zero_or_less_is_no_bound(make: Makers, maxsize: int) -> None:
    q = make("Queue", maxsize)
    assert q.maxsize == maxsize
    for number in range(50):
        q.put_nowait(number)
    assert not q.full()


def test_put_nowait_into_a_full_queue_raises_full(full_queue: Any) -> None:
    with pytest.raises(queue.Full):
        full_queue.put_nowait(3)
    with pytest.raises(queue.Full):
        full_queue.put(3, block=False)
    with pytest.raises(queue.Full):
        full_queue.put(3, False, -5)
    assert full_queue.qsize() == 2


def test_put_with_a_timeout_into_a_full_queue_raises_full_after_it(full_queue: Any) -> None:
    began = time.monotonic()
    with pytest.raises(queue.Full):
        full_queue.put(3, timeout=SHORT_S)
    assert time.monotonic() - began >= SHORT_S
    with pytest.raises(queue.Full):
        full_queue.put(3, True, 0)


def test_put_with_a_negative_timeout_is_an_error(full_queue: Any) -> None:
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        full_queue.put(3, timeout=-1)


def test_put_waits_for_room(full_queue: Any) -> None:
    putting = Running(lambda: full_queue.put(3))
    assert putting.waits()
    full_queue.get()
    assert putting.end().error is None
    assert full_queue.qsize() == 2


def test_put_with_a_timeout_goes_on_as_soon_as_there_is_room(full_queue: Any) -> None:
    putting = Running(lambda: full_queue.put(3, timeout=60))
    assert putting.waits()
    began = time.monotonic()
    full_queue.get()
    assert putting.end().error is None
    assert time.monotonic() - began < 30


# --- get --------------------------------------------------------------------------------------------------------------


def test_get_from_an_empty_queue_raises_empty(any_queue: Any) -> None:
    with pytest.raises(queue.Empty):
        any_queue.get_nowait()
    with pytest.raises(queue.Empty):
        any_queue.get(block=False)
    with pytest.raises(queue.Empty):
        any_queue.get(False, -5)
    with pytest.raises(queue.Empty):
        any_queue.get(True, 0)


def test_get_with_a_timeout_raises_empty_after_it(any_queue: Any) -> None:
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        any_queue.get(timeout=SHORT_S)
    assert time.monotonic() - began >= SHORT_S


def test_get_with_a_negative_timeout_is_an_error_even_where_there_is_an_item(any_queue: Any) -> None:
    any_queue.put(1)
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        any_queue.get(timeout=-1)
    assert any_queue.get(False, -1) == 1


def test_get_waits_for_an_item(any_queue: Any) -> None:
    getting = Running(any_queue.get)
    assert getting.waits()
    any_queue.put("here")
    assert getting.end().result == "here"


def test_get_with_a_timeout_goes_on_as_soon_as_there_is_an_item(any_queue: Any) -> None:
    getting = Running(lambda: any_queue.get(timeout=60))
    assert getting.waits()
    began = time.monotonic()
    any_queue.put("here")
    assert getting.end().result == "here"
    assert time.monotonic() - began < 30


def test_each_of_many_waiting_threads_gets_one_item(any_queue: Any) -> None:
    getting = [Running(any_queue.get) for _ in range(5)]
    for number in range(5):
        any_queue.put(number)
    assert sorted(call.end().result for call in getting) == [0, 1, 2, 3, 4]


# --- looking ----------------------------------------------------------------------------------------------------------


def test_qsize_empty_and_full_follow_what_is_put_and_got(make: Makers) -> None:
    q = make("Queue", 2)
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)
    q.put(1)
    assert (q.qsize(), q.empty(), q.full()) == (1, False, False)
    q.put(2)
    assert (q.qsize(), q.empty(), q.full()) == (2, False, True)
    q.get()
    assert (q.qsize(), q.empty(), q.full()) == (1, False, False)
    q.get()
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)


def test_qsize_counts_down_one_by_one(any_queue: Any) -> None:
    for number in range(100):
        any_queue.put(number)
    sizes = []
    while not any_queue.empty():
        any_queue.get()
        sizes.append(any_queue.qsize())
    assert sizes == list(range(99, -1, -1))


# --- task_done and join -----------------------------------------------------------------------------------------------


def test_join_of_a_queue_that_nothing_was_put_into_returns(any_queue: Any) -> None:
    any_queue.join()


def test_join_waits_until_every_item_is_done(any_queue: Any) -> None:
    any_queue.put(1)
    any_queue.put(2)
    joining = Running(any_queue.join)
    any_queue.get()
    any_queue.task_done()
    any_queue.get()
    assert any_queue.empty()
    assert joining.waits()
    any_queue.task_done()
    assert joining.end().error is None


def test_task_done_more_often_than_items_were_put_is_an_error(any_queue: Any) -> None:
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        any_queue.task_done()
    any_queue.put(1)
    any_queue.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        any_queue.task_done()
    assert any_queue.get() == 1


# --- shutdown ---------------------------------------------------------------------------------------------------------


def shut_down() -> type[Exception]:
    return millstream.ShutDown


@needs_shutdown
def test_put_into_a_queue_that_was_shut_down_raises(any_queue: Any) -> None:
    any_queue.shutdown()
    assert any_queue.is_shutdown
    for call in (lambda: any_queue.put(1), lambda: any_queue.put_nowait(1), lambda: any_queue.put(1, timeout=-1)):
        with pytest.raises(shut_down()):
            call()


@needs_shutdown
def test_what_is_in_a_queue_that_was_shut_down_can_be_got_and_then_get_raises(any_queue: Any) -> None:
    any_queue.put(1)
    any_queue.put(1)
    any_queue.shutdown()
    assert any_queue.qsize() == 2
    assert [any_queue.get(), any_queue.get_nowait()] == [1, 1]
    for call in (
        any_queue.get,
        any_queue.get_nowait,
        lambda: any_queue.get(timeout=-1),
        lambda: any_queue.get(True, 1),
    ):
        with pytest.raises(shut_down()):
            call()


@needs_shutdown
def test_shutdown_twice_is_fine(any_queue: Any) -> None:
    any_queue.put(1)
    any_queue.shutdown()
    any_queue.shutdown()
    any_queue.shutdown(immediate=True)
    assert any_queue.empty()


@needs_shutdown
def test_shutdown_wakes_those_who_wait_for_an_item(any_queue: Any) -> None:
    getting = [Running(any_queue.get), Running(lambda: any_queue.get(timeout=30))]
    assert all(call.waits() for call in getting)
    any_queue.shutdown()
    assert [type(call.end().error) for call in getting] == [shut_down(), shut_down()]


@needs_shutdown
def test_shutdown_wakes_those_who_wait_for_room(full_queue: Any) -> None:
    putting = [Running(lambda: full_queue.put(3)), Running(lambda: full_queue.put(4, timeout=30))]
    assert all(call.waits() for call in putting)
    full_queue.shutdown()
    assert [type(call.end().error) for call in putting] == [shut_down(), shut_down()]
    assert full_queue.qsize() == 2


@needs_shutdown
def test_immediate_shutdown_empties_the_queue_and_counts_its_items_as_done(any_queue: Any) -> None:
    for number in range(5):
        any_queue.put(number)
    any_queue.get()
    joining = Running(any_queue.join)
    any_queue.shutdown(immediate=True)
    assert any_queue.empty()
    with pytest.raises(shut_down()):
        any_queue.get()
    assert joining.waits()  # for the one that was got
    any_queue.task_done()
    joining.end()


@needs_shutdown
def test_join_is_not_affected_by_a_shutdown_that_is_not_immediate(any_queue: Any) -> None:
    any_queue.put(1)
    any_queue.shutdown()
    joining = Running(any_queue.join)
    assert joining.waits()
    any_queue.get()
    any_queue.task_done()
    joining.end()


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("maxsize", [0, 7])
def test_every_item_of_many_producers_reaches_one_of_many_consumers(make: Makers, kind: str, maxsize: int) -> None:
    q = make(kind, maxsize)
    each = 60
    got: list[list[int]] = [[] for _ in range(4)]

    def produce(first: int) -> None:
        for number in range(first, first + each):
            q.put(number)

    def consume(mine: list[int]) -> None:
        while (item := q.get()) >= 0:
            mine.append(item)
            q.task_done()

    consumers = [Running(lambda mine=mine: consume(mine)) for mine in got]
    producers = [Running(lambda first=first: produce(first)) for first in range(0, 4 * each, each)]
    for producer in producers:
        assert producer.end().error is None
    q.join()
    for _ in consumers:
        q.put(-1)
    for consumer in consumers:
        assert consumer.end().error is None
    assert sorted(item for mine in got for item in mine) == list(range(4 * each))
    if kind == "Queue":
        for mine in got:
            for first in range(0, 4 * each, each):
                of_one = [item for item in mine if first <= item < first + each]
                assert of_one == sorted(of_one)  # one producer's items in their order


# --- the examples of the documentation --------------------------------------------------------------------------------


def test_the_example_of_how_to_wait_for_enqueued_tasks(make: Makers) -> None:
    """docs.python.org/3.13/library/queue.html, `Queue.join`; without its 30 tasks' output."""
    q = make("Queue")
    worked = []

    def worker() -> None:
        while True:
            item = q.get()
            if item is None:
                return
            worked.append(item)
            q.task_done()

    working = Running(worker)
    for item in range(30):
        q.put(item)
    q.join()
    assert worked == list(range(30))
    q.put(None)
    working.end()


@needs_shutdown
def test_the_example_of_how_to_end_threads_by_a_shutdown(make: Makers) -> None:
    """docs.python.org/3.13/library/queue.html, "Terminating queues"."""
    q = make("Queue")
    worked = []

    def worker() -> None:
        try:
            while True:
                worked.append(q.get())
        except shut_down():
            pass

    workers = [Running(worker) for _ in range(3)]
    for item in range(30):
        q.put(item)
    q.shutdown()
    for each in workers:
        each.end()
    assert sorted(worked) == list(range(30))
