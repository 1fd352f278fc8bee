"""Joins and dedupe through an application and its file: in pieces, restarted, and compared with one query over all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb
import msgspec
import polars as pl
import pytest

from millstream import App, count, sum_, table, tumbling
from millstream.log.topic import Topic

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Order(msgspec.Struct):
    id: int
    buyer: str
    amount: int
    at: datetime


class Payment(msgspec.Struct):
    order_id: int
    cents: int
    at: datetime


class Buyer(msgspec.Struct):
    name: str
    plan: str | None
    at: datetime


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fields_of(app: App, topic: str) -> pl.DataFrame:
    frame = app.topic(topic).frame().collect()
    return frame.drop([name for name in frame.columns if name.startswith("_")])


def test_a_left_join_in_pieces_with_restarts_equals_one_query(tmp_path: Path) -> None:
    chance = Random(7)
    orders = [Order(n, f"b{chance.randrange(50)}", n % 90, at(n / 10)) for n in range(6000)]
    payments = [Payment(chance.randrange(6000), n, at(n / 5 + chance.uniform(-1, 0) * (n % 3))) for n in range(3000)]

    def open_app() -> tuple[App, Topic[Order], Topic[Payment]]:
        app = App(str(tmp_path / "orders.db"))
        ordered, paid = app.topic("orders", Order, time="at"), app.topic("payments", Payment, time="at")

        @app.stream(ordered, paid, delay="3s")
        def matched(ordered, paid):  # type: ignore[no-untyped-def]
            both = ordered.join(paid, left_on="id", right_on="order_id", within=("-60s", "120s"), how="left")
            both.select("id", "cents").to("matched")

        return app, ordered, paid

    early, payments = payments[:1], payments[1:]
    for part in range(3):
        app, ordering, paying = open_app()
        if part == 0:
            paying.extend(early)  # A topic without any record holds no watermark back.
        ordering.extend(orders[part * 2000 : part * 2000 + 2000])
        app.run(until="now")
        paying.extend(payments[part * 1000 : part * 1000 + 1000])
        app.run(until="now")
        app.close()
    app, ordering, paying = open_app()
    # The watermark comes to where nothing waits any more.
    ordering.append(Order(-1, "", 0, at(100_000)))
    paying.append(Payment(-2, 0, at(100_000)))
    app.run(until="now")
    found = fields_of(app, "matched").rows()
    app.close()
    ordered = pl.DataFrame([(order.id, order.at) for order in orders], schema=["id", "at"], orient="row")
    paid = pl.DataFrame(
        [(p.order_id, p.cents, p.at) for p in [*early, *payments]], schema=["id", "cents", "at"], orient="row"
    )
    ordered.write_parquet(tmp_path / "ordered.parquet")
    paid.write_parquet(tmp_path / "paid.parquet")
    wanted = duckdb.sql(
        f"""
        select ordered.id, paid.cents
        from '{tmp_path}/ordered.parquet' ordered left join '{tmp_path}/paid.parquet' paid
        on ordered.id = paid.id and paid.at - ordered.at between interval '-60 seconds' and interval '120 seconds'
        """
    ).fetchall()
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_a_stream_is_joined_with_itself(tmp_path: Path) -> None:
    app = App(str(tmp_path / "self.db"))
    orders = app.topic("orders", Order, time="at")

    @app.stream(orders)
    def again(ordered):  # type: ignore[no-untyped-def]
        pairs = ordered.join(ordered, on="buyer", within=("1us", "10s"))
        pairs.select("id", "id_right").to("again")

    orders.extend([Order(1, "ann", 1, at(0)), Order(2, "ann", 1, at(5)), Order(3, "bob", 1, at(6))])
    app.run(until="now")
    orders.extend([Order(4, "ann", 1, at(14)), Order(5, "ann", 1, at(30))])
    app.run(until="now")
    assert sorted(fields_of(app, "again").rows()) == [(1, 2), (2, 4)]
    app.close()


def test_joins_windows_and_tables_follow_one_another(tmp_path: Path) -> None:
    app = App(str(tmp_path / "chain.db"))
    orders = app.topic("orders", Order, time="at")
    payments = app.topic("payments", Payment, time="at")
    buyers = app.topic("buyers", Buyer, key="name", time="at")

    @app.stream(orders, payments, table(buyers))
    def by_plan(ordered, paid, bought):  # type: ignore[no-untyped-def]
        first = ordered.dedupe("id", within="1h")
        both = first.join(paid, left_on="id", right_on="order_id", within="1m")
        known = both.join(bought, left_on="buyer", how="inner", suffix="_of_buyer")
        known.window(tumbling(minutes=1), by="plan").agg(orders=count(), cents=sum_("cents")).to("by_plan")

    buyers.extend([Buyer("ann", "free", at(-10)), Buyer("bob", "paid", at(-10)), Buyer("ann", "paid", at(60))])
    orders.extend([Order(1, "ann", 1, at(0)), Order(1, "ann", 1, at(1)), Order(2, "bob", 1, at(5))])
    payments.extend([Payment(1, 10, at(2)), Payment(2, 20, at(7))])
    app.run(until="now")
    orders.extend([Order(3, "ann", 1, at(65)), Order(4, "eve", 1, at(66)), Order(9, "ann", 1, at(900))])
    payments.extend([Payment(3, 30, at(70)), Payment(4, 40, at(71)), Payment(9, 90, at(900))])
    app.run(until="now")
    rows = fields_of(app, "by_plan").select("plan", "orders", "cents", pl.col("window_start").dt.minute()).rows()
    assert sorted(rows) == [("free", 1, 10, 0), ("paid", 1, 20, 0), ("paid", 1, 30, 1)]
    app.close()


def test_a_function_after_dedupe_gets_the_values_of_the_topic(tmp_path: Path) -> None:
    app = App(str(tmp_path / "dedupe.db"))
    orders = app.topic("orders", Order, key="id", time="at")
    seen: list[Order] = []

    @app.stream(orders)
    def once(ordered):  # type: ignore[no-untyped-def]
        ordered.dedupe("id", within="1h").each(seen.append)

    given = [Order(1, "ann", 1, at(0)), Order(2, "bob", 1, at(1)), Order(1, "ann", 2, at(2))]
    orders.extend(given)
    app.run(until="now")
    orders.extend([Order(2, "bob", 5, at(30)), Order(1, "ann", 1, at(3600))])
    app.run(until="now")
    assert seen == [*given[:2], Order(1, "ann", 1, at(3600))]
    app.close()


def test_values_of_which_nothing_is_known_before_they_come_are_joined(tmp_path: Path) -> None:
    app = App(str(tmp_path / "open.db"))
    left, right = app.topic("left", dict), app.topic("right", dict)

    @app.stream(left, right)
    def paired(one, other):  # type: ignore[no-untyped-def]
        # What such a function returns is not known before the first record.
        one, other = one.map(lambda value: value), other.map(lambda value: value)
        one.dedupe("n", within="1h").join(other, left_on="id", right_on="key", within="10s").to("paired")

    left.extend([{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 2, "n": 2}], times=[at(0), at(1), at(2)])
    right.extend([{"key": 1, "word": "a"}, {"key": 2, "word": "b", "more": 5}], times=[at(3), at(4)])
    app.run(until="now")
    assert sorted(fields_of(app, "paired").select("id", "n", "word").rows()) == [(1, 1, "a"), (2, 2, "b")]
    app.close()


def test_only_the_columns_that_are_wanted_are_read_beside_a_table(tmp_path: Path) -> None:
    app = App(str(tmp_path / "narrow.db"))
    orders = app.topic("orders", Order, time="at")
    buyers = app.topic("buyers", Buyer, key="name", time="at")

    @app.stream(orders, table(buyers))
    def named(ordered, bought):  # type: ignore[no-untyped-def]
        known = ordered.dedupe("id", within="1m").join(bought, left_on="buyer", right_on="name")
        known.select("amount", "plan", "at_right").to("named")

    buyers.extend([Buyer("ann", "free", at(-10)), Buyer("bob", "paid", at(-5))])
    orders.extend([Order(1, "ann", 7, at(0)), Order(2, "bob", 8, at(5)), Order(2, "bob", 9, at(6))])
    app.run(until="now")
    assert sorted(fields_of(app, "named").rows()) == [(7, "free", at(-10)), (8, "paid", at(-5))]
    app.close()


class Plan(msgspec.Struct):
    name: str
    plan: str | None


def test_reference_data_loaded_today_is_found_by_older_records() -> None:
    with App("memory://") as app:
        orders, plans = app.topic("orders", Order, time="at"), app.topic("plans", Plan, key="name")

        @app.stream(orders, table(plans))
        def with_plans(ordered, planned):  # type: ignore[no-untyped-def]
            ordered.join(planned, left_on="buyer", how="left").select("id", "plan").to("with_plans")

        orders.extend([Order(1, "ann", 1, at(0)), Order(2, "bob", 1, at(1)), Order(3, "eve", 1, at(2))])
        plans.extend([Plan("ann", "free"), Plan("bob", "paid"), Plan("bob", "free"), Plan("ann", None)])
        app.run(until="now")
        orders.append(Order(4, "ann", 1, datetime.now(UTC)))
        app.run(until="now")
        assert sorted(fields_of(app, "with_plans").rows()) == [(1, "free"), (2, "paid"), (3, None), (4, None)]


@pytest.mark.parametrize("chance", [Random(seed) for seed in range(5)])
def test_a_table_without_times_gives_over_history_what_it_gave_live(chance: Random) -> None:
    """Of records that come after the first row of their key, as far as the log is concerned; happened they may have
    long before."""
    with App("memory://") as app:
        orders, plans = app.topic("orders", Order, time="at"), app.topic("plans", Plan, key="name")

        def declare(name: str) -> None:
            @app.stream(orders, table(plans), name=name)
            def with_plans(ordered, planned):  # type: ignore[no-untyped-def]
                ordered.join(planned, left_on="buyer").select("id", "plan").to(name)

        declare("live")
        names = ["ann", "bob", "eve"]
        plans.extend([Plan(name, "first") for name in names])
        for number in range(60):
            if chance.random() < 0.3:
                plans.append(Plan(chance.choice(names), chance.choice([None, f"p{number}"])))
            else:
                now = datetime.now(UTC)
                orders.append(Order(number, chance.choice(names), 1, chance.choice([at(number), now])))
            if chance.random() < 0.5:
                app.run(until="now")
        app.run(until="now")
        declare("history")
        app.run(until="now")
        assert sorted(fields_of(app, "live").rows()) == sorted(fields_of(app, "history").rows())
