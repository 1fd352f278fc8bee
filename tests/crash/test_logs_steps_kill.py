"""`kill -9` between any two moments of reading, steps and storing: each line ends in one place, once.

Some lines go to other topics, some are left out; of those that dedupe and limit leave out a few more may stay after
a kill, as what they remember goes with the process, but none is missing.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from millstream import App
from millstream.log.seals.check import verify
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system

PROCESS = Path(__file__).parent / "logs_steps_process.py"
KILLS = int(os.environ.get("MILLSTREAM_TEST_KILLS", "5"))
LIVES_S = 0.6
"""How long a process is left alive at most once it follows."""
FILES = 2
PER_SECOND = 20
"""Lines of a file in a second of their times."""

STEPS = """
[[step]]
kind = "filter"
drop = "message LIKE 'drop %'"
[[step]]
kind = "set"
values = { "fields.seen" = "yes" }
[[step]]
kind = "route"
where = "message LIKE 'one %'"
topic = "one"
[[step]]
kind = "route"
where = "message LIKE 'two %'"
topic = "two"
[[step]]
kind = "dedupe"
where = "message LIKE 'equal %'"
within = "1h"
by = ["source", "message"]
[[step]]
kind = "limit"
where = "message LIKE 'many %'"
per_second = 2
[[step]]
kind = "sample"
where = "message LIKE 'some %'"
one_in = 3
"""
KINDS = ("kept", "drop", "one", "two", "equal", "many", "some")


def line(file: int, number: int) -> str:
    kind = KINDS[number % len(KINDS)]
    what = number // len(KINDS) // 4 if kind == "equal" else number
    minute, second = divmod(number // PER_SECOND, 60)
    at = f"2026-03-01T{10 + minute // 60:02}:{minute % 60:02}:{second:02}+00:00"
    return f"{at} web app{file}[{1 + number}]: {kind} {what}\n"


def write(files: list[Path], finished: threading.Event, counts: Counter[int]) -> None:
    """Write lines, a few or many at a time, sometimes half of one, until told to stop."""
    chance, pause = random.Random(3), threading.Event()
    while not finished.is_set():
        place = chance.randrange(FILES)
        count = chance.choice([1, 5, 40, 1500])
        text = "".join(line(place, number) for number in range(counts[place], counts[place] + count))
        half = chance.randrange(len(text))
        with files[place].open("a") as file:
            file.write(text[:half])
            file.flush()
            pause.wait(0.002)
            file.write(text[half:])
        counts[place] += count
        pause.wait(0.02)


def killed(url: str, configuration: Path, files: list[Path], chance: random.Random, processes: int) -> None:
    """Start followers, and kill them at some moment."""
    command = [sys.executable, str(PROCESS), url, str(configuration), *map(str, files)]
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(processes):
            started.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)))
            stack.callback(started[-1].kill)
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"following\n"
        threading.Event().wait(chance.uniform(0, LIVES_S))
        assert all(process.poll() is None for process in started)


def stored(app: App, topic: str) -> pl.DataFrame:
    found = app.topic(topic, LogEvent, time="time").frame().collect()
    return found.select(
        pl.col("raw"),
        pl.col("message").str.split(" ").list.first().alias("kind"),
        pl.col("fields").str.json_path_match("$.seen").alias("seen"),
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_each_line_ends_in_one_place_once(processes: int, tmp_path: Path) -> None:
    """Also where a second process follows the same files into the same topics."""
    files = [tmp_path / f"{number}.log" for number in range(FILES)]
    for file in files:
        file.touch()
    configuration = tmp_path / "steps.toml"
    configuration.write_text(STEPS)
    url = f"sqlite:///{tmp_path / 'log.db'}"
    finished, counts = threading.Event(), Counter[int]()
    writer = threading.Thread(target=write, args=(files, finished, counts))
    writer.start()
    chance = random.Random(5)
    try:
        for _ in range(KILLS):
            killed(url, configuration, files, chance, processes)
    finally:
        finished.set()
        writer.join()
    steps = Chain(parse_config(STEPS, "steps.toml", {}).steps, {})
    with App(url) as app:
        sources = [FileSource([file], lines_first=None, follow=False) for file in files]
        with follow_system(app, sources=sources, handling=steps) as follower:
            follower.join()
        assert not follower.notes, follower.notes
        places = {name: stored(app, name) for name in ("system", "one", "two")}
        for name, frame in places.items():
            checked = verify(app.log, name)
            assert (checked.findings, checked.records) == ((), frame.height)
    written = [line(file, number).rstrip("\n") for file in range(FILES) for number in range(counts[file])]
    every = pl.concat(places.values())
    assert every["raw"].is_unique().all()
    assert set(every["raw"]) <= set(written)
    assert (every["seen"] == "yes").all()
    for kind in KINDS:
        check_kind(kind, [one for one in written if f": {kind} " in one], places, exact=processes == 1)


def check_kind(kind: str, written: list[str], places: dict[str, pl.DataFrame], *, exact: bool) -> None:
    """Compare lines of one kind with where they are.

    Args:
        exact: Nothing but kills made a process forget: not that another one was faster.
    """
    home = kind if kind in places else "system"
    found = {name: frame.filter(pl.col("kind") == kind)["raw"].to_list() for name, frame in places.items()}
    assert not any(found[name] for name in places if name != home)
    if kind in ("kept", "one", "two"):
        assert sorted(found[home]) == sorted(written)
    elif kind == "drop":
        assert not found[home]
    elif kind == "equal":
        assert {said(one) for one in found[home]} == {said(one) for one in written}
        assert not exact or len(found[home]) <= len({said(one) for one in written}) + KILLS * FILES
    elif kind == "many":
        wanted = {second: min(count, 2) for second, count in Counter(map(second_of, written)).items()}
        kept = Counter(map(second_of, found[home]))
        assert all(kept[second] >= count for second, count in wanted.items())
        assert not exact or kept.total() <= sum(wanted.values()) + 2 * KILLS * FILES
    else:
        alone = Chain(parse_config(STEPS, "steps.toml", {}).steps[-1:], {})
        assert sorted(found[home]) == sorted(sampled(alone, written))


def said(raw: str) -> tuple[str, str]:
    """Return program and message of a line."""
    head, _, message = raw.partition("]: ")
    return head.split(" ")[2].partition("[")[0], message


def second_of(raw: str) -> tuple[str, str]:
    return said(raw)[0], raw[:19]


def sampled(steps: Chain, written: list[str]) -> list[str]:
    from datetime import UTC, datetime

    from millstream.parsers.log_lines import LogParser

    now = datetime(2026, 3, 1, tzinfo=UTC)
    events = LogParser("s").events([one.encode() for one in written], now=now)
    return [event.raw for event in steps.events(events, now=now)]
