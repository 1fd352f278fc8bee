"""Patterns of your own: regular expressions, with grok's names for what is in every log.

    %{TIMESTAMP:time} %{IP:source_ip} %{WORD:method} (?P<took>[0-9.]+)ms %{GREEDY:message}

`%{NAME:field}` is what NAME matches, as a field; `%{NAME}` matches and keeps nothing. A pattern matches a whole line.
Fields find their place in the event as named fields of other formats do, see `named`.

Source: the names are those of Logstash's grok; the expressions are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.errors import UsageError
from millstream.parsers.log_event import LogEvent
from millstream.parsers.named import event_fields

_IPV4: Final = r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV6: Final = r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]{0,15}"
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?"
_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"

NAMES: Final[Mapping[str, str]] = {
    "INT": r"[+-]?\d+",
    "NUMBER": r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)",
    "BASE16NUM": r"(?:0[xX])?[0-9A-Fa-f]+",
    "WORD": r"\w+",
    "NOTSPACE": r"\S+",
    "SPACE": r"\s*",
    "DATA": r".*?",
    "GREEDYDATA": r".*",
    "QUOTEDSTRING": r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'",
    "UUID": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "MAC": r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}",
    "IPV4": _IPV4,
    "IPV6": _IPV6,
    "IP": rf"{_IPV6}|{_IPV4}",
    "HOSTNAME": _HOST,
    "IPORHOST": rf"{_IPV6}|{_IPV4}|{_HOST}",
    "HOSTPORT": rf"(?:{_IPV4}|{_HOST}):\d{{1,5}}",
    "USERNAME": r"[A-Za-z0-9._@-]+",
    "USER": r"[A-Za-z0-9._@-]+",
    "EMAILADDRESS": rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_HOST}",
    "PATH": r"(?:/|[A-Za-z]:\\|\\\\)\S*",
    "UNIXPATH": r"/\S*",
    "URI": r"[A-Za-z][A-Za-z0-9+.-]*://\S+",
    "URIPATH": r"/[^\s?#]*",
    "URIPATHPARAM": r"/[^\s#]*",
    "LOGLEVEL": r"[A-Za-z]{3,9}\d?",
    "POSINT": r"[1-9]\d*",
    "NONNEGINT": r"\d+",
    "YEAR": r"\d{4}",
    "MONTHNUM": r"0?[1-9]|1[0-2]",
    "MONTHDAY": r"0?[1-9]|[12]\d|3[01]",
    "MONTH": r"[A-Z][a-z]{2,8}",
    "DAY": r"[A-Z][a-z]{2,8}",
    "TIME": _CLOCK,
    "TIMESTAMP_ISO8601": rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?: ?(?:Z|[+-]\d\d:?\d\d))?",
    "SYSLOGTIMESTAMP": rf"[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}",
    "HTTPDATE": rf"\d\d/[A-Z][a-z]{{2}}/\d{{4}}:{_CLOCK} [+-]\d{{4}}",
}
"""Name -> expression."""

_ALSO: Final = {"GREEDY": "GREEDYDATA", "TIMESTAMP": "TIMESTAMP_ISO8601", "QS": "QUOTEDSTRING", "BASE10NUM": "NUMBER"}
_PART: Final = re.compile(r"%\{(?P<name>\w+)(?::(?P<field>[^}:]+))?(?::(?P<type>\w+))?\}")
_OWN: Final = frozenset(LogEvent.__struct_fields__) - {"fields", "raw", "raw_bytes", "source"}
_NUMBERS: Final[Mapping[str, Callable[[str], Any]]] = {"int": int, "float": float}


class Grok:
    """A pattern, compiled."""

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Raises:
            UsageError: It names what there is not, a field twice, or is no regular expression; says where.
        """
        self._fields: dict[str, str] = {}
        """Name of a group -> of its field: fields may have dots, groups may not."""
        self._types: dict[str, Callable[[str], Any]] = {}
        expression = _PART.sub(self._part, pattern)
        try:
            self._compiled = re.compile(expression, re.DOTALL)
        except re.error as error:
            raise UsageError(f"the pattern {pattern!r} is no regular expression: {error}") from error
        for name in self._compiled.groupindex:
            self._fields.setdefault(name, name)
        if not self._fields:
            raise UsageError(f"the pattern {pattern!r} keeps nothing; name a field, as in %{{IP:source_ip}}")

    def match(self, text: str) -> dict[str, Any] | None:
        """Return the fields of a line, or None where it does not match."""
        found = self._compiled.fullmatch(text)
        if found is None:
            return None
        values = {self._fields[group]: text for group, text in found.groupdict().items() if text is not None}
        return {name: self._types[name](value) if name in self._types else value for name, value in values.items()}

    def _part(self, part: re.Match[str]) -> str:
        name, field, kind = part["name"], part["field"], part["type"]
        expression = NAMES.get(_ALSO.get(name, name))
        if expression is None:
            raise UsageError(f"the pattern has {part[0]}, and there is no {name}; there is {', '.join(NAMES)}")
        if field is None:
            return f"(?:{expression})"
        if field in self._fields.values():
            raise UsageError(f"the pattern has the field {field!r} twice")
        if kind is not None:
            if kind not in _NUMBERS:
                raise UsageError(f"the pattern has {part[0]}; of a type is {', '.join(_NUMBERS)}, all else is text")
            self._types[field] = _NUMBERS[kind]
        group = f"g{len(self._fields)}"
        self._fields[group] = field
        return f"(?P<{group}>{expression})"


def grok_reader(pattern: str, zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`.

    Raises:
        UsageError: The pattern is wrong; see `Grok`.
    """
    grok = Grok(pattern)

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        named = grok.match(text)
        if named is None:
            return None
        said = event_fields(named, now=now, zone=zone)
        rest = dict(said["fields"] or {})
        # A field that the event has by that name is meant by it: `source_port`, `command`, `method`.
        for name in [name for name in rest if name in _OWN and said.get(name) is None]:
            value = rest.pop(name)
            if name in ("pid", "source_port"):
                said[name] = int(value) if str(value).isdecimal() and len(str(value)) < 11 else None
            elif name not in ("time", "severity", "kind", "success"):
                said[name] = str(value)
        return {**said, "fields": rest or None}

    return read
