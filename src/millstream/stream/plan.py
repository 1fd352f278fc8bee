"""From a description to what runs: an operator for each step with state, and the columns that each source must read."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from millstream import limits
from millstream.errors import UsageError
from millstream.stream.deduping import DedupeOperator, DedupeStep
from millstream.stream.graph import Each, Graph, Node, Source, ToSink, ToTopic, is_stateful
from millstream.stream.joining import AsOfOperator, AsOfStep, JoinOperator, JoinStep, TableOperator, TableStep
from millstream.stream.keyed.entry import MEMORY, Memory
from millstream.stream.keyed.failing import Guard
from millstream.stream.keyed.operator import StatefulOperator
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.needs import Needs, union
from millstream.stream.operators import OPERATORS, Operator
from millstream.stream.steps import MapBatches
from millstream.stream.windowing import WindowOperator, WindowStep

_DUE_KEYS_MIN: Final = 1000
"""Timers that a step holds in memory, however many steps there are: reading fewer at a time is slow."""


def operator_of(step: Any, prefix: bytes, guard: Guard | None = None, memory: Memory = MEMORY) -> Operator:
    """Return what does the work of a step with state.

    Args:
        guard: Calls its functions; None: an error stops.
        memory: What a step whose state is larger than memory may hold of it.
    """
    match step:
        case WindowStep():
            return WindowOperator(step, prefix)
        case JoinStep():
            return JoinOperator(step, prefix)
        case AsOfStep():
            return AsOfOperator(step, prefix)
        case TableStep():
            return TableOperator(step, prefix)
        case DedupeStep():
            return DedupeOperator(step, prefix)
        case StatefulStep():
            return StatefulOperator(step, prefix, guard, memory)
    raise AssertionError(f"no operator does {step!r}")


def operators_of(
    graph: Graph, guard: Guard, *, shared: bool = False, memory_bytes: int = limits.STATE_MEMORY_BYTES
) -> dict[Node, Operator]:
    """Return the operators of a graph's steps with state; equal steps are told apart by their order.

    Args:
        shared: Each partition has its own, which is other state than one for all of them: their keys differ.
        memory_bytes: What those whose state is larger than memory may hold of it together.
    """
    seen: dict[str, int] = {}
    operators: dict[Node, Operator] = {}
    memory = _memory_of_each(memory_bytes, sum(isinstance(node.step, StatefulStep) for node in graph.nodes))
    for node in graph.nodes:
        if not is_stateful(node.step):
            continue
        fingerprint = node.step.fingerprint() + (" of one partition" if shared else "")
        occurrence = seen[fingerprint] = seen.get(fingerprint, -1) + 1
        if occurrence > 254:
            raise UsageError(f"stream {graph.name!r}: more than 255 equal steps: {node.step}")
        digest = hashlib.sha256(fingerprint.encode()).digest()[:8]
        operator = operator_of(node.step, OPERATORS + digest + occurrence.to_bytes(1, "big"), guard, memory)
        for port, source in enumerate(node.inputs):
            if source.schema is not None:
                operator.bind(port, source.schema)
        operators[node] = operator
    return operators


def _memory_of_each(memory_bytes: int, steps: int) -> Memory:
    """Return what each of some steps may hold, so that together they hold what one may."""
    share = max(1, steps)
    due_keys = max(_DUE_KEYS_MIN, MEMORY.due_keys * memory_bytes // (MEMORY.state_bytes * share))
    return Memory(state_bytes=memory_bytes // share, due_keys=due_keys, page_keys=min(MEMORY.page_keys, due_keys))


def needs_of(graph: Graph) -> dict[Node, Needs]:
    """Return, for each node, the columns that are wanted of what comes out of it."""
    wanted: dict[Node, Needs] = {node: frozenset() for node in graph.nodes}
    for node in reversed(graph.nodes):
        for port, source in enumerate(node.inputs):
            wanted[source] = union(wanted[source], _needs_of_input(node, port, wanted[node]))
    return wanted


def _needs_of_input(node: Node, port: int, out: Needs) -> Needs:
    step = node.step
    if node.late_of is not None or isinstance(step, ToTopic | ToSink | Each):
        return None
    if is_stateful(step):
        return step.needs(port, out, node.inputs[port].schema) if hasattr(step, "needs") else None
    needs: Needs = step.needs(out)
    return needs


def wants_values(node: Node, graph: Graph) -> bool:
    """Return whether the records' own Python values are wanted of a source: by a function, or by an output."""
    return any(_takes_values(child, graph) for child, _ in graph.children(node))


def _takes_values(node: Node, graph: Graph) -> bool:
    step = node.step
    if isinstance(step, Each):
        return True
    if isinstance(step, ToSink):
        return _is_open(node)
    if keeps_values(step):
        return step.on_values or wants_values(node, graph)
    return getattr(step, "on_values", False)


def wants_columns(node: Node, graph: Graph) -> bool:
    """Return whether columns of a source's records are wanted."""
    return any(_takes_columns(child, graph) for child, _ in graph.children(node))


def _takes_columns(node: Node, graph: Graph) -> bool:
    step = node.step
    if isinstance(step, Each):
        return False
    if isinstance(step, ToTopic):
        return True
    if isinstance(step, ToSink):
        return not _is_open(node)
    if is_stateful(step):
        return not getattr(step, "on_values", False)
    if not step.on_values:
        return True
    return keeps_values(step) and wants_columns(node, graph)


def _is_open(node: Node) -> bool:
    """Return whether what comes in are objects whose fields only they themselves can tell."""
    return node.inputs[0].empty is None


def keeps_values(step: Any) -> bool:
    """Return whether the values that come out are those that came in."""
    return type(step).__name__ in ("DedupeStep", "Filter", "FilterValues", "KeyBy", "Merge")


def wants_keys(node: Node, graph: Graph, needs: Needs) -> bool:
    """Return whether the records' own keys are wanted of a source."""
    if needs is not None and "_key" in needs:
        return True
    return any(_takes_keys(child, graph) for child, _ in graph.children(node)) or any(
        other.late_of is not None and node in other.inputs for other in graph.nodes
    )


def _takes_keys(node: Node, graph: Graph) -> bool:
    step = node.step
    if isinstance(step, ToTopic):
        return isinstance(step.target, str) or step.target.schema.key is None
    if isinstance(step, Each | WindowStep):
        return False
    if isinstance(step, MapBatches) or not graph.children(node):
        return True
    return any(_takes_keys(child, graph) for child, _ in graph.children(node))


def has_functions(graph: Graph) -> bool:
    """Return whether a function of the program can raise for a record."""
    return any(
        isinstance(node.step, Each | MapBatches) or getattr(node.step, "on_values", False) for node in graph.nodes
    )


def never_null(node: Node) -> tuple[str, ...]:
    """Return the columns of a window's results, before a node, that count and so are never null."""
    for source in node.inputs:
        if isinstance(source.step, WindowStep):
            return tuple(name for name, a in source.step.aggregates.items() if a.function == "count")
        if found := never_null(source):
            return found
    return ()


def source_of(node: Node) -> Source:
    assert isinstance(node.step, Source)
    return node.step
