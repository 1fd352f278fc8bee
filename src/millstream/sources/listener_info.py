"""How listeners fare, from the log alone: whoever asks, in whatever process they are, with or without their program.

`millstream logs status`, `millstream top`, /metrics and /health all show what is computed here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from millstream.durations import duration_text
from millstream.errors import GroupNotFoundError, TopicNotFoundError
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.records import time_from_us
from millstream.sources.listener_signs import GROUP, ProcessSign, lives, told_signs
from millstream.sources.listening import ListenerSign, ListenerState, failures

UNREAD_S: Final = 60.0
"""What cannot be read for so long is a problem: a file that is rotated and a broker that is started anew are back."""


class ListenerInfo(msgspec.Struct, frozen=True):
    """How one listener fares, as far as is known."""

    topic: str
    name: str
    state: ListenerState
    why: str | None
    for_s: float | None
    """How long there has been something to tell."""
    lines: int
    """Stored since its process began."""
    read_us: int | None
    behind_bytes: int | None
    process: str
    spare: bool
    """Whether a machine may be without it."""
    is_live: bool
    """Whether its process is at work."""

    @property
    def message(self) -> str:
        """One sentence for what is not well."""
        since = "" if self.for_s is None else f" for {duration_text(self.for_s)}"
        return f"listener {self.name} of topic {self.topic} is {self.state}{since}: {self.why or 'its process ended'}"

    def to_object(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        read = None if self.read_us is None else time_from_us(self.read_us)
        return {
            "listener": self.name,
            "topic": self.topic,
            "state": str(self.state),
            "why": self.why,
            "for_s": self.for_s,
            "lines": self.lines,
            "last_reading": read,
            "behind_bytes": self.behind_bytes,
            "process": self.process,
        }


def listener_infos(log: Log) -> list[ListenerInfo]:
    """Return how the listeners of all topics fare: those of processes that live, else of the one that ended last."""
    found: list[ListenerInfo] = []
    for topic in log.topics():
        try:
            if GROUP in log.engine.groups(topic):
                found += _of_topic(log.topic(topic).group(GROUP))
        except (TopicNotFoundError, GroupNotFoundError):
            continue  # deleted meanwhile
    return found


def _of_topic(group: Group[Any]) -> list[ListenerInfo]:
    now_us = group.topic.log.clock.now_us()
    told = list(told_signs(group).values())
    living = [sign for sign in told if lives(sign, now_us)]
    shown = living or sorted(told, key=lambda sign: sign.at_us)[-1:]
    return [_info(group.topic.name, process, one, now_us) for process in shown for one in process.listeners]


def _info(topic: str, process: ProcessSign, one: ListenerSign, now_us: int) -> ListenerInfo:
    state, why, since_us, behind = one.state, one.why, one.since_us, one.behind_bytes
    is_live = lives(process, now_us)
    if not is_live:
        behind = None
        if not process.left:
            ago = duration_text((now_us - process.at_us) / 1e6)
            state, since_us = ListenerState.STOPPED, process.at_us
            why = f"its process {process.process} was last heard of {ago} ago"
    return ListenerInfo(
        topic,
        one.name,
        state,
        why,
        None if since_us is None else max(0.0, (now_us - since_us) / 1e6),
        one.lines,
        one.read_us,
        behind,
        process.process,
        one.spare,
        is_live,
    )


class ListenerProblem(msgspec.Struct, frozen=True):
    """A listener that has not read what it should for too long."""

    topic: str
    listener: str | None
    """None: all of them."""
    message: str


def problems_of(
    infos: Sequence[ListenerInfo], process: str, topics: Collection[str], *, patience_s: float = UNREAD_S
) -> list[ListenerProblem]:
    """Return what keeps the listeners of one process from reading, for longer than it may.

    Args:
        topics: That it reads into: each must have listeners of it.
    """
    found: list[ListenerProblem] = []
    for topic in sorted(topics):
        own = [info for info in infos if (info.topic, info.process) == (topic, process)]
        if not own:
            found.append(ListenerProblem(topic, None, f"no listener of topic {topic} has told of itself yet"))
        bad = failures(own, ended=False)
        for info in own:
            # Of itself this process is told to be gone where it could not tell for a while: nothing can be stored.
            gone = info.state is ListenerState.STOPPED and info.why is not None
            late = info.state is ListenerState.BROKEN or (info.for_s or 0.0) >= patience_s
            if (info in bad and late) or gone:
                found.append(ListenerProblem(topic, info.name, info.message))
    return found
