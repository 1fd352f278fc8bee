"""Blocks of lines into a topic: what fits is stored, what does not is set aside with its line and its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from millstream.cli.lines import Block
from millstream.errors import LimitExceededError, SchemaError

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.log.topic import Topic

BAD_SHOWN = 10
"""Bad lines that the summary quotes; all of them are in the dead letters."""

_BLANK = re.compile(rb"[ \t\r]*\Z")
_OBJECTS = msgspec.json.Decoder(dict[str, Any])


class BadLine(NamedTuple):
    """A line that did not become a record."""

    line: int
    data: bytes
    reason: str


class BadLineError(SchemaError):
    """A line does not fit its topic, and `--strict` was asked for."""

    exit_code = 1


@dataclass
class Totals:
    """What became of the lines so far: lines = stored + bad + blank."""

    lines: int = 0
    stored: int = 0
    bad: int = 0
    blank: int = 0
    first_bad: list[BadLine] = field(default_factory=list)


class Loader:
    """Stores blocks of lines in a topic.

    A block is one transaction. Its bad lines go to `<topic>.dead` after it, in another one.
    """

    def __init__(self, log: Log, topic: Topic[Any], *, source: str, strict: bool = False) -> None:
        self.totals = Totals()
        self._log = log
        self._topic = topic
        self._raw = topic.schema.raw
        self._source = source
        self._strict = strict

    def store(self, block: Block) -> None:
        """Store one block, whole.

        Raises:
            BadLineError: A line is bad and the loader is strict; nothing of this block was stored.
        """
        totals = self.totals
        if not self._raw:
            block = _without_mark(block)
        values, bad = self._values(block)
        try:
            if values:
                self._topic.extend(values)
        except (SchemaError, LimitExceededError):
            values, refused = self._divided(values, self._line_numbers(block, bad))
            bad = sorted([*bad, *refused])
            self._refuse(block, bad)
            if values:
                self._topic.extend(values)
        if bad:
            store_bad(self._log, self._topic.name, bad, source=self._source)
        totals.lines += block.lines
        totals.stored += len(values)
        totals.bad += len(bad)
        totals.blank = totals.lines - totals.stored - totals.bad
        totals.first_bad += bad[: BAD_SHOWN - len(totals.first_bad)]

    def close(self) -> None:
        """All is stored when `store` returns."""

    def _values(self, block: Block) -> tuple[list[Any], list[BadLine]]:
        """Return what the lines say, and the lines that say nothing; raises where the loader is strict."""
        if block.too_long:
            bad = [BadLine(block.line, block.data[:1024], f"longer than {len(block.data):,} bytes")]
            self._refuse(block, bad)
            return [], bad
        if self._raw:
            return [line for _, line in _lines(block, blank=True)], []
        values = _all_objects(block)
        if values is not None:
            return values, []
        values, bad = [], []
        for number, line in _lines(block):
            try:
                values.append(decode_object(line))
            except SchemaError as error:
                bad.append(BadLine(number, line, str(error)))
        self._refuse(block, bad)
        return values, bad

    def _refuse(self, block: Block, bad: Sequence[BadLine]) -> None:
        if bad and self._strict:
            raise BadLineError(
                f"{self._source} line {bad[0].line} {bad[0].reason}; {self.totals.stored:,} records are stored, "
                f"none from line {block.line} on (--skip {block.line - 1} goes on there)"
            )

    def _line_numbers(self, block: Block, bad: Iterable[BadLine]) -> list[tuple[int, bytes]]:
        without = {line.line for line in bad}
        return [(number, line) for number, line in _lines(block, blank=self._raw) if number not in without]

    def _divided(self, values: list[Any], lines: list[tuple[int, bytes]]) -> tuple[list[Any], list[BadLine]]:
        """Return the values that the topic takes, and the lines of the others, by halving: few tries where few are."""
        try:
            self._topic.encode(values)
        except (SchemaError, LimitExceededError) as error:
            if len(values) == 1:
                number, line = lines[0]
                return [], [BadLine(number, line, str(error))]
        else:
            return values, []
        half = len(values) // 2
        good, bad = self._divided(values[:half], lines[:half])
        more_good, more_bad = self._divided(values[half:], lines[half:])
        return [*good, *more_good], [*bad, *more_bad]


def decode_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        SchemaError: It is none; says why.
    """
    try:
        return _OBJECTS.decode(line)
    except msgspec.ValidationError:
        raise SchemaError("is JSON, but not an object {...}") from None
    except msgspec.DecodeError as error:
        raise SchemaError(f"is not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _all_objects(block: Block) -> list[dict[str, Any]] | None:
    """Return the objects of a block of good lines, one each, at full speed; None where a line must be looked at."""
    try:
        values = _OBJECTS.decode_lines(block.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    # The decoder minds values, not lines: it takes two on one line, and one on two.
    if len(values) != block.lines and len(values) != sum(1 for _ in _lines(block)):
        return None
    return values


def objects(blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """Yield the objects of all lines that hold one; for looking at a file before it is stored."""
    for block in map(_without_mark, blocks):
        values = None if block.too_long else _all_objects(block)
        if values is not None:
            yield from values
            continue
        for _, line in _lines(block):
            try:
                yield decode_object(line)
            except SchemaError:
                continue


def store_bad(log: Log, topic: str, bad: Sequence[BadLine], *, source: str) -> None:
    """Append bad lines to the dead letters of a topic.

    A line never had a place in the topic: its partition and offset are -1.
    """
    from millstream.log.dead_letter import VALUE_BYTES_MAX, DeadLetter, ValueCoding, dead_topic_name

    failed_at = datetime.now(UTC)
    letters = [
        DeadLetter(
            topic=topic,
            partition=-1,
            offset=-1,
            group="put",
            key=None,
            value=line.data[:VALUE_BYTES_MAX],
            value_coding=ValueCoding.RAW,
            error_type="SchemaError",
            message=f"{source} line {line.line} {line.reason}",
            traceback="",
            attempts=1,
            worker="put",
            failed_at=failed_at,
        )
        for line in bad
    ]
    log.topic(dead_topic_name(topic), DeadLetter).extend(letters)


def _lines(block: Block, *, blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, without their ends; blank ones where asked for."""
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, block.line):
        if blank or not _BLANK.match(line):
            yield number, line.removesuffix(b"\r")


def _without_mark(block: Block) -> Block:
    """Return a block without the byte order mark that Windows programs put before a file's first line."""
    return block._replace(data=block.data.removeprefix(b"\xef\xbb\xbf")) if block.line == 1 else block
