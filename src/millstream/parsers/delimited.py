r"""CSV and TSV with a line of names at its head, and the logs of Zeek.

    time,level,user,message
    2026-03-01T10:00:00Z,warning,ann,"late, ""much"" so"

The delimiter is that of comma, tab, semicolon and bar which the head has most often. A file may have its head again, as
after a rotation. A line with another number of values is a message, whole; so is a value that goes on in the next line.

Zeek writes `#separator \x09`, `#fields`, `#types` and `#path` above its lines; `-` is nothing.

Which name is the time, the message, the user: see `named`. A line cannot be read again without its head.

Source: RFC 4180; docs.zeek.org, "Log formats and inspection".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.log_event import Kind
from millstream.parsers.named import KNOWN_NAMES, event_fields
from millstream.parsers.times import since_1970

DELIMITERS: Final = "\t,;|"
COLUMNS_MAX: Final = 500
_NAME: Final = re.compile(r"[A-Za-z_@#][\w @.()/%$#-]{0,63}")


def delimited_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads the lines of one file, in order; see `EventParser`."""
    names: list[str] = []
    delimiter = ","

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        nonlocal names, delimiter
        head = head_of(text)
        if head is not None and (not names or head[0] == names):
            names, delimiter = head
            return {"message": text.strip(), "fields": {"columns": names}}
        if not names:
            return None
        values = split(text, delimiter)
        if values is None or len(values) != len(names):
            return None
        return event_fields(
            {name: value for name, value in zip(names, values, strict=True) if value}, now=now, zone=zone
        )

    return read


def head_of(text: str) -> tuple[list[str], str] | None:
    """Return the names of a head and its delimiter; None for a line that is none.

    A head has only names, all different, at least two; one of them is that of a time, a message, a level or a user.
    """
    delimiter = max(DELIMITERS, key=text.count)
    if len(text) > COLUMNS_MAX * 64:
        return None
    values = split(text.removeprefix("\ufeff").strip(" "), delimiter)
    if values is None or not 2 <= len(values) <= COLUMNS_MAX:
        return None
    names = [value.strip() for value in values]
    known = any(name.lower() in KNOWN_NAMES for name in names)
    if not known or len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        return None
    return names, delimiter


def split(text: str, delimiter: str) -> list[str] | None:
    """Return the values of a line; None where its quotes do not end."""
    if '"' not in text:
        return text.split(delimiter)
    if text.count('"') % 2:
        return None
    try:
        return next(csv.reader([text.replace("\n", " ").replace("\r", " ")], delimiter=delimiter, strict=True), None)
    except csv.Error:
        return None


_ZEEK_WORDS: Final = ("proto", "service", "method", "host", "uri", "query", "status_code", "note", "msg")
_ZEEK_FIELDS: Final = {"id.orig_h": "source_ip", "id.orig_p": "source_port", "uid": "session", "user": "user"}


def zeek_reader() -> ReadLine:
    """Return what reads the lines of one file, in order; see `EventParser`."""
    names: list[str] = []
    separator, path = "\t", ""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        nonlocal names, separator, path
        if text.startswith("#"):
            directive, _, rest = text[1:].partition(" " if text.startswith("#separator") else separator)
            if directive == "separator":
                separator = _separator(rest)
            if directive == "fields":
                names = rest.split(separator)[:COLUMNS_MAX]
            if directive == "path":
                path = rest
            known = directive in (
                "separator", "set_separator", "empty_field", "unset_field", "path", "open", "fields", "types", "close",
            )  # fmt: skip
            return {"message": text.strip()} if known else None
        values = text.split(separator)
        if not names or len(values) != len(names):
            return None
        named: dict[str, Any] = {
            name: value
            for name, value in zip(names, values, strict=True)
            if value not in ("-", "(empty)", "") or name == "ts"
        }
        return _zeek_event(named, path)

    return read


def _zeek_event(named: dict[str, Any], path: str) -> dict[str, Any]:
    time = named.pop("ts", None)
    address, target = named.get("id.orig_h"), named.get("id.resp_h")
    said: dict[str, Any] = {"time": since_1970(time) if time and _is_number(time) else None, "program": "zeek"}
    between = [f"{address} -> {target}:{named.get('id.resp_p', '')}"] if address and target else []
    words = (named.get(name) for name in _ZEEK_WORDS)
    said["message"] = " ".join([path, *between, *(word for word in words if word)]).strip()
    if path == "ssh" and named.get("auth_success") in ("T", "F"):
        success = named["auth_success"] == "T"
        said |= {"kind": Kind.LOGIN, "action": "login" if success else "login_failed", "success": success}
    for written, field in _ZEEK_FIELDS.items():
        value = named.pop(written, None)
        if field == "source_port":
            said[field] = int(value) if value and _is_port(value) else None
        else:
            said[field] = value
    return said | {"fields": ({"path": path} if path else {}) | named or None}


def _separator(written: str) -> str:
    """Return the sign that is written as `\\x09`; a tab for what is none."""
    code = re.fullmatch(r"\\x([0-9a-fA-F]{2})", written.strip())
    return chr(int(code[1], 16)) if code else written[:1] or "\t"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d{1,12}(?:\.\d{1,9})?", text, re.ASCII) is not None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6
