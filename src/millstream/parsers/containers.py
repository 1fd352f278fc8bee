"""What container runtimes write around the lines of a container.

| written by | example |
|---|---|
| containerd, CRI-O (Kubernetes) | `2026-03-01T10:00:00.123456789Z stdout F message` |
| docker compose logs | `web-1  | message`, with a time before the message or without |
| Docker's json-file | `{"log":"message\\n","stream":"stderr","time":"2026-03-01T10:00:00.123456789Z"}` |

A line of the container that is JSON itself is read as such; its own time counts. Several lines together, as a source
with `multiline` hands them over, are one message: parts of a long line (`P`; without a line end in Docker's) are
joined, whole lines stand below one another. Where the last part is missing `fields.partial` says so.

Source: kubernetes, pkg/kubelet/kuberuntime/logs; docs.docker.com, "JSON File logging driver".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.parsers.event_parser import EventParser, ReadLine, event_schema, said_columns
from millstream.parsers.json_lines import json_reader
from millstream.parsers.pattern import Pattern
from millstream.parsers.syslog import level_column, level_of
from millstream.parsers.texts import columns_of
from millstream.parsers.times import parse_time

if TYPE_CHECKING:
    import polars as pl

_CRI: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) (?P<stream>stdout|stderr) "
    r"(?P<tags>[FP](?::[^\s]{0,50})?) ?(?P<message>.*)",
    re.DOTALL,
)
_DOCKER: Final = msgspec.json.Decoder(dict[str, Any])
_DOCKER_NAMES: Final = frozenset({"log", "stream", "time", "attrs"})


_COMPOSE: Final = re.compile(
    r"(?P<program>[a-zA-Z0-9][\w.-]{0,120}-\d{1,4}) {1,60}\| "
    r"(?:(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z) )?(?P<message>.*)",
    re.DOTALL,
)
# Narrower than what is read line by line: without JSON inside, escapes, odd blanks.
_RFC_3339: Final = (
    r"(?P<time>(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)
_TEXT: Final = r"(?P<text>(?:[^{\x00-\x1f\"\\][^\x00-\x08\x0a-\x1f\"\\]*)?)"
_CRI_LINE: Final = Pattern(
    rf"{_RFC_3339} (?P<stream>stdout|stderr) (?P<tag>[FP]) (?P<text>(?:[^{{\x0a-\x1f][^\x0a-\x1f]*)?)"
)
_DOCKER_LINE: Final = Pattern(
    rf'\{{"log":"{_TEXT}(?P<end>(?:\\n)?)","stream":"(?P<stream>stdout|stderr)","time":"{_RFC_3339}"\}}'
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")


def container_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`."""
    read_json = json_reader(zone)

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        compose = _COMPOSE.fullmatch(_COLOUR.sub("", text)) if "|" in text else None
        if compose is not None and compose["message"].startswith("{"):
            return None  # that of the format `json`
        if compose is not None:
            found: tuple[str | None, str, dict[str, Any]] | None = (compose["time"], compose["message"], {})
        else:
            found = _parts(text) or _cri(text) or _docker(text)
        if found is None:
            return None
        time, message, fields = found
        program = {"program": compose["program"]} if compose is not None else {}
        outer = parse_time(time, now=now, zone=zone)
        inner = read_json(message, now) if message.startswith("{") else None
        if inner is None:
            return {
                **program,
                "time": outer,
                "message": message.strip(),
                "severity": level_of(message),
                "fields": fields or None,
            }
        return {
            **inner,
            **program,
            "time": inner["time"] or outer,
            "fields": {**fields, **(inner["fields"] or {})} or None,
        }

    return read


def _parts(text: str) -> tuple[str | None, str, dict[str, Any]] | None:
    """Read several lines, as what puts events together hands them over: one message, cut lines whole again."""
    lines = text.split("\n")
    parts = [_cri(line) or _docker(line) for line in lines] if len(lines) > 1 else []
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        return None
    message = "".join(said if "partial" in fields else f"{said.rstrip()}\n" for _, said, fields in found)
    return found[0][0], message, found[-1][2]


def _cri(text: str) -> tuple[str, str, dict[str, Any]] | None:
    match = _CRI.fullmatch(text)
    if match is None:
        return None
    partial = {"partial": True} if match["tags"][0] == "P" else {}
    return match["time"], match["message"], {"stream": match["stream"], **partial}


def _docker(text: str) -> tuple[str | None, str, dict[str, Any]] | None:
    if not text.startswith("{"):
        return None
    try:
        named = _DOCKER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    message, time = named.get("log"), named.get("time")
    if not isinstance(message, str) or not named.keys() <= _DOCKER_NAMES:
        return None
    fields = {name: named[name] for name in ("stream", "attrs") if named.get(name)}
    if not message.endswith("\n"):
        fields["partial"] = True
    return time if isinstance(time, str) else None, message, fields


class ContainerParser(EventParser):
    """Parses the lines of one container, in order.

    Most lines are a runtime's own text and a message, and are taken apart column by column. JSON inside, and what is
    written otherwise, is left to `container_reader`, line by line.
    """

    def __init__(self, source: str) -> None:
        super().__init__(source, container_reader(), format="container")

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return what `events` does as columns; for a hundred lines or more it is faster."""
        import polars as pl

        raw, raw_bytes = columns_of(lines)
        found = _plain(raw)
        odd = found["time"].is_null().arg_true()
        said = [self._said(text, now) for text in raw.gather(odd)]
        times = found["time"]
        if len(odd):
            times = times.scatter(odd, pl.Series([one.get("time") for one in said], dtype=times.dtype))
        before = self._time_before or now.astimezone(UTC)
        if times.null_count() < len(times):
            self._time_before = times.drop_nulls()[-1]
        times = times.forward_fill().fill_null(before)
        columns = self._frame(found.with_columns(times, raw, raw_bytes))
        if not len(odd):
            return columns
        apart = said_columns(said, {"time": times.gather(odd)}).drop("source", "raw", "raw_bytes", "format")
        return columns.with_columns(columns[name].scatter(odd, apart[name]) for name in apart.columns)

    def _frame(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return all columns of events."""
        import polars as pl

        end = pl.when("part").then(pl.lit('","partial":true}')).otherwise(pl.lit('"}'))
        said = {
            **{name: pl.col(name) for name in ("time", "raw", "raw_bytes")},
            "source": pl.lit(self._source),
            "message": pl.col("text").str.strip_chars(),
            "severity": level_column("text"),
            "fields": pl.concat_str(pl.lit('{"stream":"'), "stream", end),
            "format": pl.lit(self.format),
        }
        schema = event_schema()
        return found.select(said.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())


def _plain(raw: pl.Series) -> pl.DataFrame:
    """Return time, stream, text and whether it is a part, of lines that are what a runtime usually writes."""
    import polars as pl

    found = _CRI_LINE.extract(raw).with_columns(part=pl.col("tag") == "P").select("time", "stream", "text", "part")
    left = (found["time"].is_null() & raw.str.starts_with('{"log":"')).arg_true()
    if len(left):
        docker = _DOCKER_LINE.extract(raw.gather(left)).select(
            "time", "stream", text=pl.col("text") + pl.col("end").replace("\\n", "\n"), part=pl.col("end") == ""
        )
        found = found.with_columns(found[name].scatter(left, docker[name]) for name in found.columns)
    text = pl.col("time").str.replace("Z$", "+00:00")
    time = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    return found.with_columns(time)
