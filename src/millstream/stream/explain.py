"""A stream's graph, for people: as a tree of text, or as a drawing in Mermaid's words."""

from __future__ import annotations

from collections.abc import Iterator

from millstream.stream.graph import Graph, Node, Source, is_stateful
from millstream.stream.needs import Needs
from millstream.stream.plan import needs_of


def as_text(graph: Graph) -> str:
    """Return a line a node: its number, what it does, where its records come from, what they look like.

    stream 'per_minute'
    0  topic 'clicks' -> 1           reads page, load_ms
    1  window ... -> 2               state; page String, window_start ...
    2  to topic 'page_views'
    """
    needs = needs_of(graph)
    lines = [f"stream {graph.name!r}"]
    for node in graph.nodes:
        goes = ", ".join(str(child.number) for child in _next(graph, node))
        name = f"{node.number:>3}  {_title(node)}{f' -> {goes}' if goes else ''}"
        lines.append(name)
        lines += [f"       {note}" for note in _notes(node, needs[node])]
    return "\n".join(lines)


def as_mermaid(graph: Graph) -> str:
    """Return a flowchart that Mermaid draws, in Markdown pages for one."""
    lines = ["flowchart TD"]
    for node in graph.nodes:
        opening, closing = ("[(", ")]") if isinstance(node.step, Source) or is_stateful(node.step) else ("[", "]")
        title = _title(node).replace('"', "#quot;")
        lines.append(f'    n{node.number}{opening}"{title}"{closing}')
    lines += [
        f"    n{node.number} -->{'|late|' if child.late_of is node else ''} n{child.number}"
        for node in graph.nodes
        for child in _next(graph, node)
    ]
    return "\n".join(lines)


def _next(graph: Graph, node: Node) -> list[Node]:
    late = [other for other in graph.nodes if other.late_of is node]
    return list(dict.fromkeys([*(child for child, _ in graph.children(node)), *late]))


def _title(node: Node) -> str:
    return f"{node.step}, what is late" if node.late_of is not None else str(node.step)


def _notes(node: Node, needs: Needs) -> Iterator[str]:
    if isinstance(node.step, Source):
        yield "reads all columns" if needs is None else f"reads {', '.join(sorted(needs)) or 'times only'}"
    else:
        yield f"written at {node.where}" + ("; keeps state" if is_stateful(node.step) else "")
        if node.schema is not None:
            yield ", ".join(f"{name} {dtype}" for name, dtype in node.schema.items())
