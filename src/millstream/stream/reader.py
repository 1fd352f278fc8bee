"""A stream as it is declared, and what can be seen of it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Literal

from millstream.errors import CommitConflictError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.records import check_name
from millstream.stream.copartition import check_copartitioned
from millstream.stream.description import describe
from millstream.stream.explain import as_mermaid, as_text
from millstream.stream.graph import Table
from millstream.stream.info import StreamInfo, info_of
from millstream.stream.options import DEFAULTS, StreamOptions
from millstream.stream.outline import Outline, keep, outline_of
from millstream.stream.presence import FIRST_S, Presence
from millstream.stream.run import RECORDS_MAX, STATE_PARTITION, StreamRun, worker
from millstream.stream.sharing import SharedRun
from millstream.stream.standby import LOOK_S, Standby

_log = logging.getLogger("millstream.stream")


class StreamReader:
    """A topic read as a stream: records in order, continuously, as the description says.

    Exactly once in the engine: the offsets read, the windows' state and the outputs to topics are one transaction, so a
    crash loses and repeats nothing of them. What `each` calls do is at least once. An error in a function of the
    description stops the stream at that micro-batch: nothing is skipped.

    A window closes when the watermark passes its end (plus lateness): when later records say so, or when the input has
    been idle for as long as the window still had to go. The results do not depend on where micro-batches end.

    Several processes may run it. With `share` each takes some of the partitions; else one does everything, and another
    stands by and takes over when it does not go on.

    Raises:
        UsageError: The function does not describe a stream.
    """

    kind = "stream"

    def __init__(
        self,
        *sources: Topic[Any] | Table,
        description: Callable[..., Any],
        name: str,
        options: StreamOptions = DEFAULTS,
    ) -> None:
        self.name = check_name("stream", name)
        self.topic: Topic[Any] = topic_of(sources[0])
        """The first one; the stream's state is kept with it."""
        self.sources = sources
        self.options = options
        self._description = description
        self.graph = describe(description, name, sources)
        if options.share:
            check_copartitioned(self.graph)
        functools.update_wrapper(self, description, updated=())

    def __call__(self, *streams: Any) -> Any:
        return self._description(*streams)

    def __repr__(self) -> str:
        return f"<stream {self.name!r} of topic {self.topic.name!r}>"

    @property
    def topics(self) -> tuple[Topic[Any], ...]:
        """Its topics, those of tables among them, in the order they were given."""
        return tuple(topic_of(source) for source in self.sources)

    @property
    def group(self) -> Group[Any]:
        """The consumer group, created the first time."""
        return self.topic.group(self.name, start=self.options.start)

    @functools.cached_property
    def outline(self) -> Outline:
        """What the log keeps of its description."""
        return outline_of(self.graph, share=self.options.share)

    def explain(self, form: Literal["text", "mermaid"] = "text") -> str:
        """Return its graph: the steps, where each was written, the columns that come out and those that are read."""
        return as_mermaid(self.graph) if form == "mermaid" else as_text(self.graph)

    def info(self) -> StreamInfo:
        """Return how far it came, in whatever process it runs, without looking at its state."""
        self._groups()  # makes those that are missing
        return info_of(self.topic.log, self.name, self.outline)

    def pause(self) -> None:
        """Let it wait, in whatever process it runs; nothing is lost, and it survives restarts."""
        self.group.pause()

    def resume(self) -> None:
        """Let it go on where it was paused."""
        self.group.pause(paused=False)

    def run(self, stop: threading.Event) -> None:
        """Process records until `stop` is set.

        Where another process runs this stream, wait until that one does not go on.

        Raises:
            MillstreamError: The log cannot be used.
            Exception: What a function of the description raised.
        """
        keep(self.group, self.outline)
        with Presence(self.group, worker()) as presence:
            if self.options.share:
                shared = self.open_shared()
                presence.of(shared)
                shared.run(stop)
            else:
                self._run(stop, presence)

    def _run(self, stop: threading.Event, presence: Presence) -> None:
        """Run all of it, or stand by while another process does."""
        while not stop.is_set():
            try:
                run = self.open()
                presence.of(run)
                run.run(stop)
            except CommitConflictError as error:
                _log.info("stream %s: standing by, as another process runs it: %s", self.name, error)
                standby = Standby(self._groups(), STATE_PARTITION, self.topic.log.clock)
                while not stop.wait(LOOK_S) and not standby.look():
                    pass

    def run_now(self, stop: threading.Event) -> int:
        """Process what is there, then return the number of records.

        Raises:
            MillstreamError: The log cannot be used, or (CommitConflictError) another process runs this stream.
            Exception: What a function of the description raised.
        """
        keep(self.group, self.outline)
        with Presence(self.group, worker(), first_s=FIRST_S) as presence:
            run = self.open_shared() if self.options.share else self.open()
            presence.of(run)
            return run.run_now(stop)

    def open(self, *, records_max: int = RECORDS_MAX) -> StreamRun:
        """Return the stream at what was committed last, to be run step by step; of all partitions together.

        Args:
            records_max: Of a micro-batch.
        """
        return StreamRun(self.graph, self.options, records_max=records_max)

    def open_shared(self, *, records_max: int = RECORDS_MAX) -> SharedRun:
        """Return this process's part of the stream, where it is shared."""
        return SharedRun(self.graph, self.options, self._groups(), records_max=records_max)

    def _groups(self) -> list[Group[Any]]:
        return [
            # A table is read whole, wherever the streams begin.
            topic_of(source).group(self.name, start="start" if isinstance(source, Table) else self.options.start)
            for source in self.sources
        ]


def topic_of(source: Topic[Any] | Table) -> Topic[Any]:
    """Return the topic of a source."""
    return source.topic if isinstance(source, Table) else source
