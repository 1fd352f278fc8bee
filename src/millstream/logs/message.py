"""The sentence of an alert: text with names in braces, checked when a rule is read, so that none fails when it is said.

    {count} failed logins from {source_ip} at {time:%H:%M}, the last to {fields.http.path}

A name is a field of the event, a part of its `fields` as in a condition, or a word that the rule knows itself.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.logs.names import FIELDS, Name, part_of, value_of
from millstream.parsers.log_event import LogEvent

WORDS: Final = ("count", "first", "last", "level", "rule", "values", "within")
"""What a message may say of the alert itself."""

UNKNOWN: Final = "?"
"""In the place of what an event does not have, whatever form was asked for."""

VALUES_SHOWN: Final = 10
"""Of `{values}`; the rest is counted."""

_SAMPLES: Final[Mapping[str, Any]] = {
    "count": 1,
    "first": datetime(2026, 1, 1, tzinfo=UTC),
    "last": datetime(2026, 1, 1, tzinfo=UTC),
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    **{field.name: 1 for field in msgspec.structs.fields(LogEvent) if field.type in (int | None, bool | None)},
}
"""Values of the names that are no text, to see whether a form fits."""


class Message:
    """A message of a rule."""

    def __init__(self, text: str, *, known: Collection[str] | None = None) -> None:
        """Take a text.

        Args:
            known: The names that it may have; None: all fields of an event and parts of `fields`.

        Raises:
            UsageError: It has another name, a brace alone, or a form that does not fit.
        """
        try:
            self._pieces = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"{error}; write {{field}}, and {{{{ for a brace") from error
        names = {name for _, name, _, _ in self._pieces if name is not None and name not in FIELDS}
        self._parts = {name: part for name in names if (part := part_of(name)) is not None}
        for _, name, form, conversion in self._pieces:
            if name is not None:
                self._check(name, known)
                _check_form(name, form or "", conversion)

    @property
    def columns(self) -> set[str]:
        """Return the fields of an event that it is made of."""
        names = {name for _, name, _, _ in self._pieces if name is not None and name in FIELDS}
        return {*names, *(["fields"] if self._parts else [])}

    def _check(self, name: str, known: Collection[str] | None) -> None:
        if name in WORDS or name in (FIELDS if known is None else known) or (known is None and name in self._parts):
            return
        there = [*sorted({*WORDS, *(FIELDS if known is None else known)}), *(["fields.NAME"] if known is None else [])]
        raise UsageError(f"there is no {{{name}}}; there is {', '.join(there)}")

    def said(self, event: Mapping[str, Any], words: Mapping[str, Any]) -> str:
        """Return the message.

        Args:
            event: Values of the fields; `fields` itself as JSON or as a dict.
            words: Values of `WORDS`.
        """
        inner = self._inner(event)
        made: list[str] = []
        for literal, name, form, conversion in self._pieces:
            made.append(literal)
            if name is None:
                continue
            if name in words:
                value = words[name]
            elif name in event:
                value = event[name]
            else:
                value = _text(inner, self._parts.get(name))
            made.append(UNKNOWN if value is None else _formed(value, form or "", conversion))
        return "".join(made)

    def named(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return of an event what the message names, for a later `said`; what is null is left out."""
        found: dict[str, Any] = {}
        inner = self._inner(event)
        for _, name, _, _ in self._pieces:
            value = event.get(name) if name in FIELDS else _text(inner, self._parts.get(name or ""))
            if name is not None and value is not None:
                found[name] = value
        return found

    def _inner(self, event: Mapping[str, Any]) -> Any:
        """Return the parts of `fields`, where the message has some."""
        inner = event.get("fields") if self._parts else None
        return msgspec.json.decode(inner) if isinstance(inner, str) else inner


def values_said(values: Collection[str]) -> str:
    """Return different values in a sentence, the first of them by name."""
    shown = ", ".join(list(values)[:VALUES_SHOWN])
    more = len(values) - VALUES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _text(inner: Any, part: Name | None) -> str | None:
    """Return a part of `fields` as a condition sees it: text, JSON of what is no text; None where there is none."""
    value = None if part is None else value_of(inner, part)
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _check_form(name: str, form: str, conversion: str | None) -> None:
    try:
        if re.search("[{}]", form):
            raise ValueError("a form has no names in it")
        _formed(_SAMPLES.get(name, "text"), form, conversion)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{{{name}:{form}}} cannot be written: {error}") from error


def _formed(value: Any, form: str, conversion: str | None) -> str:
    if conversion is not None:
        value = string.Formatter().convert_field(value, conversion)
    return format(value, form)
