"""How a stream is described: the graph, and what is refused while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.app import App
from millstream.errors import UsageError
from millstream.limits import STATE_MEMORY_BYTES
from millstream.log.topic import Topic
from millstream.stream import Stream, count, sum_, table, tumbling
from millstream.stream.description import describe
from millstream.stream.graph import Graph
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.keyed.operator import StatefulOperator
from millstream.stream.plan import needs_of, operators_of
from millstream.stream.steps import Map


class Click(msgspec.Struct):
    page: str
    load_ms: int
    tags: list[str]


@pytest.fixture
def clicks() -> Iterator[Topic[Click]]:
    with App("memory://") as app:
        yield app.topic("clicks", Click)


def steps_of(graph: Graph) -> list[Any]:
    return [node.step for node in graph.nodes]


def test_a_description_is_written_down_step_by_step(clicks: Topic[Click]) -> None:
    def per_minute(s: Stream) -> None:
        s.window(tumbling(minutes=1), by="page", lateness="5s").agg(views=count()).to("page_views")

    graph = describe(per_minute, "per_minute", [clicks])
    _, step, output = steps_of(graph)
    assert (step.window, step.by, step.lateness_us) == (tumbling("1m"), ("page",), 5_000_000)
    assert output.name == "page_views"
    assert graph.nodes[1].schema is not None
    assert graph.nodes[1].schema.names() == ["page", "window_start", "window_end", "views"]
    assert graph.nodes[1].where.startswith("test_stream_description.py:")


def test_steps_branch(clicks: Topic[Click]) -> None:
    def both(s: Stream) -> None:
        doubled = s.map(lambda value: value)
        doubled.to("a")
        doubled.window(tumbling("1m")).agg(n=count()).to("b")

    graph = describe(both, "both", [clicks])
    assert [len(graph.children(node)) for node in graph.nodes] == [1, 2, 0, 1, 0]


def test_the_type_that_a_map_returns_is_read_from_its_annotation(clicks: Topic[Click]) -> None:
    def named(value: Any) -> dict[str, int] | None:
        return None

    _, step, _ = steps_of(describe(lambda s: s.map(named).to("x"), "s", [clicks]))
    assert isinstance(step, Map)
    assert step.type is dict


def _no_output(s: Stream) -> None:
    s.filter(pl.col("load_ms") > 0)


async def _async(value: object) -> None: ...


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (_no_output, "no output"),
        (lambda: None, "one argument"),
        (lambda s: s.filter().to("x"), "filter needs"),
        (lambda s: s.select().to("x"), "select needs"),
        (lambda s: s.explode().to("x"), "explode needs"),
        (lambda s: s.key_by().to("x"), "key_by needs"),
        (lambda s: s.merge().to("x"), "merge needs"),
        (lambda s: s.merge(s.select("page")).to("x"), "the columns differ"),
        (lambda s: s.merge("clicks").to("x"), "not a stream"),
        (lambda s: s.map(lambda: None).to("x"), "one argument"),
        (lambda s: s.map("name").to("x"), "not a function"),
        (lambda s: s.each(_async), "async"),
        (lambda s: s.to("no good name"), "cannot be a topic name"),
        (lambda s: s.to(5), "give a topic"),
        (lambda s: s.window("1m").agg(n=count()).to("x"), "not a window"),
        (lambda s: s.window(tumbling("1m")).agg().to("x"), "needs an aggregate"),
        (lambda s: s.window(tumbling("1m")).agg(n=5).to("x"), "give an aggregate"),
        (lambda s: s.window(tumbling("1m"), by="n").agg(n=count()).to("x"), "taken"),
        (lambda s: s.window(tumbling("1m")).agg(window_end=count()).to("x"), "taken"),
        (lambda s: s.filter(pl.col("lod_ms") > 0).to("x"), r"test_stream_description.py:\d+: filter.*lod_ms.*load_ms"),
        (lambda s: s.select("pages").to("x"), "pages"),
        (lambda s: s.filter(pl.col("page") + 1 > 2).to("x"), "filter"),
        (lambda s: s.explode("page").to("x"), "explode"),
        (lambda s: s.key_by("user").to("x"), "user"),
    ],
)
def test_a_description_that_cannot_work_is_refused_when_it_is_written(
    clicks: Topic[Click], description: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        describe(description, "s", [clicks])


def test_a_topic_is_read_once_by_a_stream(clicks: Topic[Click]) -> None:
    with pytest.raises(UsageError, match="'clicks' twice"):
        describe(lambda one, other: one.merge(other).to("x"), "s", [clicks, clicks])


def test_a_table_needs_a_key(clicks: Topic[Click]) -> None:
    with pytest.raises(UsageError, match="no key field"):
        table(clicks)
    assert table(clicks, key="page").key == ("page",)


def test_the_state_of_a_window_depends_on_what_it_computes_and_not_on_lateness(clicks: Topic[Click]) -> None:
    def prints(description: Any) -> str:
        fingerprint: str = steps_of(describe(description, "s", [clicks]))[1].fingerprint()
        return fingerprint

    base = prints(lambda s: s.window(tumbling("1m"), by="page").agg(n=count()).to("x"))
    assert base == prints(lambda s: s.window(tumbling("1m"), by="page", lateness="9s").agg(n=count()).to("y"))
    assert base != prints(lambda s: s.window(tumbling("2m"), by="page").agg(n=count()).to("x"))
    assert base != prints(lambda s: s.window(tumbling("1m")).agg(n=count()).to("x"))
    assert base != prints(lambda s: s.window(tumbling("1m"), by="page").agg(n=sum_("load_ms")).to("x"))


@pytest.mark.parametrize(
    ("description", "columns"),
    [
        (lambda s: s.filter(pl.col("load_ms") > 0).select("page").to("x"), {"page", "load_ms"}),
        (lambda s: s.with_columns(slow=pl.col("load_ms") > 9).select("slow").to("x"), {"load_ms"}),
        (lambda s: s.select(pl.all()).to("x"), None),
        (lambda s: s.to("x"), None),
        (lambda s: s.map(lambda value: value).to("x"), None),
    ],
)
def test_no_more_columns_are_read_than_are_needed(clicks: Topic[Click], description: Any, columns: Any) -> None:
    graph = describe(description, "s", [clicks])
    assert needs_of(graph)[graph.nodes[0]] == columns


@pytest.mark.parametrize("steps", [1, 4, 250])
def test_steps_with_state_share_the_memory_that_one_may_have(clicks: Topic[Click], steps: int) -> None:
    def many(s: Stream) -> None:
        for number in range(steps):
            s.stateful_map(lambda state, value: (state, None), init=int, by=["page"], name=f"step {number}").to("a")

    operators = operators_of(describe(many, "many", [clicks]), Guard(OnError())).values()
    held = [operator._state._bytes_max for operator in operators if isinstance(operator, StatefulOperator)]
    assert len(held) == steps
    assert STATE_MEMORY_BYTES - steps < sum(held) <= STATE_MEMORY_BYTES
