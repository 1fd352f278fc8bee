"""A program's own transaction: rows in its tables and records in topics appear together, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from millstream.clock import SystemClock
from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import Bound
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import (
    CapabilityError,
    ClosedError,
    LimitExceededError,
    QueueFullError,
    SchemaError,
    StatementError,
    UsageError,
)
from millstream.log.log import Log
from millstream.log.topic import Topic

PATIENCE_S = 60.0


class Order(msgspec.Struct, frozen=True):
    number: int


class LaterOrder(msgspec.Struct, frozen=True):
    number: int
    item: str = "tea"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(SqliteEngine(tmp_path / "shop.db", durability="relaxed"), clock=SystemClock())
    with log.transaction() as tx:
        tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT UNIQUE, topic TEXT)")
    yield log
    log.close()


@pytest.fixture
def topic(log: Log) -> Topic[Order]:
    return log.topic("orders", Order)


def items(log: Log) -> list[str]:
    with log.transaction() as tx:
        return [row[0] for row in tx.execute("SELECT item FROM orders ORDER BY id")]


def numbers(topic: Topic[Order]) -> list[int]:
    return [record.value.number for record in topic.read()]


# --- together or not at all -------------------------------------------------------------------------------------------


def test_rows_and_records_appear_together(log: Log, topic: Topic[Order]) -> None:
    with log.transaction() as tx:
        tx.execute("INSERT INTO orders (item) VALUES (?)", ("tea",))
        position = topic.append(Order(1), transaction=tx)
        ranges = topic.extend([Order(2), Order(3)], transaction=tx)
        assert topic.read() == []
        assert tx.execute("SELECT item FROM orders") == [("tea",)]
    assert items(log) == ["tea"]
    assert numbers(topic) == [1, 2, 3]
    assert topic.read()[0].position == position
    assert [(r.start, r.end) for r in ranges] == [(1, 3)]


def test_an_exception_undoes_rows_and_records(log: Log, topic: Topic[Order]) -> None:
    def fail() -> None:
        with log.transaction() as tx:
            tx.execute("INSERT INTO orders (item) VALUES ('tea')")
            topic.append(Order(1), transaction=tx)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert items(log) == []
    assert numbers(topic) == []
    assert topic.append(Order(2)).offset == 0
    assert log.engine.check() == []  # type: ignore[attr-defined]


def test_a_killed_process_leaves_neither_rows_nor_records(tmp_path: Path, log: Log, topic: Topic[Order]) -> None:
    program = (
        "import os, sys\n"
        "from millstream.engines.sqlite import SqliteEngine\n"
        "from millstream.log.log import Log\n"
        "log = Log(SqliteEngine(sys.argv[1]))\n"
        "orders = log.topic('orders')\n"
        "with log.transaction() as tx:\n"
        "    tx.execute(\"INSERT INTO orders (item) VALUES ('tea')\")\n"
        "    orders.append({'number': 1}, transaction=tx)\n"
        "    os._exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "shop.db")], check=False, timeout=60)
    assert done.returncode == 7
    assert items(log) == []
    assert numbers(topic) == []


def test_readers_are_woken_by_the_commit(log: Log, topic: Topic[Order]) -> None:
    woken = threading.Event()

    def wait() -> None:
        if topic.wait({0: 0}, PATIENCE_S):
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with log.transaction() as tx:
        topic.append(Order(1), transaction=tx)
    assert woken.wait(PATIENCE_S)
    thread.join()


def test_unique_values_and_bounds_hold_in_a_transaction(log: Log, topic: Topic[Order]) -> None:
    topic.group("workers")
    first = topic.append(Order(1), unique="one")
    with log.transaction() as tx:
        assert topic.append(Order(1), unique="one", transaction=tx) == first
        topic.append(Order(2), unique="two", transaction=tx)
        with pytest.raises(QueueFullError):
            topic.append(Order(3), bound=Bound("orders", "workers", 2), transaction=tx)
    assert numbers(topic) == [1, 2]


def test_a_refused_append_leaves_the_rest_of_the_transaction(log: Log, topic: Topic[Order]) -> None:
    other = log.topic("other", Order)
    with log.transaction() as tx:
        topic.append(Order(1), transaction=tx)
        with pytest.raises(SchemaError):
            topic.extend([Order(2), Order("three")], transaction=tx)  # type: ignore[arg-type]
        with pytest.raises(LimitExceededError):
            log.topic("orders").append({"number": 1}, key="k" * 5000, transaction=tx)
        other.append(Order(4), transaction=tx)
    assert numbers(topic) == [1]
    assert numbers(other) == [4]


def test_fields_that_are_new_to_the_topic_come_with_the_transaction_or_not_at_all(log: Log) -> None:
    events = log.topic("events", dict)
    events.append({"a": 1})
    before = len(events.info().schemas)

    def fail() -> None:
        with log.transaction() as tx:
            events.append({"a": 2, "b": "x"}, transaction=tx)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(events.info().schemas) == before
    with log.transaction() as tx:
        events.append({"a": 3, "c": True}, transaction=tx)
        events.append({"a": 4, "d": 1.5}, transaction=tx)
        events.append({"a": 5}, transaction=tx)
    events.append({"a": 6, "e": "y"})
    found = [record.value for record in events.read()]
    assert [value["a"] for value in found] == [1, 3, 4, 5, 6]
    assert (found[1]["c"], found[2]["d"], found[4]["e"]) == (True, 1.5, "y")


def test_a_changed_type_is_registered_with_the_transaction(log: Log, topic: Topic[Order]) -> None:
    topic.append(Order(1))
    later = log.topic("orders", LaterOrder)
    with log.transaction() as tx:
        later.append(LaterOrder(2, "cake"), transaction=tx)
    later.append(LaterOrder(3))
    assert [record.value for record in later.read()] == [LaterOrder(1), LaterOrder(2, "cake"), LaterOrder(3)]


# --- what a statement may not do --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM batch",
        "DELETE FROM topic",
        "UPDATE lease SET deadline_us = 0",
        "INSERT INTO orders (item) SELECT name FROM topic",
        "DROP TABLE state",
        "ALTER TABLE batch RENAME TO mine",
        "CREATE TRIGGER mine AFTER INSERT ON batch BEGIN SELECT 1; END",
        "CREATE INDEX mine ON batch (count)",
        "DROP INDEX lease_deadline",
        "SELECT 1; SELECT * FROM batch",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT mine",
        "PRAGMA user_version = 7",
        "PRAGMA synchronous = OFF",
        "ATTACH 'other.db' AS other",
        "CREATE TEMP TABLE batch (id)",
        "CREATE TEMP TRIGGER mine AFTER INSERT ON batch BEGIN SELECT 1; END",
    ],
)
def test_what_is_the_logs_own_or_would_end_the_transaction_is_refused(
    log: Log, topic: Topic[Order], statement: str
) -> None:
    with log.transaction() as tx:
        topic.append(Order(1), transaction=tx)
        with pytest.raises(StatementError) as raised:
            tx.execute(statement)
        tx.execute("INSERT INTO orders (item) VALUES ('tea')")
    assert statement in str(raised.value)
    assert not raised.value.constraint
    assert items(log) == ["tea"]
    assert numbers(topic) == [1]


def test_a_trigger_or_view_does_not_get_around_it(log: Log) -> None:
    with log.transaction() as tx:
        tx.execute("CREATE TRIGGER mine AFTER INSERT ON orders BEGIN DELETE FROM topic; END")
        tx.execute("CREATE VIEW theirs AS SELECT * FROM topic")
        for statement in ("INSERT INTO orders (item) VALUES ('tea')", "SELECT * FROM theirs"):
            with pytest.raises(StatementError, match="table of the log itself"):
                tx.execute(statement)


def test_a_statement_of_the_engine_in_its_cache_is_still_refused(log: Log, topic: Topic[Order]) -> None:
    from millstream.engines.sqlite.statements import statements

    topic.append(Order(1))
    with log.transaction() as tx, pytest.raises(StatementError, match="table of the log itself"):
        tx.execute(statements()["topic_by_name"], ("orders",))


def test_own_tables_can_be_made_changed_and_looked_at(log: Log) -> None:
    with log.transaction() as tx:
        tx.execute("CREATE TABLE people (name TEXT, state TEXT)")
        tx.execute("CREATE INDEX by_state ON people (state)")
        tx.execute("ALTER TABLE people ADD COLUMN rate REAL")
        tx.executemany("INSERT INTO people VALUES (:name, :state, 1.5)", ({"name": n, "state": "x"} for n in "ab"))
        assert tx.execute("INSERT INTO people VALUES ('c', NULL, 2) RETURNING rowid") == [(3,)]
        assert tx.execute("SELECT name, state, rate FROM people WHERE state = ?", ["x"]) == [
            ("a", "x", 1.5),
            ("b", "x", 1.5),
        ]
        assert [row[1] for row in tx.execute("PRAGMA table_info(people)")] == ["name", "state", "rate"]
        tx.execute("DROP TABLE people")


def test_a_constraint_that_does_not_hold_says_so_and_the_transaction_goes_on(log: Log) -> None:
    with log.transaction() as tx:
        tx.execute("INSERT INTO orders (item) VALUES ('tea')")
        with pytest.raises(StatementError, match="UNIQUE") as raised:
            tx.execute("INSERT INTO orders (item) VALUES ('tea')")
        assert raised.value.constraint
        for wrong in (("SELEC", None), ("SELECT ?", ()), ("SELECT ?", [object()])):
            with pytest.raises(StatementError) as raised:
                tx.execute(*wrong)
            assert not raised.value.constraint
    assert items(log) == ["tea"]


def test_a_transaction_that_sqlite_undid_cannot_go_on_unnoticed(log: Log, topic: Topic[Order]) -> None:
    with log.transaction() as tx:
        tx.execute("INSERT INTO orders (item) VALUES ('tea')")

    def go_on() -> None:
        with log.transaction() as tx:
            topic.append(Order(1), transaction=tx)
            with pytest.raises(StatementError, match="undid the whole"):
                tx.execute("INSERT OR ROLLBACK INTO orders (item) VALUES ('tea')")
            with pytest.raises(UsageError, match="undid"):
                topic.append(Order(2), transaction=tx)

    with pytest.raises(UsageError, match="undid"):
        go_on()
    assert numbers(topic) == []


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_other_writes_of_the_same_thread_are_an_error_that_says_so(log: Log, topic: Topic[Order]) -> None:
    with log.transaction() as tx:
        topic.append(Order(1), transaction=tx)
        with pytest.raises(UsageError, match=r"transaction open.*transaction=tx"):
            topic.append(Order(2))
        with pytest.raises(UsageError, match="transaction open"), log.transaction():
            pass
        with pytest.raises(UsageError, match="transaction open"):
            log.engine.close()
        assert topic.info().records == 0  # reading is fine
    topic.append(Order(3))
    assert numbers(topic) == [1, 3]


def test_other_threads_wait_in_line(log: Log, topic: Topic[Order]) -> None:
    began, asked = threading.Event(), threading.Event()
    order: list[str] = []

    def append() -> None:
        assert began.wait(PATIENCE_S)
        asked.set()
        topic.append(Order(2))
        order.append("append")

    thread = threading.Thread(target=append)
    thread.start()
    with log.transaction() as tx:
        began.set()
        assert asked.wait(PATIENCE_S)
        topic.append(Order(1), transaction=tx)
        order.append("block")
    thread.join(PATIENCE_S)
    assert order == ["block", "append"]
    assert numbers(topic) == [1, 2]


def test_transactions_appends_and_submits_of_many_threads_all_come_through(log: Log, topic: Topic[Order]) -> None:
    count = 50
    left = threading.Semaphore(0)

    def transactions(number: int) -> None:
        for step in range(count):
            with log.transaction() as tx:
                tx.execute("INSERT INTO orders (item) VALUES (?)", (f"{number}-{step}",))
                topic.append(Order(number), transaction=tx)

    def appends(number: int) -> None:
        for _ in range(count):
            topic.append(Order(number))

    def submits(number: int) -> None:
        for _ in range(count):
            log.engine.submit(topic.encode([Order(number)]), lambda positions, error: left.release())
        for _ in range(count):
            assert left.acquire(timeout=PATIENCE_S)

    works = [transactions, appends, submits, transactions, appends, transactions]
    threads = [threading.Thread(target=work, args=(number,)) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    found = numbers(topic)
    assert sorted(found) == sorted(number for number in range(len(works)) for _ in range(count))
    assert len(items(log)) == 3 * count
    assert log.engine.check() == []  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_while_waiting_for_ones_turn_holds_nobody_up(log: Log, topic: Topic[Order]) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with log.transaction() as tx:
            topic.append(Order(1), transaction=tx)
            began.set()
            # The main thread waits in `transaction` by now, or is about to: either way it is interrupted.
            os.kill(os.getpid(), signal.SIGINT)
            assert go_on.wait(PATIENCE_S)

    def wait_for_turn() -> None:
        try:
            with log.transaction():
                pytest.fail("it was not its turn")
        finally:
            go_on.set()

    thread = threading.Thread(target=hold)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at any moment from the start on
        thread.start()
        assert began.wait(PATIENCE_S)
        wait_for_turn()
    go_on.set()
    thread.join(PATIENCE_S)
    topic.append(Order(2))
    with log.transaction() as tx:
        topic.append(Order(3), transaction=tx)
    assert numbers(topic) == [1, 2, 3]


def test_it_is_of_its_thread_and_its_block_and_its_log(tmp_path: Path, log: Log, topic: Topic[Order]) -> None:
    errors: list[BaseException] = []
    other = Log(SqliteEngine(tmp_path / "other.db"))

    def use() -> None:
        try:
            tx.execute("SELECT 1")
        except UsageError as error:
            errors.append(error)

    with log.transaction() as tx:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(PATIENCE_S)
        elsewhere = other.topic("orders", Order)
        with pytest.raises(UsageError, match="another log"):
            elsewhere.append(Order(1), transaction=tx)
    assert "belongs to the thread" in str(errors[0])
    with pytest.raises(UsageError, match="is over"):
        tx.execute("SELECT 1")
    other.close()


def test_a_closed_log_begins_none(tmp_path: Path) -> None:
    log = Log(SqliteEngine(tmp_path / "x.db"))
    log.close()
    with pytest.raises(ClosedError), log.transaction():
        pass


def test_the_memory_engine_says_that_it_keeps_no_tables() -> None:
    log = Log(MemoryEngine())
    with pytest.raises(CapabilityError, match="memory engine cannot change a program's own tables"), log.transaction():
        pass
    log.close()
