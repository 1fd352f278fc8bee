"""StreamTest: a stream under test, without files and without waiting."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from millstream.clock import SystemClock
from millstream.durations import duration
from millstream.engines.connect import connect
from millstream.engines.protocol import Durability
from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import Record, time_to_us
from millstream.stream.arguments import Span
from millstream.stream.graph import Table, ToTopic
from millstream.stream.info import StreamInfo
from millstream.stream.reader import StreamReader, topic_of
from millstream.stream.run import StreamRun
from millstream.testing.fake_clock import FakeClock
from millstream.testing.sink_recorder import record_sinks, recorder_of

RECORDS_MAX: Final = 1_000
_READ_MAX: Final = 1_000_000

_AT_ONCE_US: Final = 1
"""What a run waits when something is due already."""


class Fault(Enum):
    """What can be pushed in place of a value."""

    CRASH = "crash"
    """The process dies: what was processed since the last commit is lost, and done again from there."""


CRASH: Final = Fault.CRASH
Pushed: TypeAlias = Any


class StreamTest:
    """A declared stream on a log in memory, with a clock that moves when it is told to.

        with StreamTest(per_minute) as test:
            test.push(Click("/", 120), CRASH, Click("/", 80), time=noon)
            test.advance("2m")
            assert test.outputs("page_views") == [...]

    Everything is as in production but the engine, the clock and what is outside: micro-batches, watermarks, state that
    is stored and loaded, commits. Sinks are not opened: recorders that keep their promises stand for them (`sink`).

    Args:
        stream: As `@app.stream` returned it; its topics are made anew in memory, with their types, keys and times.
        now: What the clock says at first; None: the time of the machine.
        batch: Records of a micro-batch at most; the outputs must not depend on it.

    Raises:
        UsageError: The stream's description cannot work.
    """

    def __init__(self, stream: StreamReader, *, now: datetime | None = None, batch: int = RECORDS_MAX) -> None:
        self.clock = FakeClock(SystemClock().now_us() if now is None else time_to_us(now))
        self._log = Log(connect("memory://", durability=Durability.RELAXED, clock=self.clock), clock=self.clock)
        self._topics: dict[str, Topic[Any]] = {}
        sources = [self._twin_of(source) for source in stream.sources]
        self._stream = StreamReader(*sources, description=stream, name=stream.name, options=stream.options)
        for node in self._stream.graph.nodes:
            if isinstance(node.step, ToTopic) and isinstance(node.step.target, Topic):
                node.step = ToTopic(self._twin(node.step.target))
        self._sinks = record_sinks(self._stream.graph)
        self._batch = batch
        self._run: StreamRun | None = None

    def push(self, *values: Pushed, topic: str | None = None, key: Any = None, time: datetime | None = None) -> None:
        """Append values to a topic of the stream, process them, and go on.

        Args:
            values: Of the topic's type. CRASH between two: those before it are processed, the process dies before it
                commits, and the next one does them again.
            topic: Which one; None: the first one of the stream.
            key: Of each, in place of the topic's key field.
            time: Event time of each, in place of the topic's time field; None without one is what the clock says.
        """
        target = self._topic(topic or self._stream.topic.name)
        for value in values:
            if value is CRASH:
                self.crash()
            else:
                target.append(value, key=key, time=time)
        self._process()

    def advance(self, by: Span) -> None:
        """Let time pass: windows end though nothing comes, timers fire."""
        self.clock.advance(duration(by))
        self._process()
        run = self._running()
        run.idle()
        # What closed or fired may have made something that is due by now as well.
        while run.wait_us() <= _AT_ONCE_US:
            run.idle()

    def crash(self) -> None:
        """Process what is there, and die before it is committed."""
        self._running().rehearse()
        self._run = None

    def restart(self) -> None:
        """Stop after a commit and start again, as a deploy does."""
        self._process()
        self._run = None

    def outputs(self, topic: str) -> list[Any]:
        """Return the values of a topic, in order of partition and offset; none where there is no such topic yet."""
        return [record.value for record in self.records(topic)]

    def records(self, topic: str) -> list[Record[Any]]:
        """Return the same with keys, times and headers."""
        if topic not in self._log.topics():
            return []
        found = self._topics.get(topic) or self._log.topic(topic)
        return [
            record
            for partition in range(found.partitions)
            for record in found.read(0, partition=partition, records_max=_READ_MAX)
        ]

    def sink(self, which: str | int = 0) -> list[Any]:
        """Return the rows that a sink of the stream shows, in order: dicts, with JSON in them decoded.

        Nothing is written to the sink itself. Of one that is exactly once, each row shows once, after its commit. Any
        other shows rows as they are written: after a crash some of them again, as the outside would see it.

        Args:
            which: Its number in the description, from 0 on, or a part of its name that no other's has, as `explain()`
                prints it.

        Raises:
            UsageError: There is no such sink, or several are meant.
        """
        return list(recorder_of(self._sinks, which).rows)

    def info(self) -> StreamInfo:
        """Return how far the stream came, what was late, what is open."""
        return self._stream.info()

    def close(self) -> None:
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _running(self) -> StreamRun:
        if self._run is None:
            self._run = self._stream.open(records_max=self._batch)
        return self._run

    def _process(self) -> None:
        while self._running().step():
            pass

    def _twin_of(self, source: Topic[Any] | Table) -> Topic[Any] | Table:
        twin = self._twin(topic_of(source))
        return Table(twin, source.key) if isinstance(source, Table) else twin

    def _twin(self, topic: Topic[Any]) -> Topic[Any]:
        if topic.name not in self._topics:
            schema = topic.schema
            self._topics[topic.name] = self._log.topic(
                topic.name,
                None if schema.raw else topic.type,
                key=schema.key,
                time=schema.time,
                partitions=topic.partitions,
            )
        return self._topics[topic.name]

    def _topic(self, name: str) -> Topic[Any]:
        if name not in self._topics:
            raise UsageError(f"the stream reads no topic {name!r}; it reads {', '.join(self._topics)}")
        return self._topics[name]
