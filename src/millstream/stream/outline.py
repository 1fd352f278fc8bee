"""What a stream does, kept with its state: so that a log alone tells which streams it has and what they are."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.log.group import Group
from millstream.stream.explain import as_mermaid, as_text
from millstream.stream.graph import Graph, ToTopic

KEY: Final = b"o"
"""Of the state of the first topic's first partition."""

_PARTITION: Final = 0


class Outline(msgspec.Struct, frozen=True, array_like=True):
    """A stream as it was described when it was last begun."""

    sources: tuple[str, ...]
    """Topics, the one that has the state first."""
    outputs: tuple[str, ...]
    """Topics that it appends to."""
    text: str
    """As `explain()` has it."""
    mermaid: str
    share: bool = False


def outline_of(graph: Graph, *, share: bool) -> Outline:
    """Return what is kept of a description."""
    return Outline(
        sources=tuple(node.step.topic.name for node in graph.sources()),
        outputs=tuple(sorted({node.step.name for node in graph.nodes if isinstance(node.step, ToTopic)})),
        text=as_text(graph),
        mermaid=as_mermaid(graph),
        share=share,
    )


def keep(group: Group[Any], outline: Outline) -> None:
    """Store an outline, where it is not the one that is there."""
    encoded = msgspec.msgpack.encode(outline)
    if group.state(_PARTITION, [KEY]).get(KEY) != encoded:
        group.commit([], state=[StateChange(_PARTITION, KEY, encoded)])


def decode(data: bytes) -> Outline:
    return msgspec.msgpack.decode(data, type=Outline)
