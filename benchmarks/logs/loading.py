"""A file of a known format into a topic, as `millstream put --format` does it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import seconds
from millstream import App
from millstream.cli.lines import blocks, open_file
from millstream.cli.load_format import FormatLoader
from millstream.parsers.formats import format_of


def load_seconds(directory: Path, file: Path, name: str, *, durability: str) -> float:
    """Load a file into a new log; return how long it took. Every line is there afterwards."""
    for old in directory.glob("load.db*"):
        old.unlink()
    format = format_of(name)
    with App(directory / "load.db", durability=durability) as app:
        topic = app.topic(name, format.type, time="time")

        def work() -> None:
            loader = FormatLoader(topic, format.parser(str(file)))
            with open_file(file) as reader:
                for block in blocks(reader):
                    loader.store(block)
            loader.close()

        took = seconds(work)
        with open_file(file) as reader:
            assert topic.info().records == sum(block.lines for block in blocks(reader))
    return took
