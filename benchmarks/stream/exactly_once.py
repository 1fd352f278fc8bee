"""What exactly once costs: the same streams, and the same without offsets, without state, without fsync."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.harness import Options, Report, alternate, folder, seconds
from benchmarks.nexmark.streams import STREAMS
from benchmarks.stream.runs import fill_events, opened, timed
from millstream.engines.protocol import Append, Durability
from millstream.log.topic import Topic
from millstream.stream.reader import StreamReader
from millstream.stream.run import StreamRun

QUERIES: Final = ("q1", "q5", "q7", "q8", "q11")
COST_MAX: Final = 0.15


class Careless(StreamRun):
    """Appends its results and remembers nothing: after a crash it would begin anew, with everything twice."""

    def _changes(self) -> list[Any]:
        return []

    def _commit(
        self, moves: Mapping[str, Any], writes: Sequence[Any], swept: Any, progress: Any, appends: Sequence[Append]
    ) -> float:
        if appends:
            self._log.engine.append(appends, durability=Durability.RELAXED)
        return 0.0


def measure(options: Options) -> Report:
    count = options.records(5_000_000)
    report = Report(
        "stream_exactly_once",
        "Offsets, state and results in one durable transaction cost less than a seventh of the throughput.",
        {
            "input": f"{count:,} events of NEXMark in a topic",
            "exactly once": "run_now: a transaction for each micro-batch, durability fsync",
            "careless": "the same, but only the results are written, durability relaxed",
        },
    )
    with folder(options) as directory, opened(directory / "events.db", "fsync") as log:
        topic = fill_events(log, count)
        for query in QUERIES:
            careful, careless = alternate(
                options.runs,
                lambda query=query: count / timed(topic, STREAMS[query]),  # type: ignore[misc]
                lambda query=query: count / _careless(topic, query),  # type: ignore[misc]
            )
            peer = report.add(f"{query}: careless", careless, "events/s")
            row = report.add(f"{query}: exactly once", careful, "events/s", reach=f"{1 - COST_MAX:.0%} of careless")
            row.reached = row.median >= (1 - COST_MAX) * peer.median
            row.note = f"costs {1 - row.median / peer.median:.0%}"
    return report


def _careless(topic: Topic[Any], query: str) -> float:
    def run(reader: StreamReader) -> float:
        careless = Careless(reader.graph, reader.options)
        return seconds(lambda: careless.run_now(threading.Event()))

    return timed(topic, STREAMS[query], run=run)
