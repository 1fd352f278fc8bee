"""Whether a stream can be run one partition at a time: whether all that its steps bring together is in one partition.

A record's partition is chosen by its key. So a step whose keys include the field that is the topic's key finds in one
partition all that belongs to a key; one without it would find a part, and each partition would come to another answer.
The columns that hold the key are followed from the topics through the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.stream.deduping import DedupeStep
from millstream.stream.graph import Graph, Node, Source
from millstream.stream.joining import AsOfStep, JoinStep, TableStep
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.needs import is_plain, names_of
from millstream.stream.steps import Explode, Filter, FilterValues, KeyBy, MapBatches, Merge, Select, WithColumns
from millstream.stream.windowing import WindowStep

if TYPE_CHECKING:
    import polars as pl

KEY: Final = "_key"
"""The record's own key, beside its columns."""


class Keys(msgspec.Struct, frozen=True):
    """What is known of the columns of records."""

    same: frozenset[str] = frozenset()
    """Columns that hold the topic's key."""
    fixing: frozenset[str] = frozenset()
    """Columns each value of which belongs to one key: texts that have the key in them."""

    def of(self, names: Iterable[str]) -> Keys:
        """Return what is known of these alone; the record's own key stays with it."""
        kept = {*names, KEY}
        return Keys(self.same & kept, self.fixing & kept)

    def keyed(self, by: tuple[str, ...]) -> Keys:
        """Return what is known once the record's own key is the text of columns."""
        same, fixing = self.same - {KEY}, self.fixing - {KEY}
        if len(by) == 1 and by[0] in self.same:
            return Keys(same | {KEY}, fixing)
        return Keys(same, fixing | {KEY}) if self.hold(by) else Keys(same, fixing)

    def hold(self, by: Iterable[str]) -> bool:
        """Return whether records that are the same in columns are in one partition."""
        return not (self.same | self.fixing).isdisjoint(by)


def check_copartitioned(graph: Graph) -> None:
    """Check that a stream gives the same answer when each partition is run by itself.

    Raises:
        UsageError: A step brings together what is in several partitions; the message says which, and what to do.
    """
    counts = {node.step.topic.name: node.step.topic.partitions for node in graph.sources()}
    if len(set(counts.values())) > 1:
        raise UsageError(
            f"stream {graph.name!r}: with share=True its topics need the same number of partitions; they have "
            f"{', '.join(f'{topic} {count}' for topic, count in counts.items())}"
        )
    keys: dict[Node, Keys] = {}
    for node in graph.nodes:
        try:
            keys[node] = _after(node, [keys[source] for source in node.inputs])
        except UsageError as error:
            raise UsageError(f"stream {graph.name!r}, {node.where}: {error}") from None


def _after(node: Node, inputs: list[Keys]) -> Keys:
    """Return what is known of what comes out of a node."""
    step = node.step
    if isinstance(step, Source):
        return _of_topic(step)
    rule = _RULES.get(type(step))
    if rule is not None:
        return rule(node, step, inputs)
    # Functions of the program: nobody knows what they return, but the record's key stays with it.
    return inputs[0].of(()) if inputs else Keys()


def _of_topic(source: Source) -> Keys:
    schema = source.topic.schema
    if schema.key is None:
        return Keys(frozenset({KEY}))
    if schema.by_name[schema.key].type.nullable:
        # Records without a key are in any partition.
        return Keys()
    return Keys(frozenset({KEY, schema.key}))


def _kept(node: Node, step: Any, inputs: list[Keys]) -> Keys:
    return inputs[0]


def _forgotten(node: Node, step: Any, inputs: list[Keys]) -> Keys:
    return Keys()


def _merged(node: Node, step: Merge, inputs: list[Keys]) -> Keys:
    keys = inputs[0]
    for other in inputs[1:]:
        keys = Keys(keys.same & other.same, frozenset())
    return keys


def _with_columns(node: Node, step: WithColumns, inputs: list[Keys]) -> Keys:
    if not all(is_plain(expr) for expr in step.exprs):
        return inputs[0].of(())
    made = names_of(step.exprs, step.named)
    old = Keys(inputs[0].same - made, inputs[0].fixing - made)
    return _union(old, _renamed(inputs[0], step.exprs, step.named))


def _selected(node: Node, step: Select, inputs: list[Keys]) -> Keys:
    return _union(inputs[0].of(()), _renamed(inputs[0], step.exprs, step.named))


def _exploded(node: Node, step: Explode, inputs: list[Keys]) -> Keys:
    return Keys(inputs[0].same - {*step.columns}, inputs[0].fixing - {*step.columns})


def _key_by(node: Node, step: KeyBy, inputs: list[Keys]) -> Keys:
    return inputs[0].keyed(step.columns)


def _windowed(node: Node, step: WindowStep, inputs: list[Keys]) -> Keys:
    _check(step, step.by, inputs[0], "by")
    return inputs[0].keyed(step.by).of(step.by)


def _deduped(node: Node, step: DedupeStep, inputs: list[Keys]) -> Keys:
    _check(step, step.by, inputs[0], "by")
    return inputs[0]


def _stateful(node: Node, step: StatefulStep, inputs: list[Keys]) -> Keys:
    _check(step, step.by or (KEY,), inputs[0], "by")
    after = inputs[0].of(())
    if not step.by or step.on_timer is None:
        return after
    # What a timer makes has the key of the state.
    keyed = inputs[0].keyed(step.by).of(())
    return Keys(after.same & keyed.same, frozenset())


def _joined(node: Node, step: JoinStep | AsOfStep | TableStep, inputs: list[Keys]) -> Keys:
    left, right = inputs
    pairs = [pair for pair in zip(step.on_left, step.on_right, strict=True) if _meet(node, pair, left, right)]
    if not pairs:
        raise UsageError(
            f"{step}: with share=True both sides must be joined on the fields that are the keys of their topics "
            f"(left: {_text(left)}; right: {_text(right)}), and of one type: {_WAY_OUT}"
        )
    if isinstance(step, JoinStep) and step.how == "outer":
        own = frozenset({KEY} & left.same & right.same)
        return Keys(own | {name for name, _ in pairs})
    return left


def _meet(node: Node, pair: tuple[str, str], left: Keys, right: Keys) -> bool:
    """Return whether equal values of two columns are in one partition: the text of a key chooses it."""
    on_left, on_right = pair
    if on_left not in left.same or on_right not in right.same:
        return False
    one, other = (_dtype(source, name) for source, name in zip(node.inputs, pair, strict=True))
    if one is None or other is None:
        return one is other
    return one == other or (one.is_integer() and other.is_integer())


def _dtype(node: Node, name: str) -> pl.DataType | None:
    return None if node.schema is None else node.schema.get(name)


def _check(step: Any, by: tuple[str, ...], keys: Keys, what: str) -> None:
    if not keys.hold(by):
        raise UsageError(
            f"{step}: with share=True each partition is a stream of its own, so `{what}` must have the topic's key in "
            f"it ({_text(keys)}): {_WAY_OUT}"
        )


_WAY_OUT: Final = (
    "put the records into a topic with that key first, `.to(app.topic(..., key=..., partitions=...))`, and read that "
    "with a stream of its own, or leave share=True out"
)


def _text(keys: Keys) -> str:
    names = sorted(keys.same - {KEY}) or sorted(keys.same)
    return f"here {' or '.join(map(repr, names))}" if names else "which is not in its records here, or may be null"


def _renamed(keys: Keys, exprs: Iterable[Any], named: Mapping[str, Any]) -> Keys:
    """Return what is known of the columns that expressions make, where these are columns as they are."""
    made = [(expr if isinstance(expr, str) else None, expr) for expr in exprs] + list(named.items())
    same: set[str] = set()
    fixing: set[str] = set()
    for name, expr in made:
        root = expr if isinstance(expr, str) else _column(expr)
        if root is not None:
            new = name or expr.meta.output_name()
            same |= {new} if root in keys.same else set()
            fixing |= {new} if root in keys.fixing else set()
    return Keys(frozenset(same - {KEY}), frozenset(fixing - {KEY}))


def _column(expr: Any) -> str | None:
    """Return the column that an expression is, whatever name it gets; None where it computes something."""
    if not is_plain(expr) or not expr.meta.is_column_selection(allow_aliasing=True):
        return None
    [root] = expr.meta.root_names()
    return str(root)


def _union(some: Keys, more: Keys) -> Keys:
    return Keys(some.same | more.same, some.fixing | more.fixing)


_RULES: Final[dict[type, Callable[[Node, Any, list[Keys]], Keys]]] = {
    Filter: _kept,
    FilterValues: _kept,
    WithColumns: _with_columns,
    Select: _selected,
    Explode: _exploded,
    KeyBy: _key_by,
    MapBatches: _forgotten,
    Merge: _merged,
    WindowStep: _windowed,
    DedupeStep: _deduped,
    StatefulStep: _stateful,
    JoinStep: _joined,
    AsOfStep: _joined,
    TableStep: _joined,
}
