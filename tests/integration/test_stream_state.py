"""Functions with state in a whole stream: the answer is the same wherever micro-batches end and the process dies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import App, count, sum_, tumbling
from millstream.engines.values import StateRange
from millstream.stream.keyed.context import Context
from millstream.stream.keyed.kept import kept_of, some_kept
from millstream.stream.manifest import stored_steps
from millstream.stream.reader import StreamReader
from millstream.testing import CRASH, StreamTest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    user: str
    amount: int
    at: datetime


class Session(msgspec.Struct):
    clicks: int = 0
    amount: int = 0


def click(user: str, second: float, amount: int = 1) -> Click:
    return Click(user, amount, NOON + timedelta(seconds=second))


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


def grow(state: Session, click: Click, context: Context) -> tuple[Session, None]:
    state.clicks += 1
    state.amount += click.amount
    context.set_timer("10s")
    return state, None


def close(state: Session, context: Context) -> tuple[None, dict[str, Any]]:
    assert context.key is not None
    return None, {"user": context.key.decode(), "clicks": state.clicks, "amount": state.amount}


def history(count: int, seed: int = 7) -> list[Click]:
    draw = random.Random(seed)
    second = 0.0
    clicks = []
    for number in range(count):
        second += draw.choice([0.1, 1, 1, 4, 11])
        clicks.append(click(draw.choice("abc"), second - draw.choice([0, 0, 0.5]), number))
    return clicks


def played(stream: StreamReader, clicks: list[Any], batch: int, outputs: list[str]) -> list[list[tuple[Any, ...]]]:
    """Return what comes out: values with keys and event times, in order."""
    with StreamTest(stream, now=NOON, batch=batch) as test:
        test.push(*clicks)
        test.advance("1h")
        return [[(r.key, r.event_time_us, r.value) for r in test.records(name)] for name in outputs]


def by_key(found: list[tuple[Any, ...]]) -> dict[Any, list[Any]]:
    keys = sorted({key for key, *_ in found})
    return {key: [rest for of, *rest in found if of == key] for key in keys}


def test_sessions_by_timers_do_not_depend_on_micro_batches_or_crashes(app: App) -> None:
    clicks = app.topic("clicks", Click, key="user", time="at")

    @app.stream(clicks)
    def sessions(s: Any) -> None:
        s.stateful_map(grow, init=Session, on_timer=close).to("sessions")

    values = history(60)
    [once] = played(sessions, values, 1000, ["sessions"])
    assert sum(value["clicks"] for *_, value in once) == 60
    assert len(once) > 10
    for batch in (1, 3, 7):
        [again] = played(sessions, values, batch, ["sessions"])
        assert by_key(again) == by_key(once)
    for place in range(1, 60, 13):
        [crashed] = played(sessions, [*values[:place], CRASH, *values[place:]], 5, ["sessions"])
        assert by_key(crashed) == by_key(once)


def test_functions_with_state_after_a_window_see_the_same_order_of_results_and_timers(app: App) -> None:
    clicks = app.topic("clicks", Click, key="user", time="at")

    def follow(state: list[int], row: Any, context: Context) -> tuple[list[int], dict[str, Any]]:
        context.set_timer("7s", str(row.n))
        return [*state, row.n], {"of": "row", "n": row.n, "before": state}

    def due(state: list[int], context: Context) -> tuple[list[int], dict[str, Any]]:
        return [*state, -1], {"of": "timer", "n": int(context.timer or 0), "before": state}

    @app.stream(clicks)
    def chain(s: Any) -> None:
        counted = s.window(tumbling("5s"), by="user").agg(n=count(), amount=sum_("amount"))
        counted.key_by("user").stateful_map(follow, init=list, on_timer=due).to("followed")

    values = history(80, seed=3)
    [once] = played(chain, values, 1000, ["followed"])
    assert {value["of"] for *_, value in once} == {"row", "timer"}
    for batch in (1, 4, 9):
        [again] = played(chain, values, batch, ["followed"])
        assert by_key(again) == by_key(once)


def test_a_time_to_live_forgets_by_event_time(app: App) -> None:
    clicks = app.topic("clicks", Click, key="user", time="at")

    def number(state: int, click: Click) -> tuple[int, dict[str, int]]:
        return state + 1, {"number": state + 1}

    @app.stream(clicks)
    def numbered(s: Any) -> None:
        s.stateful_map(number, init=0, ttl="10s").to("numbered")

    seconds = [0, 5, 14, 30, 31]
    for batch in (1, 100):
        with StreamTest(numbered, now=NOON, batch=batch) as test:
            # Another key moves event time on.
            test.push(*[each for second in seconds for each in (click("other", second), click("a", second))])
            found = [record.value["number"] for record in test.records("numbered") if record.key == b"a"]
            assert found == [1, 2, 3, 1, 2]


def test_timers_of_the_clock_fire_though_nothing_comes(app: App) -> None:
    clicks = app.topic("clicks", Click, key="user", time="at")

    def ask(state: int, click: Click, context: Context) -> tuple[int, None]:
        context.set_timer(NOON + timedelta(hours=1), clock=True)
        return state + click.amount, None

    def answer(state: int, context: Context) -> tuple[int, dict[str, int]]:
        return state, {"total": state}

    @app.stream(clicks)
    def asked(s: Any) -> None:
        s.stateful_map(ask, init=0, on_timer=answer).to("answers")

    with StreamTest(asked, now=NOON) as test:
        test.push(click("a", 0, 2), click("b", 1, 3), click("a", 2, 4))
        test.advance("59m")
        assert test.outputs("answers") == []
        test.restart()
        test.advance("1m")
        assert sorted(value["total"] for value in test.outputs("answers")) == [3, 6]
        test.advance("5h")
        assert len(test.outputs("answers")) == 2


def test_keys_of_several_partitions_and_restarts_in_a_file(tmp_path: Path) -> None:
    def number(state: int, click: Click) -> tuple[int, dict[str, int]]:
        return state + 1, {"number": state + 1, "amount": click.amount}

    def declared(app: App) -> StreamReader:
        clicks = app.topic("clicks", Click, key="user", time="at", partitions=4)
        declare: Callable[..., StreamReader] = app.stream(clicks, name="numbered")
        return declare(lambda s: s.stateful_map(number, init=0, name="number").to("numbered"))

    users = [f"user {place % 37}" for place in range(1000)]
    for start in range(0, 1000, 250):
        with App(str(tmp_path / "log.db"), durability="relaxed") as app:
            stream = declared(app)
            app.topic("clicks", Click, key="user", time="at", partitions=4).extend(
                [click(user, start + place, start + place) for place, user in enumerate(users[start : start + 250])]
            )
            run = stream.open(records_max=start + 13)
            while run.step():
                pass
    with App(str(tmp_path / "log.db")) as app:
        found: dict[int, int] = {}
        for record in app.topic("numbered").read(0, records_max=10_000):
            found[record.value["amount"]] = record.value["number"]
        assert found == {place: users[: place + 1].count(user) for place, user in enumerate(users)}


def test_keys_that_change_by_thousands_are_found_in_the_journal_and_where_it_was_folded(tmp_path: Path) -> None:
    class Padded(msgspec.Struct):
        clicks: int = 0
        padding: str = "x" * 900  # A generation of the journal is full after some twenty commits.

    def number(state: Padded, click: Click) -> tuple[Padded | None, None]:
        return (None if click.amount < 0 else Padded(state.clicks + 1)), None

    def declared(app: App) -> StreamReader:
        clicks = app.topic("clicks", Click, key="user", time="at")
        declare: Callable[..., StreamReader] = app.stream(clicks, name="padded")
        return declare(lambda s: s.stateful_map(number, init=Padded, name="number").to("nothing"))

    users = [f"{place:04}" for place in range(1500)]
    for start in range(0, 60, 15):
        with App(str(tmp_path / "log.db"), durability="relaxed") as app:
            run = declared(app).open()
            for turn in range(start, start + 15):
                app.topic("clicks", Click, key="user", time="at").extend([click(user, turn) for user in users])
                assert run.step() == 1500
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        stream = declared(app)
        app.topic("clicks", Click, key="user", time="at").extend([click(user, 60, -1) for user in users[:100]])
        assert stream.open().step() == 100
        [prefix] = stored_steps(stream.group, 0)
        rows = stream.group.state(0, within=StateRange.of_prefix(prefix + b"j"))
        assert 0 < len(rows) < 60, "some is in the journal, and some was folded"
        assert kept_of(stream.group, 0, prefix, b"0099") is None
        kept = some_kept(stream.group, 0, prefix, 2)
        assert [(one.key, one.state["clicks"]) for one in kept] == [(b"0100", 60), (b"0101", 60)]
        everything = some_kept(stream.group, 0, prefix, 2000)
        assert {one.state["clicks"] for one in everything} == {60}
        assert len(everything) == 1400
