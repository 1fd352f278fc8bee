"""Takes what patterns find out of the columns of events.

A pattern is tried on the few values that its hint finds, so that what has no secret costs what Polars needs to look
for one. Of JSON all texts in it are one column, each by itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.logs.names import part_of, value_of
from millstream.logs.steps.members import is_plain, with_texts
from millstream.logs.steps.objects import object_of, put
from millstream.logs.steps.patterns import Pattern
from millstream.logs.steps.step import Step
from millstream.logs.steps.tokens import Replace

if TYPE_CHECKING:
    import polars as pl

_Change = Callable[["pl.Series"], "pl.Series"]

FEW: Final = 8
"""Values that are looked at one by one: each question to Polars takes 50 us, each value 100."""
DEPTH_MAX: Final = 100
"""Of JSON: what is deeper is replaced whole."""
_KEYS_MAX: Final = 10_000
"""Names in JSON whose meaning is kept at hand."""
_TOO_DEEP: Final = "redacted"
_NOT_ASCII: Final = r"[^\x00-\x1b\x20-\x7f]"
"""Where Polars and Python do not mean the same by a word, a blank, or another case."""
_ODD: Final = r"[\u0130\u0131]|[:\[,]-?[0-9](?:[0-9.]{11}|[0-9.]*[eE])"
"""Letters whose other case Polars does not know, and numbers that may look like more than a number."""


class Redactor(Step):
    """Replaces what patterns find."""

    def __init__(
        self, patterns: Sequence[Pattern], replace: Replace, fields: Sequence[str], *, by_name: bool = False
    ) -> None:
        """Redact some fields.

        Args:
            by_name: What stands in the place of a value depends on the name of the pattern alone.
        """
        self._by_name = by_name
        self._patterns = tuple(patterns)
        self._replace = replace
        self._fields = tuple(name for name in fields if part_of(name) is None)
        parts = () if "fields" in self._fields else fields
        self._parts = tuple(part for name in parts if (part := part_of(name)) is not None)
        hints = [pattern.looked_for for pattern in patterns]
        self._hint = "|".join(f"(?:{hint})" for hint in hints) if all(hints) else None
        """What Polars looks for; None: every row is looked at."""
        keys = [f"(?:{pattern.of_keys.pattern})" for pattern in patterns if pattern.of_keys is not None]
        self._odd = "|".join([*(f'"{key}":' for key in keys), _ODD])
        """What is in objects that are read one by one."""
        self._secret_of = functools.lru_cache(_KEYS_MAX)(self._secret_of_key)

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        changed: list[pl.Series] = [self._without_in_parts(frame)] if self._parts else []
        looks = frame.select(self._worth_a_look(name) for name in self._fields)
        for name in self._fields:
            look = looks.get_column(name)
            if not look.any():
                continue
            column, places = frame.get_column(name), look.arg_true()
            values = column.gather(places)
            new = self._without(values, name) if places.len() > FEW else self._without_few(values, name)
            differ = (new != values).arg_true()
            if not differ.len():
                continue
            changed.append(new if places.len() == column.len() else column.scatter(places, new))
            if name == "raw":
                changed.append(_without(frame.get_column("raw_bytes"), places.gather(differ).to_list()))
        return frame.with_columns(changed)

    def _without_in_parts(self, frame: pl.DataFrame) -> pl.Series:
        """Return `fields` without what is found in some parts of them."""
        fields = frame.get_column("fields")
        places = frame.select(self._worth_a_look("fields")).to_series().arg_true()
        if not places.len():
            return fields
        return fields.clone().scatter(places, _series(fields, [self._without_in(one) for one in fields.gather(places)]))

    def _without_in(self, fields: str) -> str:
        found = object_of(fields)
        changed = False
        for part in self._parts:
            value = value_of(found, part)
            key = part.whole if part.whole in found else [one for one in part.path if isinstance(one, str)][-1]
            new = self._of_key(key, value, self._text, 0)
            if new != value:
                put(found, part, new)
                changed = True
        return msgspec.json.encode(found).decode() if changed else fields

    def texts(self, values: pl.Series) -> pl.Series:
        """Return texts without what is found in them."""
        if self._hint is None:
            return self._texts(values)
        places = values.str.contains(self._hint).arg_true()
        if places.len() == values.len():
            return self._texts(values)
        return values.clone().scatter(places, self._texts(values.gather(places))) if places.len() else values

    def _texts(self, values: pl.Series) -> pl.Series:
        patterns: Sequence[Pattern] = self._patterns
        while patterns:
            values, patterns = self._first(values, patterns)
        return values

    def _first(self, values: pl.Series, patterns: Sequence[Pattern]) -> tuple[pl.Series, Sequence[Pattern]]:
        """Return texts without what the first pattern finds that finds something, and the patterns after it.

        What those look for may be there only then, or no longer: they are asked anew.
        """
        for place, (pattern, look) in enumerate(zip(patterns, _looks(values, patterns), strict=True), 1):
            if not look.any():
                continue
            places = look.arg_true()
            found = values.gather(places)
            new = self._found(pattern, found)
            if (new != found).any():
                changed = new if places.len() == values.len() else values.clone().scatter(places, new)
                return changed, patterns[place:]
        return values, ()

    def _text(self, text: str) -> str:
        for pattern in self._patterns:
            text = self._replaced(pattern, text)
        return text

    def _worth_a_look(self, name: str) -> pl.Expr:
        """Return which values of a field may hold something."""
        import polars as pl

        column = pl.col(name)
        if self._hint is None:
            return column.is_not_null()
        found = column.str.contains(self._hint)
        if name in ("fields", "raw"):
            # An escape may hide what the hint looks for.
            found = found | (column.str.starts_with("{") & column.str.contains("\\", literal=True))
        return found.fill_null(value=False)

    def _without_few(self, values: pl.Series, name: str) -> pl.Series:
        """Return what `_without` does: asking Polars takes longer than to look at a few."""
        is_json = name in ("fields", "raw")
        return _series(values, [self._said(text, _json(text) if is_json else None, self._text) for text in values])

    def _found(self, pattern: Pattern, values: pl.Series) -> pl.Series:
        """Return texts in which a pattern may find something without what it finds."""

        def by_python(texts: pl.Series) -> pl.Series:
            return _series(texts, [self._replaced(pattern, text) for text in texts.to_list()])

        if not pattern.of_ascii or not self._by_name:
            return by_python(values)
        instead = "${1}" + self._replace(pattern.name, "").replace("$", "$$") + "${2}"
        is_ascii = ~values.str.contains(_NOT_ASCII)
        return _by_two(values, is_ascii, lambda texts: texts.str.replace_all(pattern.of_ascii, instead), by_python)

    def _without(self, values: pl.Series, name: str) -> pl.Series:
        """Return values of a field without what is found in them."""
        if name == "raw":
            return _by_two(values, values.str.starts_with("{"), self._of_json, self._texts)
        if name != "fields":
            return self._texts(values)
        if self._hint is None:
            return self._of_json(values)
        return _by_two(values, is_plain(values) & ~values.str.contains(self._odd), self._of_plain, self._of_json)

    def _of_plain(self, values: pl.Series) -> pl.Series:
        """Return plain objects of JSON without what is found in their texts."""
        new, renamed = with_texts(values, self.texts)
        odd = renamed.arg_true()
        return new.scatter(odd, self._of_json(values.gather(odd))) if odd.len() else new

    def _of_json(self, values: pl.Series) -> pl.Series:
        """Return lines of JSON, and such as only look like it, without what is found in their texts."""
        texts: list[str] = values.to_list()
        parsed = [_json(text) for text in texts]
        leaves: list[str] = []

        def collect(text: str) -> str:
            leaves.append(text)
            return text

        for text, value in zip(texts, parsed, strict=True):
            if value is None:
                collect(text)
            else:
                self._value(value, collect, 0)
        new = self.texts(_series(values, leaves)).to_list()
        after = iter(new)
        said = [self._said(text, value, lambda _: next(after)) for text, value in zip(texts, parsed, strict=True)]
        return _series(values, said)

    def _said(self, text: str, value: Any, change: Callable[[str], str]) -> str:
        """Return a text, and of JSON the text of its value, with each text changed."""
        if value is None:
            return change(text)
        changed = self._value(value, change, 0)
        return text if changed == value else msgspec.json.encode(changed).decode()

    def _value(self, value: Any, text: Callable[[str], str], depth: int) -> Any:
        """Return a value of JSON with its texts changed, asked for in their order."""
        if isinstance(value, str):
            return text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            said = str(value)
            changed = text(said)
            return value if changed == said else changed
        if depth >= DEPTH_MAX:
            return self._replace(_TOO_DEEP, "")
        if isinstance(value, list):
            return [self._value(part, text, depth + 1) for part in value]
        return {text(key): self._of_key(key, part, text, depth) for key, part in value.items()}

    def _of_key(self, key: str, value: Any, text: Callable[[str], str], depth: int) -> Any:
        name = self._secret_of(key)
        if name is None or value is None or isinstance(value, bool):
            return self._value(value, text, depth + 1)
        secret = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return self._replace(name, secret) if secret else value

    def _secret_of_key(self, key: str) -> str | None:
        """Return the name of the pattern that says that what has this name is a secret."""
        for pattern in self._patterns:
            if pattern.of_keys is not None and pattern.of_keys.fullmatch(key) is not None:
                return pattern.name
        return None

    def _replaced(self, pattern: Pattern, text: str) -> str:
        return pattern.find.sub(functools.partial(self._substitute, pattern), text)

    def _substitute(self, pattern: Pattern, match: re.Match[str]) -> str:
        named = [name for name in pattern.find.groupindex if name != "q" and match[name] is not None]
        start, end = match.span(named[0]) if named else match.span()
        value = match.string[start:end]
        if pattern.parts is not None:
            return self._in_parts(pattern.name, value, pattern.parts(value))
        if not value or not pattern.is_one(value):
            return match[0]
        before, after = match.string[match.start() : start], match.string[end : match.end()]
        return f"{before}{self._replace(pattern.name, value)}{after}"

    def _in_parts(self, name: str, text: str, parts: Sequence[tuple[int, int]]) -> str:
        """Return a text with parts of it replaced, which follow one another."""
        for start, end in reversed(parts):
            text = f"{text[:start]}{self._replace(name, text[start:end])}{text[end:]}"
        return text


def _by_two(
    values: pl.Series,
    which: pl.Series,
    change: Callable[[pl.Series], pl.Series],
    others: Callable[[pl.Series], pl.Series],
) -> pl.Series:
    """Return values changed in one way or the other."""
    places, rest = which.arg_true(), (~which).arg_true()
    if not rest.len() or not places.len():
        return others(values) if rest.len() else change(values)
    changed = values.clone().scatter(places, change(values.gather(places)))
    return changed.scatter(rest, others(values.gather(rest)))


def _looks(values: pl.Series, patterns: Sequence[Pattern]) -> list[pl.Series]:
    """Return, for each pattern, where it may find something."""
    import polars as pl

    column = pl.col(values.name)
    asked = (column.str.contains(one.looked_for) if one.hint else column.is_not_null() for one in patterns)
    return values.to_frame().select(one.alias(str(place)) for place, one in enumerate(asked)).get_columns()


def _json(text: str) -> Any:
    """Return what a line of JSON says; None for one that only looks like JSON, or does not."""
    if not text.startswith("{"):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _series(like: pl.Series, values: Sequence[str]) -> pl.Series:
    import polars as pl

    return pl.Series(like.name, values, dtype=pl.String)


def _without(column: pl.Series, places: Sequence[int]) -> pl.Series:
    """Return a column with some values empty.

    Made anew: what is only marked as empty is still in the column's memory, and is stored with it.
    """
    import polars as pl

    values = column.to_list()
    for place in places:
        values[place] = None
    return pl.Series(column.name, values, dtype=column.dtype)
