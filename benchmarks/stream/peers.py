"""NEXMark beside Bytewax, PyFlink and Pathway: the same events, the same answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.harness import Options, Report, alternate, folder
from benchmarks.nexmark import environments, oracle, words
from benchmarks.nexmark.generator import events
from benchmarks.nexmark.inputs import lines_of
from benchmarks.nexmark.peer import QUERIES, PeerRun, run
from benchmarks.nexmark.streams import STREAMS
from benchmarks.stream.runs import fill_events, fill_lines, opened, timed

TIMES_MIN: Final = 10
"""As fast as the fastest of them."""

EVENTS: Final = 2_000_000
EVENTS_OF: Final = {"bytewax": 200_000, "pathway": 200_000, "flink": 2_000_000}
"""As many as each does in a minute with its slowest query."""

LONG_ENOUGH_S: Final = 3.0
"""A peer that is done before gets as many events as we do: the time of its start, which is taken off, varies by as much
as a short run takes."""

START_EVENTS: Final = 2_000
"""A run of so many tells what starting costs (JVM, cluster, plan): it is taken off, to the peer's advantage."""


_START_SHARE_MIN: Final = 0.2


def measure(options: Options) -> Report:
    there = environments.make()
    count = options.records(EVENTS)
    report = Report(
        "stream_peers",
        "NEXMark at ten times the speed of the stream processors that a Python user can install.",
        {
            "input": f"{count:,} events in a topic; peers: lines of JSON, "
            + _counts(options)
            + f" (as many as in the topic where that took less than {LONG_ENOUGH_S:.0f} s)",
            "stream": "run_now into a new topic, exactly once, durability fsync",
            "peers": f"{environments.versions()}; Bytewax one worker in memory, Flink two slots with checkpoints every "
            "10 s to a file, Pathway two threads to a file; the time of a tiny run is taken off; answers compared",
            "runs": "of a peer one, of Millstream several",
        },
    )
    with folder(options) as directory:
        for query in QUERIES:
            with opened(directory / f"{query}.db", "fsync") as log:
                topic = (fill_lines if query == "words" else fill_events)(log, count)
                [ours] = alternate(options.runs, lambda query=query, topic=topic: count / timed(topic, STREAMS[query]))  # type: ignore[misc]
            rates = {peer: _rate(peer, query, options, directory) for peer in there}
            for peer, rate in rates.items():
                report.add(f"{query}: {peer}", [rate], "events/s")
            row = report.add(f"{query}: stream", ours, "events/s", reach=f"{TIMES_MIN} times the fastest peer")
            times = row.median / max(rates.values())
            row.reached, row.note = times >= TIMES_MIN, f"{times:.1f} times the fastest peer"
    return report


def _counts(options: Options) -> str:
    return ", ".join(f"{peer} {options.records(count):,}" for peer, count in EVENTS_OF.items())


def _rate(peer: str, query: str, options: Options, directory: Path) -> float:
    count = options.records(EVENTS_OF[peer])
    tiny = _run(peer, query, START_EVENTS, directory)
    whole = _run(peer, query, count, directory)
    if whole.seconds < LONG_ENOUGH_S and count < options.records(EVENTS):
        count = options.records(EVENTS)
        whole = _run(peer, query, count, directory)
    without_start = whole.seconds - tiny.seconds
    if without_start < _START_SHARE_MIN * whole.seconds:
        return count / whole.seconds  # the difference would tell the spread of the start only
    return (count - START_EVENTS) / without_start


def _run(peer: str, query: str, count: int, directory: Path) -> PeerRun:
    """Run a peer over the first `count` events and compare its answer."""
    lines, parquet, target = directory / "in.ndjson", directory / "in.parquet", directory / "out"
    frame = words.lines(0, count) if query == "words" else events(0, count)
    frame.write_parquet(parquet)
    if query == "words":
        frame.select("text").write_ndjson(lines)
    else:
        lines.write_text("".join(lines_of(frame)))
    done = run(peer, query, lines, target)
    wanted = oracle.by_duckdb(query, parquet)
    # Flink's times are in milliseconds.
    found, wanted = (
        answer.with_columns(pl.selectors.datetime().dt.truncate("1ms")) for answer in (done.answer, wanted)
    )
    if not oracle.same(wanted, found):
        raise AssertionError(f"{peer} has another answer to {query} over {count:,} events")
    target.unlink() if target.is_file() else shutil.rmtree(target)
    return done
