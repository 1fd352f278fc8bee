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
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

import msgspec

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.json_lines import json_reader
from millstream.parsers.syslog import level_of
from millstream.parsers.times import parse_time

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
