r"""CEF and LEEF: what security products send, alone or as the message of a syslog line.

    CEF:0|vendor|product|version|signature|name|severity|src=10.0.0.1 suser=ann msg=any text
    LEEF:2.0|vendor|product|version|event|^|src=10.0.0.1^usrName=ann

Source: ArcSight Common Event Format (Implementing CEF, rev. 26); IBM QRadar LEEF 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.system_event import Severity
from millstream.parsers.times import parse_time

_HEADER: Final = re.compile(r"(?P<front>.*?)(?P<format>CEF|LEEF):(?P<version>\d+(?:\.\d+)?)\|", re.DOTALL)
_BAR: Final = re.compile(r"(?<!\\)(?:\\\\)*\|")
_NAME: Final = re.compile(r"(?:^|(?<=\s))(?P<name>[\w.\[\]-]{1,128})=")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)

_FIELDS: Final = {
    "src": "source_ip", "spt": "source_port", "srcPort": "source_port", "shost": "source_name", "suser": "user",
    "usrName": "user", "duser": "target_user", "dhost": "host", "dvchost": "host", "msg": "message", "app": "service",
}  # fmt: skip
_TIMES: Final = ("rt", "end", "start", "devTime")
_WORDS: Final = {"low": 2, "medium": 5, "high": 8, "very-high": 10, "unknown": -1}


def security_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        header = _HEADER.match(text)
        if header is None:
            return None
        is_cef = header["format"] == "CEF"
        count = 6 if is_cef else 4
        parts, rest = _split(text[header.end() :], count)
        if len(parts) < count:
            return None
        if is_cef:
            vendor, product, version, signature, name, severity = map(_unescaped, parts)
            pairs = _cef_pairs(rest)
        else:
            vendor, product, version, signature = map(_unescaped, parts)
            name, severity = signature, ""
            pairs = _leef_pairs(rest, header["version"])
        return _event(pairs, name, severity, f"{vendor} {product}", now, zone) | {
            "fields": {"vendor": vendor, "product": product, "version": version, "signature": signature, **pairs}
        }

    return read


def _event(
    pairs: Mapping[str, str], name: str, severity: str, program: str, now: datetime, zone: tzinfo | None
) -> dict[str, Any]:
    said: dict[str, Any] = {"message": name, "program": program.strip() or None}
    for written, field in _FIELDS.items():
        value = pairs.get(written)
        if value and field == "source_port":
            said[field] = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else None
        elif value:
            said[field] = value
    times = (parse_time(pairs[written], now=now, zone=zone) for written in _TIMES if written in pairs)
    said["time"] = next((time for time in times if time is not None), None)
    said["severity"] = _severity(severity or pairs.get("sev", ""))
    return said


def _severity(text: str) -> Severity | None:
    """Return what 0 to 10 means: CEF's low, medium, high and very high."""
    word = text.strip().lower()
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 3 else _WORDS.get(word, -1)
    if number < 0:
        return None
    return (
        Severity.NOTICE
        if number <= 3
        else Severity.WARNING
        if number <= 6
        else Severity.ERR
        if number <= 8
        else Severity.CRIT
    )


def _split(text: str, count: int) -> tuple[list[str], str]:
    """Return so many parts that end in a bar, and what follows them."""
    parts: list[str] = []
    start = 0
    for match in _BAR.finditer(text):
        parts.append(text[start : match.end() - 1])
        start = match.end()
        if len(parts) == count:
            break
    return parts, text[start:]


def _cef_pairs(text: str) -> dict[str, str]:
    """Return the extension: a value goes on until the next ` name=`."""
    names = list(_NAME.finditer(text))
    ends = (*(match.start() for match in names[1:]), len(text))
    # Not strict: without any name there is still an end.
    return {
        match["name"]: _unescaped(text[match.end() : end].rstrip()) for match, end in zip(names, ends, strict=False)
    }


def _leef_pairs(text: str, version: str) -> dict[str, str]:
    delimiter = "\t"
    if version.startswith("2"):
        # The delimiter is a part of its own: one character, or its code in hex.
        written, bar, rest = text.partition("|")
        if bar and len(written) <= 5 and "=" not in written:
            text = rest
            delimiter = _delimiter(written) or delimiter
    pairs = (piece.partition("=") for piece in text.split(delimiter))
    return {name.strip(): value for name, equals, value in pairs if equals and name.strip()}


def _delimiter(written: str) -> str | None:
    code = written.lower().removeprefix("0").removeprefix("x")
    if len(written) == 1:
        return written
    return chr(int(code, 16)) if re.fullmatch(r"[0-9a-f]{1,4}", code) else None


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), text)
