"""Secrets and personal data out of events, before they reach the disk.

A line is kept in several fields: what a parser took from it, `fields`, and `raw`, the line itself. All are redacted, so
that a secret is in none. A line of JSON is redacted as what it says, not as what it looks like: an escape in it hides
nothing. Of a line that is not UTF-8 the exact bytes are given up where something was found in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from millstream.errors import UsageError
from millstream.logs.steps.patterns import GROUPS, PATTERNS, Pattern
from millstream.logs.steps.step import TEXT_FIELDS, Step, StepTable, check_field
from millstream.logs.steps.tokens import KEY_BYTES_MIN, Replace, with_network, with_text, with_token

if TYPE_CHECKING:
    import polars as pl

REDACTED: Final = (*TEXT_FIELDS, "fields")
DEPTH_MAX: Final = 100
"""Of JSON: what is deeper is replaced whole."""

_OWN: Final = "redacted"
"""How a pattern of a user's own is called where it has no name."""


class RedactTable(StepTable, frozen=True, kw_only=True, tag="redact"):
    """Secrets and personal data, replaced."""

    what: tuple[str, ...] = ()
    """Names of `PATTERNS` or `GROUPS`."""
    pattern: str | None = None
    """A regular expression of one's own; where it has a group with a name, that is replaced."""
    name: str = _OWN
    """What the pattern finds, for what stands in its place."""
    fields: tuple[str, ...] = REDACTED
    replace: Literal["name", "text", "token", "network"] = "name"
    text: str | None = None
    key_env: str | None = None
    key_file: str | None = None

    def check(self) -> None:
        super().check()
        if not self.what and self.pattern is None:
            raise UsageError(f"give what or pattern; what may have {', '.join((*PATTERNS, *GROUPS))}")
        for name in self.what:
            if name not in PATTERNS and name not in GROUPS:
                raise UsageError(f"what: there is no {name!r}; there is {', '.join((*PATTERNS, *GROUPS))}")
        for field in self.fields:
            check_field(field, "fields", REDACTED)
        if self.pattern is not None:
            try:
                if re.compile(self.pattern).match(""):
                    raise UsageError("pattern: it finds the empty text, everywhere")
            except re.error as error:
                raise UsageError(f"pattern: {self.pattern!r} is no regular expression: {error}") from error
        self._check_replacement()

    def _check_replacement(self) -> None:
        if (self.replace == "text") != (self.text is not None):
            raise UsageError('replace = "text" and text go together: give both, or none')
        keys = [key for key in (self.key_env, self.key_file) if key is not None]
        if self.replace == "token" and len(keys) != 1:
            raise UsageError('replace = "token" needs a key: give key_env, a variable\'s name, or key_file')
        if self.replace != "token" and keys:
            raise UsageError('key_env and key_file are for replace = "token"')
        if self.replace == "network" and (self.pattern is not None or not set(self._names()) <= {"ipv4", "ipv6"}):
            raise UsageError('replace = "network" is for addresses: what = ["ip"]')

    def open(self, environment: Mapping[str, str]) -> Step:
        patterns = [PATTERNS[name] for name in PATTERNS if name in self._names()]
        if self.pattern is not None:
            patterns.append(Pattern(self.name, re.compile(self.pattern), ""))
        return Redactor(patterns, self._replace(environment), self.fields)

    def _names(self) -> Sequence[str]:
        return [one for name in self.what for one in GROUPS.get(name, (name,))]

    def _replace(self, environment: Mapping[str, str]) -> Replace:
        match self.replace:
            case "token":
                return with_token(self._key(environment))
            case "network":
                return with_network(with_text(None))
            case _:
                return with_text(self.text)

    def _key(self, environment: Mapping[str, str]) -> bytes:
        if self.key_env is not None:
            key, where = environment.get(self.key_env, "").encode(), f"the variable {self.key_env}"
        else:
            assert self.key_file is not None
            where = f"key_file {self.key_file}"
            try:
                key = Path(self.key_file).read_bytes().strip()
            except OSError as error:
                raise UsageError(f"{where} cannot be read: {error.strerror}") from error
        if len(key) < KEY_BYTES_MIN:
            raise UsageError(f"{where} has {len(key)} bytes; a key has {KEY_BYTES_MIN} or more, made at random")
        return key


class Redactor(Step):
    """Replaces what patterns find."""

    def __init__(self, patterns: Sequence[Pattern], replace: Replace, fields: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._replace = replace
        self._fields = tuple(fields)
        hints = [pattern.hint for pattern in patterns]
        self._hint = "|".join(f"(?:{hint})" for hint in hints) if all(hints) else None
        """What Polars looks for; None: every row is looked at."""

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:

        changed: list[pl.Series] = []
        for name in self._fields:
            column = frame.get_column(name)
            found = self._candidates(column, name)
            if not found.len():
                continue
            change = self._of_fields if name == "fields" else self._of_raw if name == "raw" else self.text
            values = column.gather(found).to_list()
            new = [change(value) for value in values]
            if new == values:
                continue
            changed.append(column.scatter(found, new))
            if name == "raw":
                places = [place for place, a, b in zip(found, values, new, strict=True) if a != b]
                changed.append(_without(frame.get_column("raw_bytes"), places))
        return frame.with_columns(changed)

    def text(self, text: str) -> str:
        """Return a text without what is found in it."""
        for pattern in self._patterns:
            text = pattern.find.sub(self._substitute(pattern), text)
        return text

    def _candidates(self, column: pl.Series, name: str) -> pl.Series:
        """Return the places of the values that are worth a look."""
        if self._hint is None:
            return column.is_not_null().arg_true()
        found = column.str.contains(self._hint)
        if name in ("fields", "raw"):
            # An escape may hide what the hint looks for.
            found = found | (column.str.starts_with("{") & column.str.contains("\\", literal=True))
        return found.fill_null(value=False).arg_true()

    def _of_fields(self, text: str) -> str:
        found = msgspec.json.decode(text)
        changed = self._value(found, 0)
        return text if changed == found else msgspec.json.encode(changed).decode()

    def _of_raw(self, text: str) -> str:
        if text.startswith("{"):
            try:
                return self._of_fields(text)
            except (msgspec.DecodeError, RecursionError):
                pass  # it only looks like JSON
        return self.text(text)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            text = str(value)
            changed = self.text(text)
            return value if changed == text else changed
        if depth >= DEPTH_MAX:
            return self._replace(_OWN, "")
        if isinstance(value, list):
            return [self._value(part, depth + 1) for part in value]
        return {self.text(key): self._of_key(key, part, depth) for key, part in value.items()}

    def _of_key(self, key: str, value: Any, depth: int) -> Any:
        for pattern in self._patterns:
            secret = pattern.of_keys is not None and pattern.of_keys.fullmatch(key) is not None
            if secret and value is not None and not isinstance(value, bool):
                text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                return self._replace(pattern.name, text) if text else value
        return self._value(value, depth + 1)

    def _substitute(self, pattern: Pattern) -> Callable[[re.Match[str]], str]:
        def substitute(match: re.Match[str]) -> str:
            whole = match[0]
            named = [name for name in pattern.find.groupindex if name != "q" and match[name] is not None]
            start, end = match.span(named[0]) if named else match.span()
            value = match.string[start:end]
            if pattern.parts is not None:
                return self._in_parts(pattern.name, value, pattern.parts(value))
            if not value or not pattern.is_one(value):
                return whole
            before, after = match.string[match.start() : start], match.string[end : match.end()]
            return f"{before}{self._replace(pattern.name, value)}{after}"

        return substitute

    def _in_parts(self, name: str, text: str, parts: Sequence[tuple[int, int]]) -> str:
        """Return a text with parts of it replaced, which follow one another."""
        for start, end in reversed(parts):
            text = f"{text[:start]}{self._replace(name, text[start:end])}{text[end:]}"
        return text


def _without(column: pl.Series, places: Sequence[int]) -> pl.Series:
    """Return a column with some values empty.

    Made anew: what is only marked as empty is still in the column's memory, and is stored with it.
    """
    import polars as pl

    values = column.to_list()
    for place in places:
        values[place] = None
    return pl.Series(column.name, values, dtype=column.dtype)
