"""What a stream does, written down by the function under `@app.stream`: steps that end in outputs.

Every call adds a node to the stream's graph and returns a new description, so one can branch:

    def clicks_by_kind(s):
        slow = s.filter(pl.col("load_ms") > 1000)
        slow.to("slow_clicks")
        slow.window(tumbling(minutes=1), by="page").agg(clicks=count()).to("slow_pages")

Columns and types are checked as the calls are made, as far as the topics tell them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.log.topic import Topic
from millstream.records import check_name
from millstream.sinks.protocol import Sink
from millstream.stream.arguments import (
    Columns,
    Reach,
    Span,
    columns,
    item_type,
    of_table,
    output_type,
    reach_us,
    return_type,
    takes,
)
from millstream.stream.deduping import DedupeStep
from millstream.stream.graph import Each, Graph, Node, Source, Table, ToSink, ToTopic, called_at
from millstream.stream.joining import AsOfStep, How, JoinStep, TableStep
from millstream.stream.keyed.awaiting import CONCURRENCY, AsyncCaller
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.steps import (
    AsyncMap,
    Explode,
    Filter,
    FilterValues,
    FlatMap,
    KeyBy,
    Map,
    MapBatches,
    Merge,
    Select,
    WithColumns,
)
from millstream.stream.windowed import Windowed

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.windows import Tumbling, Window


class Stream:
    """The records of a topic on their way through steps."""

    def __init__(self, graph: Graph, node: Node, keys: tuple[str, ...] = ()) -> None:
        self._graph = graph
        self._node = node
        self._keys = keys

    # --- columns --------------------------------------------------------------------------------------------------

    def filter(self, *predicates: pl.Expr | Callable[[Any], Any]) -> Stream:
        """Keep the records for which all Polars expressions are true, or for whose value a function says so."""
        if not predicates:
            raise UsageError('filter needs a Polars expression, such as filter(pl.col("load_ms") > 0), or a function')
        functions = [p for p in predicates if inspect.isroutine(p) or inspect.isclass(p)]
        stream = self
        for function in functions:
            stream = stream._then(FilterValues(_one_argument(function, "filter")))
        exprs = tuple(p for p in predicates if p not in functions) if functions else predicates
        return stream._then(Filter(exprs)) if exprs else stream

    def with_columns(self, *exprs: pl.Expr, **named: pl.Expr) -> Stream:
        """Add or replace columns. Expressions see one record at a time in effect: batches end anywhere."""
        return self._then(WithColumns(exprs, named))

    def select(self, *exprs: pl.Expr | str, **named: pl.Expr) -> Stream:
        """Keep these columns only; key and event time stay with the record."""
        if not exprs and not named:
            raise UsageError('select needs columns, such as select("page", pl.col("load_ms") / 1000)')
        return self._then(Select(exprs, named))

    def explode(self, *columns: str) -> Stream:
        """Make a record of each item of a column of lists (of several columns: of equally long lists)."""
        if not columns:
            raise UsageError('explode needs a column of lists, such as explode("tags")')
        return self._then(Explode(columns))

    def map_batches(self, function: Callable[[pl.DataFrame], pl.DataFrame]) -> Stream:
        """Call a function with the frame of a micro-batch and go on with the frame it returns.

        The frame also has `_key`, `_event_time` and `_watermark` (the newest event time before the record, in us);
        they go on with the records, so keep them. Batches end anywhere: what the function returns for a record must not
        depend on the others.
        """
        return self._then(MapBatches(_one_argument(function, "map_batches")))

    # --- Python -----------------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any], *, concurrency: int = CONCURRENCY) -> Stream:
        """Call a function with each record's value and go on with what it returns; None drops the record.

        The value is of the topic's type; after a step on columns it is a struct of the columns. The function returns a
        Struct, a dataclass or a dict (bytes where the next step is a raw topic); name it in the return annotation.

        Args:
            function: May be `async`: many calls are under way at a time then. Results keep the order of the records; a
                micro-batch is done when the last of its calls is.
            concurrency: How many, of an async function.
        """
        if inspect.iscoroutinefunction(function):
            if concurrency < 1:
                raise UsageError(f"{called_at()}: map(..., concurrency={concurrency}): give 1 or more")
            caller = AsyncCaller(takes(function, 1, "map", may_be_async=True), concurrency)
            return self._then(AsyncMap(function, return_type(function), caller))
        return self._then(Map(_one_argument(function, "map"), return_type(function)))

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> Stream:
        """Call a function with each record's value and go on with each of the values it returns or yields."""
        return self._then(FlatMap(_one_argument(function, "flat_map"), item_type(function)))

    def stateful_map(
        self,
        function: Callable[..., tuple[Any, Any]],
        init: Any,
        *,
        by: Columns = None,
        ttl: Span | None = None,
        on_timer: Callable[..., tuple[Any, Any]] | None = None,
        name: str = "",
    ) -> Stream:
        """Call a function with the state of the record's key and its value; it returns the next state and an output.

        Records of a key come in their order. The state is data (a number, text, dict, Struct, dataclass), kept with the
        log and larger than memory if need be; None forgets it. An output of None drops the record.

        Args:
            function: (state, value) or (state, value, context) -> (state, output). The `Context` tells key and times,
                and sets timers.
            init: The state of a key without any: a value, or what is called to make one.
            by: The columns of the key; None: the record's key, as `key_by` made it.
            ttl: Forget the state of a key so much event time after its last record.
            on_timer: (state, context) -> (state, output), called when a timer that was set is due.
            name: What the state is kept under; "": the function's name. Keep it when you rename the function.
        """
        return self._stateful(function, init, by, ttl, on_timer, name, many=False)

    def stateful_flat_map(
        self,
        function: Callable[..., tuple[Any, Iterable[Any]]],
        init: Any,
        *,
        by: Columns = None,
        ttl: Span | None = None,
        on_timer: Callable[..., tuple[Any, Iterable[Any]]] | None = None,
        name: str = "",
    ) -> Stream:
        """Do as `stateful_map` does, with any number of outputs: the functions return the next state and a list."""
        return self._stateful(function, init, by, ttl, on_timer, name, many=True)

    # --- one and many -----------------------------------------------------------------------------------------------

    def branch(self, *predicates: pl.Expr) -> tuple[Stream, ...]:
        """Return a stream for each predicate, and one for the rest; a record goes to the first that is true for it."""
        import polars as pl

        taken = pl.lit(value=False)
        branches: list[Stream] = []
        for predicate in predicates:
            true = predicate.fill_null(value=False)
            branches.append(self._then(Filter((true & ~taken,))))
            taken = taken | true
        return (*branches, self._then(Filter((~taken,))))

    def merge(self, *others: Stream) -> Stream:
        """Go on with the records of this and other streams, which have the same columns."""
        if not others:
            raise UsageError("merge needs another stream, such as web.merge(app)")
        nodes = [self._other(other, "merge")._node for other in others]
        return Stream(self._graph, self._graph.step(Merge(), self._node, *nodes))

    def key_by(self, *columns: str) -> Stream:
        """Give the records the key of these columns; windows and functions with state after it work by them."""
        if not columns:
            raise UsageError('key_by needs columns, such as key_by("user")')
        return Stream(self._graph, self._graph.step(KeyBy(columns), self._node), columns)

    # --- joins ----------------------------------------------------------------------------------------------------

    def join(
        self,
        other: Stream | TableView,
        *,
        on: Columns = None,
        left_on: Columns = None,
        right_on: Columns = None,
        how: How = "inner",
        within: Reach = None,
        window: Tumbling | None = None,
        lateness: timedelta | str | float = 0,
        suffix: str = "_right",
    ) -> Stream:
        """Join the records with those of another stream, or with the rows of a table.

        With a stream: those with the same key that are near in event time. With a table: the row of the key as it was
        at the record's event time. Columns of the other side that are here too get the suffix.

        Args:
            on: The columns that must be equal; `left_on` and `right_on` where they have other names. Of a table, the
                right ones are its key unless given.
            how: "inner": pairs only; "left": also records of this side without any, with nulls; "outer": of both sides.
            within: How far apart in event time: "10m", or ("-5m", "10m"), the other one 5 minutes earlier to 10 later.
            window: In place of `within`: both in the same window.
            lateness: How much further behind the watermark a record still counts.

        Raises:
            UsageError: A column is not there or cannot be compared, or it is not said what can meet.
        """
        if isinstance(other, TableView):
            if within is not None or window is not None:
                raise UsageError("join: a table has a row at any time; leave out within and window")
            right = columns(right_on) or columns(on) or other.key
            left, timeless = columns(left_on) or columns(on), other.timeless
            return self._joined(TableStep(left, right, how=of_table(how), suffix=suffix, timeless=timeless), other)
        step = JoinStep(
            columns(left_on) or columns(on) or self._keys,
            columns(right_on) or columns(on) or self._keys,
            how=how,
            within_us=reach_us(within),
            window=window,
            suffix=suffix,
            lateness_us=duration_us(lateness),
        )
        return self._joined(step, self._other(other, "join"))

    def join_asof(
        self,
        other: Stream,
        *,
        on: Columns = None,
        left_on: Columns = None,
        right_on: Columns = None,
        tolerance: timedelta | str | float | None = None,
        lateness: timedelta | str | float = 0,
        suffix: str = "_right",
    ) -> Stream:
        """Join each record with the newest one of another stream that has its key and is not newer; nulls without one.

        Results come when the watermark has passed the record: until then a better match may come.

        Args:
            tolerance: The other one is at most so much older.
            lateness: How far behind the watermark a record still counts; results come so much later.
        """
        step = AsOfStep(
            columns(left_on) or columns(on),
            columns(right_on) or columns(on),
            tolerance_us=None if tolerance is None else duration_us(tolerance),
            suffix=suffix,
            lateness_us=duration_us(lateness),
        )
        return self._joined(step, self._other(other, "join_asof"))

    def dedupe(self, *by: str, within: timedelta | str | float) -> Stream:
        """Keep the first record of each key, and drop those that follow within a time of event time.

        Args:
            by: The columns that make two records the same.
        """
        if not by:
            raise UsageError('dedupe needs columns, such as dedupe("id", within="1h")')
        return self._then(DedupeStep(by, duration_us(within)))

    # --- windows ------------------------------------------------------------------------------------------------

    def window(
        self,
        window: Window,
        *,
        by: str | Sequence[str] | None = None,
        lateness: timedelta | str | float = 0,
        early: timedelta | str | float | None = None,
        corrections: bool = False,
        late_to: str | Topic[Any] | None = None,
    ) -> Windowed:
        """Group the records by windows of event time and, with `by`, by columns. `agg` says what to compute.

        Args:
            by: None: the columns of the `key_by` before it, if there is one.
            lateness: How far behind the watermark a record still counts; windows close that much later.
            early: Also emit what a window holds so far, each time event time went on by so much.
            corrections: Emit a window's result when the watermark passes its end, and again when late records change
                it; without, once, when the lateness has passed too.
            late_to: A topic that gets the records that came too late for their windows.

        Raises:
            UsageError: It is not a window.
        """
        columns = (by,) if isinstance(by, str) else tuple(self._keys if by is None else by)
        return Windowed(
            self._graph,
            self._node,
            window,
            by=columns,
            lateness_us=duration_us(lateness),
            early_us=None if early is None else duration_us(early),
            corrections=corrections,
            late_to=None if late_to is None else ToTopic(_target(late_to)),
            then=lambda node: Stream(self._graph, node),
        )

    # --- outputs ------------------------------------------------------------------------------------------------

    def to(self, target: str | Topic[Any] | Sink) -> None:
        """Append what arrives here to a topic, in the transaction that moves the offsets: exactly once in the engine.

        A topic that does not exist gets the schema of what arrives. Keys and event times go along; those of a window's
        result are its `by` columns and its start.

        Args:
            target: Or a sink of `millstream.sinks`, where results leave the log; each says what it promises.

        Raises:
            UsageError: The sink cannot write the columns that arrive.
        """
        if isinstance(target, Sink):
            self._to_sink(target)
            return
        self._graph.output(ToTopic(_target(target)), self._node)

    def each(self, function: Callable[[Any], Any]) -> None:
        """Call a function with each value that arrives here, before the offsets move: at least once."""
        self._graph.output(Each(_one_argument(function, "each")), self._node)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _to_sink(self, sink: Sink) -> None:
        if self._node.schema is not None:
            try:
                sink.check(self._node.schema)
            except UsageError as error:
                raise UsageError(f"stream {self._graph.name!r}, {called_at()}: {sink}: {error}") from error
        self._graph.output(ToSink(sink), self._node)

    def _then(self, step: Any) -> Stream:
        return Stream(self._graph, self._graph.step(step, self._node), self._keys)

    def _stateful(
        self,
        function: Callable[..., Any],
        init: Any,
        by: Columns,
        ttl: Span | None,
        on_timer: Callable[..., Any] | None,
        name: str,
        *,
        many: bool,
    ) -> Stream:
        return self._then(
            StatefulStep(
                function=function,
                init=init,
                by=columns(by),
                many=many,
                on_timer=on_timer,
                ttl_us=None if ttl is None else duration_us(ttl),
                name=name,
                type=output_type(function, many=many),
            )
        )

    def _joined(self, step: Any, other: Stream | TableView) -> Stream:
        return Stream(self._graph, self._graph.step(step, self._node, other._node), self._keys)

    def _other(self, other: Any, what: str) -> Stream:
        if not isinstance(other, Stream) or other._graph is not self._graph:
            raise UsageError(f"{what}: {other!r} is not a stream of this description")
        return other


class TableView:
    """A topic read as a table, inside a description: what `Stream.join` looks records up in."""

    def __init__(self, graph: Graph, node: Node, table: Table) -> None:
        self._graph = graph
        self._node = node
        self.key = table.key
        """Its key columns."""
        self.timeless = table.topic.schema.time is None
        """Whether its records do not say since when they count."""


def table(topic: Topic[Any], *, key: str | Sequence[str] | None = None) -> Table:
    """Read a topic as a table in a stream: `@app.stream(orders, table(users))`. Of each key the newest record counts.

    Args:
        key: The columns that tell rows apart; None: the topic's key field.

    Raises:
        UsageError: It has no key field, and none is given.
    """
    if not isinstance(topic, Topic):
        raise UsageError(f"table({topic!r}): give a topic, as in table(app.topic('users', User, key='id'))")
    columns = (key,) if isinstance(key, str) else tuple(key or ())
    if not columns and topic.schema.key is not None:
        columns = (topic.schema.key,)
    if not columns:
        raise UsageError(f"table: topic {topic.name!r} has no key field; give table(topic, key=...)")
    return Table(topic, columns)


def describe(function: Callable[..., Any], name: str, sources: Sequence[Topic[Any] | Table]) -> Graph:
    """Call the function under `@app.stream` once and return the graph it described.

    Raises:
        UsageError: It does not take as many arguments as there are sources, a step cannot work, or there is no output.
    """
    graph = Graph(name)
    topics = [source.topic.name if isinstance(source, Table) else source.name for source in sources]
    if twice := next((topic for topic in topics if topics.count(topic) > 1), None):
        raise UsageError(
            f"stream {name!r} reads topic {twice!r} twice; read it once and branch, or join it with itself"
        )
    arguments: list[Stream | TableView] = []
    for source in sources:
        if isinstance(source, Table):
            arguments.append(TableView(graph, graph.source(Source(source.topic, source)), source))
        else:
            arguments.append(Stream(graph, graph.source(Source(source))))
    takes(function, len(arguments), "a stream's description")(*arguments)
    if not any(isinstance(node.step, ToTopic | ToSink | Each) for node in graph.nodes):
        raise UsageError(f'stream {name!r} has no output; end its steps with .to("topic") or .each(function)')
    return graph


def _target(target: str | Topic[Any]) -> str | Topic[Any]:
    if isinstance(target, str):
        return check_name("topic", target)
    if not isinstance(target, Topic):
        raise UsageError(f"{called_at()}: to({target!r}): give a topic or the name of one")
    return target


def _one_argument(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    return takes(function, 1, what)
