"""The sink that prints."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from millstream.sinks.protocol import Guarantee, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.texts import json_lines


@dataclass(frozen=True)
class StdoutSink(Sink):
    """See `stdout`."""

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return "standard output"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _StdoutWriter()


class _StdoutWriter(SinkWriter):
    def write(self, rows: Rows) -> None:
        sys.stdout.write(json_lines(rows).decode())

    def prepare(self) -> None:
        sys.stdout.flush()


def stdout() -> StdoutSink:
    """Print each result as a line of JSON: at least once."""
    return StdoutSink()
