"""`millstream put`: values, lines of a file or of standard input, into a topic."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.errors import EXIT_INTERRUPTED, EXIT_SET_ASIDE
from millstream.cli.interrupt import Interrupt
from millstream.cli.output import count_text, one_line, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption
from millstream.errors import ConflictError, SchemaError, SettingsError, StorageError

if TYPE_CHECKING:
    from millstream.cli.lines import Block, FileReader, PipeReader
    from millstream.cli.load import Loader, Totals
    from millstream.cli.load_format import FormatLoader
    from millstream.log.log import Log
    from millstream.log.topic import Topic
    from millstream.parsers.formats import Format
    from millstream.sources.evtx_lines import EvtxLines
    from millstream.sources.line_split import Split
    from millstream.sources.macos_array import ArrayLines

SAMPLE_BYTES = 256 * 1024
"""Of a file, to see which format it is in."""
RATE_RECORDS_MIN = 1000
"""Of fewer, the time says how long they were waited for, or how slow the start was."""


def put(
    context: typer.Context,
    topic: TopicArgument,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="VALUES", help="JSON objects; without any, lines are read.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-i", metavar="FILE", help="Lines of this file, also gzip; - is standard input."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="A new topic keeps values as bytes, whatever they are.")] = False,
    key: Annotated[
        str | None, typer.Option("--key", metavar="FIELD", help="The field of a new topic that is the key.")
    ] = None,
    time_field: Annotated[
        str | None, typer.Option("--time", metavar="FIELD", help="The field of a new topic that is the event time.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="Lines are no JSON but of this format: access, syslog."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", metavar="GROK", help="Lines are like '%{IP:source_ip} %{WORD:action}'."),
    ] = None,
    multiline: Annotated[
        str | None,
        typer.Option("--multiline", metavar="PRESET", help="Put lines together: java, python, traces, indented, ..."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    skip: Annotated[int, typer.Option("--skip", metavar="LINES", min=0, help="Leave out the first lines.")] = 0,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Append values, or the lines of a file, to a topic.

    A topic that does not exist is made. Values are JSON objects: arguments, or lines of a file or of standard input
    (NDJSON). A line that is none, or does not fit the topic, is set aside in TOPIC.dead with its number and the reason,
    and the exit code is 5.
    """
    shell = Shell.of(context, url, data, json, debug)
    if values and file is not None:
        raise SettingsError("values and --file are two inputs; give one of them")
    if raw and (key or time_field):
        raise SettingsError("a --raw topic has no fields; --key and --time name one")
    if skip and values:
        raise SettingsError("--skip counts lines of --file or standard input; there are none")
    if (format is not None or pattern is not None) and (values or raw or time_field or strict):
        raise SettingsError("--format and --pattern say what lines are: leave out values, --raw, --time and --strict")
    if format is not None and pattern is not None:
        raise SettingsError("--format and --pattern both say what lines are; give one of them")
    if multiline is not None and format is None and pattern is None:
        raise SettingsError("--multiline goes with --format or --pattern: say what an event is")
    known = _format(format, pattern, file)
    cut = _split(multiline, known)
    if known is not None and file is not None and str(file) != "-":
        _look_at(file)  # before anything is made for it
    with shell.open(create=True) as log, without_collector():
        before = log.topics()
        code = 0
        if known is not None:
            found = log.topic(topic, known.type, key=key, time="time")
            code = _put_format(shell, log, found, known, file, skip, cut)
        elif values:
            _put_values(shell, log, topic, values, raw, key, time_field)
        elif file is None or str(file) == "-":
            code = _put_stdin(shell, log, _topic(log, topic, raw, key, time_field), strict, skip)
        else:
            code = _put_file(shell, log, topic, file, raw, key, time_field, strict, skip)
        if topic not in before and topic in log.topics():
            _tell_of_new(topic, before)
    raise typer.Exit(code)


def _tell_of_new(topic: str, others: list[str]) -> None:
    """Tell of a topic that was made: its name may be a mistyped one."""
    alike = "".join(f"; there is also {other}" for other in get_close_matches(topic, others, n=1))
    print(f"made the topic {topic}{alike}", file=sys.stderr)


def _look_at(file: Path) -> None:
    """Raise what stands in the way of reading a file: it is missing, or a package that it needs is."""
    from millstream.sources.evtx_file import evtx_parser
    from millstream.sources.evtx_lines import is_evtx_file

    if is_evtx_file(file):
        evtx_parser()


def _format(name: str | None, pattern: str | None, file: Path | None) -> Format | None:
    if name is None and pattern is None:
        return None
    from millstream.parsers.formats import format_of, format_of_pattern

    if name is None:
        return format_of_pattern(pattern or "")
    if name != "auto":
        return format_of("windows" if name == "evtx" else name)  # the file's name is better known than what is in it
    if file is None or str(file) == "-":
        raise SettingsError("--format auto looks at a --file before it is read; name the format of standard input")
    from millstream.cli.lines import open_file
    from millstream.parsers.choose import choose_format
    from millstream.sources.batches import with_records
    from millstream.sources.evtx_lines import is_evtx_file

    if is_evtx_file(file):
        chosen = "windows"
    else:
        with open_file(file) as reader:
            chosen = choose_format(with_records(reader.read(SAMPLE_BYTES).split(b"\n")[:-1]))
    print(f"{file.name} is read as {chosen}", file=sys.stderr)
    return format_of(chosen)


def _split(preset: str | None, format: Format | None) -> Split | None:
    """Return what puts lines together: what the user says, else what the format needs."""
    from millstream.parsers.formats import FORMATS
    from millstream.sources.multiline import PRESET_OF_FORMAT, Multiline

    if preset is None and format is not None:
        preset = next((needs for name, needs in PRESET_OF_FORMAT.items() if FORMATS[name] is format), None)
    if preset is None:
        return None
    return Multiline(preset=preset).splitter()


def _put_format(
    shell: Shell, log: Log, topic: Topic[Any], format: Format, file: Path | None, skip: int, cut: Split | None
) -> int:
    """Store lines as what a parser makes of them."""
    from millstream.cli.lines import PipeReader, open_file
    from millstream.cli.load_format import FormatLoader
    from millstream.parsers.formats import format_of
    from millstream.sources.evtx_lines import is_evtx_file, open_evtx
    from millstream.sources.macos_array import ArrayLines, is_array_file

    source = "standard input" if file is None or str(file) == "-" else str(file)
    loader = FormatLoader(topic, format.parser(source), cut)
    if file is None or str(file) == "-":
        return _load(shell, loader, topic, PipeReader(sys.stdin.buffer), source=source, skip=skip)
    if is_evtx_file(file):
        notes: list[str] = []
        with open_evtx(file, notes) as records:
            code = _load(shell, loader, topic, records, source=file.name, skip=skip)
        for note in notes:
            print(note, file=sys.stderr)
        return code
    with open_file(file) as reader:
        if format is format_of("macos") and is_array_file(file):
            return _load(shell, loader, topic, ArrayLines(reader), source=file.name, skip=skip)
        return _load(shell, loader, topic, reader, source=file.name, skip=skip)


def _topic(
    log: Log, name: str, raw: bool, key: str | None, time_field: str | None, file: Path | None = None
) -> Topic[Any]:
    """Return a topic as it is, or a new one as the options have it."""
    if name in log.topics():
        topic = log.topic(name)
        if raw and not topic.schema.raw:
            raise SettingsError(f"topic {name!r} exists and is not raw; leave out --raw, or take another name")
        return topic if topic.schema.raw else log.topic(name, dict, key=key, time=time_field)
    if raw:
        return log.topic(name)
    if file is not None:
        _put_schema_of(log, name, file, key, time_field)
    return log.topic(name, dict, key=key, time=time_field)


def _put_schema_of(log: Log, name: str, file: Path, key: str | None, time_field: str | None) -> None:
    """Give a new topic the fields of all lines of a file, so that none is set aside for coming late."""
    from millstream.cli.lines import blocks, open_file
    from millstream.cli.load import objects
    from millstream.engines.protocol import TopicSpec
    from millstream.log.infer import infer

    with open_file(file) as reader, progress(f"looking at {file.name}") as advance:

        def shown() -> Iterator[Block]:
            for block in blocks(reader):
                yield block
                advance(reader.done_bytes, reader.size_bytes, "")

        try:
            schema = infer(objects(shown()), key=key, time=time_field, topic=name)
        except KeyboardInterrupt:
            print("interrupted; nothing was stored", file=sys.stderr)
            raise
    log.engine.create_topic(TopicSpec(name))
    try:
        log.engine.put_schema(name, schema.encode(), after=0)
    except ConflictError:
        # Somebody else wrote to the new topic meanwhile: its fields are theirs, and widen with what comes.
        pass


def _put_values(
    shell: Shell, log: Log, name: str, values: list[str], raw: bool, key: str | None, time_field: str | None
) -> None:
    """Append arguments, all or nothing: whoever typed them is there to correct them."""
    from millstream.cli.load import decode_object

    if raw or (name in log.topics() and log.topic(name).schema.raw):
        topic = _topic(log, name, raw, key, time_field)
        ranges = topic.extend([os.fsencode(value) for value in values])
    else:
        # Before the topic is made: a mistyped value leaves nothing behind.
        objects = []
        for number, value in enumerate(values, 1):
            try:
                objects.append(decode_object(os.fsencode(value)))
            except SchemaError as error:
                raise SchemaError(
                    f"value {number}, {value!r}, {error}; write '{{\"name\": ...}}', or use --raw on a new topic"
                ) from None
        topic = _topic(log, name, raw, key, time_field)
        ranges = topic.extend(objects)
    if shell.json:
        for offsets in ranges:
            place = {"partition": offsets.partition, "start": offsets.start, "end": offsets.end}
            print_json({"topic": topic.name, **place})
    else:
        places = ", ".join(
            f"{r.partition}/[{r.start}, {r.end})" if topic.partitions > 1 else f"[{r.start}, {r.end})" for r in ranges
        )
        print(f"stored {count_text(len(values), 'record')} in {topic.name}, offsets {places}")


def _put_stdin(shell: Shell, log: Log, topic: Topic[Any], strict: bool, skip: int) -> int:
    from millstream.cli.lines import PipeReader

    if sys.stdin.isatty():
        kind = "a value" if topic.schema.raw else "a JSON object"
        print(f"reading from the terminal, {kind} a line; Ctrl-D ends", file=sys.stderr)
    reader = PipeReader(sys.stdin.buffer)
    from millstream.cli.load import Loader

    loader = Loader(log, topic, source="standard input", strict=strict)
    return _load(shell, loader, topic, reader, source="standard input", skip=skip)


def _put_file(
    shell: Shell,
    log: Log,
    name: str,
    file: Path,
    raw: bool,
    key: str | None,
    time_field: str | None,
    strict: bool,
    skip: int,
) -> int:
    from millstream.cli.lines import open_file
    from millstream.cli.load import Loader

    with open_file(file) as reader:
        topic = _topic(log, name, raw, key, time_field, file=file)
        loader = Loader(log, topic, source=file.name, strict=strict)
        return _load(shell, loader, topic, reader, source=file.name, skip=skip)


def _load(
    shell: Shell,
    loader: Loader | FormatLoader,
    topic: Topic[Any],
    reader: FileReader | PipeReader | EvtxLines | ArrayLines,
    *,
    source: str,
    skip: int,
) -> int:
    from millstream.cli.lines import blocks, without_first

    started = time.monotonic()
    interrupt = Interrupt()

    def tell(ended: str | None) -> None:
        _print_totals(shell, topic.name, loader.totals, skip, time.monotonic() - started, ended=ended)

    try:
        with interrupt.watched(), progress(f"{source} to {topic.name}") as advance:
            try:
                for block in without_first(skip, blocks(reader)):
                    with interrupt.postponed():
                        loader.store(block)
                    advance(reader.done_bytes, reader.size_bytes, count_text(loader.totals.stored, "record"))
            except KeyboardInterrupt:
                pass
            finally:
                loader.close()
    except StorageError:
        if loader.totals.lines:
            tell("stopped")
        raise
    tell("interrupted" if interrupt.came else None)
    if interrupt.came:
        return EXIT_INTERRUPTED
    return EXIT_SET_ASIDE if loader.totals.bad else 0


@contextmanager
def without_collector() -> Iterator[None]:
    """Do without the cycle collector: a block is 50,000 dicts without a cycle, and it walks over all of them in vain.

    Two fifths of the time of loading a file, and no difference in memory.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _print_totals(shell: Shell, topic: str, totals: Totals, skip: int, seconds: float, *, ended: str | None) -> None:
    next_line = skip + totals.lines
    if shell.json:
        print_json(
            {
                "topic": topic,
                "lines": totals.lines,
                "stored": totals.stored,
                "bad": totals.bad,
                "blank": totals.blank,
                "first_bad": [{"line": bad.line, "reason": bad.reason} for bad in totals.first_bad],
                "next_line": next_line,
                "interrupted": ended == "interrupted",
                "seconds": round(seconds, 3),
            }
        )
        return
    told = seconds >= 1 and totals.stored >= RATE_RECORDS_MIN
    rate = f" in {seconds:.1f} s, {totals.stored / seconds:,.0f} a second" if told else ""
    print(f"stored {count_text(totals.stored, 'record')} in {topic}{rate}")
    for bad in totals.first_bad:
        print(f"  line {bad.line} {one_line(bad.reason)}", file=sys.stderr)
    if totals.bad:
        more = totals.bad - len(totals.first_bad)
        rest = f" ({more:,} more not shown)" if more else ""
        print(f"set aside {count_text(totals.bad, 'bad line')} in {topic}.dead{rest}", file=sys.stderr)
    if ended is not None:
        print(f"{ended} after line {next_line}; --skip {next_line} goes on there", file=sys.stderr)
