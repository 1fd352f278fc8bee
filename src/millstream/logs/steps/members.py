"""Members of the objects in `fields`, a column of JSON: asked for, taken out and added, without reading all of it.

Most objects are *plain*: written without blanks, flat, without escapes and without empty values. There a name in quotes
before a colon is a member's name and nothing else, and Polars finds it with an expression. Others are left to whoever
asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import polars as pl

_ODD: Final = r'(?s)\\|null|.\{|\[\[|":\s|,\s"|\{\s|\s\}|^\{\}$'
_SCALAR: Final = r'"[^"]*"|[^,"{}\[\]]+'
_VALUE: Final = rf'{_SCALAR}|\[(?:"[^"]*"|[^"\[\]])*\]'
_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL: Final = b"null"


def is_plain(fields: pl.Series) -> pl.Series:
    """Return which objects the other functions here understand; null is one of them."""
    return (~fields.str.contains(_ODD)).fill_null(value=True)


def is_plain_name(name: str) -> bool:
    """Return whether a member of a plain object can have this name."""
    return not re.search(r'["\\\x00-\x1f]|null', name)


def member(fields: pl.Series, name: str) -> pl.Series:
    """Return the value of a member of plain objects as JSON; null where there is none."""
    return fields.str.extract(rf"(?s){_key(name)}({_VALUE})", 1)


def without_member(fields: pl.Series, name: str) -> pl.Series:
    """Return plain objects without a member; `{}` where it was the only one."""
    if not fields.str.contains(f'"{name}":', literal=True).any():
        return fields
    key = _key(name)
    return fields.str.replace(rf"(?s),{key}(?:{_VALUE})|{key}(?:{_VALUE}),?", "")


def with_member(fields: pl.Series, name: str, values: pl.Series) -> pl.Series:
    """Return plain objects with one more member, which is not there yet, and unchanged where the value is null.

    Args:
        values: JSON, as text; one for each, or one for all.
    """
    import polars as pl

    old, new = pl.col(fields.name), pl.lit(values)
    comma = pl.when(old == "{}").then(pl.lit("")).otherwise(pl.lit(","))
    before = (old.str.strip_suffix("}") + comma).fill_null("{")
    added = pl.concat_str(before, pl.lit(f'"{name}":'), new, pl.lit("}"))
    return fields.to_frame().select(pl.coalesce(added, old)).to_series().alias(fields.name)


def none_if_empty(fields: pl.Series) -> pl.Series:
    """Return objects, and null for those without members."""
    return fields.replace("{}", None)


def text_of_member(value: pl.Series) -> pl.Series:
    """Return values of members as texts: what is in quotes, and others as JSON."""
    import polars as pl

    found = value.str.strip_prefix('"').str.strip_suffix('"')
    odd = (value.str.contains(r'^[^"]') & ~value.str.contains(r"^(?:-?[0-9]+|true|false)$")).fill_null(value=False)
    places = odd.arg_true()
    if not places.len():
        return found
    read = [text_of(msgspec.json.decode(one)) for one in value.gather(places)]
    return found.scatter(places, pl.Series(read, dtype=pl.String))


def member_of_text(text: pl.Series) -> pl.Series:
    """Return texts as JSON."""
    import polars as pl

    found = '"' + text + '"'
    places = text.str.contains(r'["\\\x00-\x1f]').fill_null(value=False).arg_true()
    if not places.len():
        return found
    said = [msgspec.json.encode(one).decode() for one in text.gather(places)]
    return found.scatter(places, pl.Series(said, dtype=pl.String))


def with_texts(fields: pl.Series, change: Callable[[pl.Series], pl.Series]) -> tuple[pl.Series, pl.Series]:
    """Return plain objects with other texts, and which of them have other names now, so that two may be the same.

    Args:
        fields: Without null.
        change: Takes all names and texts, and returns as many.
    """
    import polars as pl

    pieces = fields.str.split('"')  # every other one is a text
    counts = pieces.list.len().cast(pl.Int64)
    rows = pl.DataFrame({"row": pl.int_range(len(fields), eager=True), "piece": pieces}).explode("piece")
    row, piece = rows.get_column("row"), rows.get_column("piece")
    within = pl.int_range(rows.height, eager=True) - (counts.cum_sum() - counts).gather(row)
    places = (within % 2 == 1).arg_true()
    texts = piece.gather(places)
    new = change(texts)
    differ = (new != texts).arg_true()
    if not differ.len():
        return fields, pl.zeros(len(fields), pl.Boolean, eager=True)
    said = member_of_text(new.gather(differ)).str.slice(1)  # with a quote too many at its end
    changed = places.gather(differ)
    joined = rows.with_columns(piece.clone().scatter(changed, said.str.head(-1)))
    renamed = row.gather(changed).filter(piece.gather(changed + 1).str.starts_with(":"))
    objects = joined.group_by("row", maintain_order=True).agg("piece").get_column("piece").list.join('"')
    return objects.alias(fields.name), pl.int_range(len(fields), eager=True).is_in(renamed.unique().implode())


def text_of(value: Any) -> str:
    """Return a value of a member as text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def with_members(fields: str | None, values: Mapping[str, bytes | None]) -> str | None:
    """Return any object with other members, and without those that are None or empty; None where none is left.

    Args:
        values: JSON, by name.
    """
    found = {} if fields is None else {name: bytes(value) for name, value in _DECODER.decode(fields).items()}
    kept = {name: msgspec.Raw(said) for name, said in {**found, **values}.items() if said not in (None, _NULL)}
    return msgspec.json.encode(kept).decode() if kept else None


def with_all_members(fields: pl.Series, others: pl.Series) -> pl.Series:
    """Return any objects with the members of others, which count where both have one; null where both are."""
    import polars as pl

    both = (fields.is_not_null() & others.is_not_null()).arg_true()
    found = others.fill_null(fields)
    if not both.len():
        return found
    pairs = zip(fields.gather(both), others.gather(both), strict=True)
    said = [msgspec.json.encode(_DECODER.decode(one) | _DECODER.decode(other)).decode() for one, other in pairs]
    return found.scatter(both, pl.Series(said, dtype=pl.String))


def _key(name: str) -> str:
    return f'"{re.escape(name)}":'
