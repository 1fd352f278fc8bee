"""The configuration file of `millstream logs`: where events come from, what is done with them, where they go.

    [[source]]      logs/listeners/
    [[step]]        logs/steps/
    [[rule]]        logs/rules.py
    [[sigma]]       logs/sigma.py
    [[output]]      logs/outputs.py
    [[example]]     lines, and the events and alerts that they lead to: logs/check.py

A file with rules alone is one as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from millstream.durations import duration
from millstream.errors import UsageError
from millstream.log.retention import Retention
from millstream.logs.alert import Alert
from millstream.logs.extras import check_installed
from millstream.logs.listeners import Listener
from millstream.logs.names import FIELDS
from millstream.logs.outputs import Output
from millstream.logs.rules import Rule, check_rules
from millstream.logs.sigma import SigmaRules, read_sigma
from millstream.logs.steps.step import StepTable
from millstream.logs.steps.tables import StepKind
from millstream.logs.tables import read_table, read_toml, tables_of, with_environment
from millstream.logs.where import condition
from millstream.parsers.formats import format_of
from millstream.parsers.log_event import LogEvent, event_of
from millstream.parsers.log_lines import LogParser

T = TypeVar("T", bound=msgspec.Struct)

OUTPUTS_MAX: Final = 64
"""A thread each."""
KEEP_MIN: Final = timedelta(hours=1)
KEEP_BYTES_MIN: Final = 1_000_000
"""Less is a mistake about the unit, and would delete what somebody wants to keep."""
SOURCES_MAX: Final = 256
"""A thread each at least."""
TAKEN: Final = ("rules", "system-follower", "logs", "alerts")
"""Names that no output may have: readers and topics of the program itself."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines, and what they lead to."""

    lines: list[str]
    source: str = "example"
    format: str | None = None
    """A format's name; None: as the lines of auth.log and the like."""
    events: list[dict[str, Any]] | None = None
    """Some fields of each event that is kept, in order; None: not looked at."""
    alerts: int | None = None
    """Of all rules together; None: not looked at."""

    def check(self) -> None:
        """Look at what does not show in types.

        Raises:
            UsageError: There is no such format, or events have no such field.
        """
        if self.format is not None and format_of(self.format).type is not LogEvent:
            raise UsageError(f"format: lines of {self.format!r} do not become events")
        if self.events is None and self.alerts is None:
            raise UsageError("it says nothing about what its lines lead to; give events, alerts, or both")
        for wanted in self.events or ():
            for name in wanted:
                if name not in FIELDS:
                    raise UsageError(f"events have no field {name!r}; they have {', '.join(FIELDS)}")

    def read(self, *, now: datetime) -> list[LogEvent]:
        """Return the events of the lines; a time without a zone is UTC."""
        lines = [line.encode() for line in self.lines]
        if self.format is None:
            return LogParser(self.source, zone=UTC).events(lines, now=now)
        parser = format_of(self.format).parser(self.source)
        return [event_of(row) for row in parser.columns(lines, now=now).iter_rows(named=True)]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration file says."""

    origin: str = ""
    """The file, for messages."""
    sources: tuple[Listener, ...] = ()
    steps: tuple[StepTable, ...] = ()
    rules: tuple[Rule, ...] = ()
    outputs: tuple[Output, ...] = ()
    examples: tuple[Example, ...] = ()
    sealed: bool = False
    """Whether events are sealed as they are stored."""
    retention: Retention | None = None
    """What the log keeps of events; None: it stays as it was, which is all unless somebody said otherwise."""
    unusable: tuple[str, ...] = ()
    """Sigma rules that cannot be used, a sentence each."""


class LogsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[logs]`: what is about all of it."""

    sealed: bool = False
    keep: str | None = None
    """So long after they were stored events may be deleted, such as `90d`."""
    keep_bytes: int | None = None
    """Above so many bytes of events, as stored, the oldest may be."""

    def retention(self) -> Retention | None:
        """Return what is kept of events; None where it is not said.

        Raises:
            UsageError: It is no time, or so little that somebody forgot the unit.
        """
        if self.keep is None and self.keep_bytes is None:
            return None
        if self.keep is not None and duration(self.keep) < KEEP_MIN:
            raise UsageError(f'keep is {self.keep!r}, less than an hour; give a time with its unit, such as "90d"')
        if self.keep_bytes is not None and self.keep_bytes < KEEP_BYTES_MIN:
            raise UsageError(f"keep_bytes is {self.keep_bytes}; give {KEEP_BYTES_MIN:_} or more")
        return Retention(age=self.keep, size_bytes=self.keep_bytes)


class SigmaTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[sigma]]`: Sigma rules."""

    path: str
    """A file, or a folder of them."""


TABLES: Final = ("source", "step", "rule", "sigma", "output", "example")


def read_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Return what a file says.

    Args:
        environment: What `${NAME}` in sources and outputs stands for; None: they stay as they are, as for a check on
            a machine that has no secrets, and maybe not the packages that they need.

    Raises:
        UsageError: It cannot be read, is no TOML, or something in it is wrong; says which table and key, and what is
            allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"the configuration {path} cannot be read: {why}") from error
    return parse_config(text, str(path), environment)


def parse_config(text: str, origin: str, environment: Mapping[str, str] | None = None) -> Config:
    """Return what a text says; see `read_config`."""
    found = read_toml(text, origin)
    about = read_table(found.pop("logs", {}), LogsTable, f"{origin}, [logs]")
    try:
        retention = about.retention()
    except UsageError as error:
        raise UsageError(f"{origin}, [logs]: {error}") from error
    for name in found:
        if name not in TABLES:
            known = ", ".join(f"[[{table}]]" for table in TABLES)
            raise UsageError(f"{origin}: there is no table {name!r}; there is [logs], {known}")
    reader = _Reader(found, text, origin, environment)
    sigma = [
        _sigma(table, what)
        for table, what in zip(reader.tables("sigma", SigmaTable), reader.names("sigma"), strict=True)
    ]
    rules = [*reader.tables("rule", Rule), *(rule for some in sigma for rule in some.rules)]
    check_rules(rules, origin)
    outputs = reader.tables("output", Output, environment=True)
    _check_outputs(outputs, reader.names("output"))
    sources = reader.tables("source", Listener, environment=True)
    for source, what in zip(sources, reader.names("source"), strict=True):
        _check(source, what)
    if environment is not None:  # else it is only looked at, maybe elsewhere than where it is to run
        for kind, tables in (("source", sources), ("output", outputs)):
            for table, what in zip(tables, reader.names(kind), strict=True):
                check_installed(table, what)
    if len(sources) > SOURCES_MAX:
        raise UsageError(f"{origin} has {len(sources)} sources; at most {SOURCES_MAX} are read by one program")
    examples = reader.tables("example", Example)
    for example, what in zip(examples, reader.names("example"), strict=True):
        _check(example, what)
    steps = reader.tables("step", StepKind)
    for step, what in zip(steps, reader.names("step"), strict=True):
        _check(step, what)
    return Config(
        origin=origin,
        sources=tuple(sources),
        steps=tuple(steps),
        rules=tuple(rules),
        outputs=tuple(outputs),
        examples=tuple(examples),
        sealed=about.sealed,
        retention=retention,
        unusable=tuple(problem for some in sigma for problem in some.problems),
    )


def with_sigma(config: Config, path: Path) -> Config:
    """Return a configuration with Sigma rules beside its own.

    Raises:
        UsageError: There are none at that path, two rules have one name, or there are too many.
    """
    found = read_sigma(path)
    rules = (*config.rules, *found.rules)
    check_rules(rules, str(path))
    return msgspec.structs.replace(config, rules=rules, unusable=(*config.unusable, *found.problems))


class _Reader:
    def __init__(self, found: Mapping[str, Any], text: str, origin: str, environment: Mapping[str, str] | None) -> None:
        self._found = found
        self._text = text
        self._origin = origin
        self._environment = environment

    def tables(self, name: str, types: Any, *, environment: bool = False) -> list[Any]:
        """Return all tables of a name as Structs."""
        made = []
        for table, what in tables_of(self._found, name, self._text, self._origin):
            given = table
            if environment and self._environment is not None:
                given = with_environment(table, self._environment, what)
            made.append(read_table(given, types, what))
        return made

    def names(self, name: str) -> list[str]:
        """Return how messages call the tables of a name."""
        return [what for _, what in tables_of(self._found, name, self._text, self._origin)]


def _sigma(table: SigmaTable, what: str) -> SigmaRules:
    try:
        return read_sigma(Path(table.path))
    except UsageError as error:
        raise UsageError(f"{what}, path {table.path!r}: {error}") from error


def _check_outputs(outputs: list[Output], names: list[str]) -> None:
    if len(outputs) > OUTPUTS_MAX:
        raise UsageError(f"{names[-1]}: at most {OUTPUTS_MAX} outputs run in one program")
    seen: set[str] = set()
    for output, what in zip(outputs, names, strict=True):
        if output.name in seen or output.name in TAKEN:
            raise UsageError(f"{what}, name: {output.name!r} is taken; an output keeps its position by its name")
        seen.add(output.name)
        _check(output, what)
        if output.where is not None:
            condition(output.where, what=f"{what}, where", of=LogEvent if output.of == "events" else Alert)


def _check(table: Listener | StepTable | Output | Example, what: str) -> None:
    if not isinstance(table, StepTable) and "${" in repr(table):
        return  # what stands there is not known here
    try:
        table.check()
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
