"""Members of the objects in `fields`, a column of JSON: asked for, taken out and added, without reading all of it.

Most objects are *plain*: written without blanks, flat, without escapes and without empty values. There a name in quotes
before a colon is a member's name and nothing else, and Polars finds it with an expression. Others are left to whoever
asks, and to `objects`. In a plain object nothing is at the end of a path: a name means what is there under all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.logs.names import Name
from millstream.logs.steps.objects import nested, text_of, with_members

if TYPE_CHECKING:
    import polars as pl

_ODD: Final = r'(?s)\\|null|.\{|[\[,]\s*\[|":\s|,\s"|\{\s|\s\}|^\{\}$'
_SCALAR: Final = r'"[^"]*"|[^,"{}\[\]]+'
_VALUE: Final = rf'{_SCALAR}|\[(?:"[^"]*"|[^"\[\]])*\]'
_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_plain(fields: pl.Series) -> pl.Series:
    """Return which objects the other functions here understand; null is one of them."""
    return (~fields.str.contains(_ODD)).fill_null(value=True)


def are_plain_names(names: Collection[Name]) -> bool:
    """Return whether members of plain objects can have these names, and each leaves alone what the others mean."""
    used = [part for name in set(names) for part in {name.path[0], name.whole}]
    return len(set(used)) == len(used) and not any(re.search(r'["\\\x00-\x1f]|null', name.whole) for name in names)


def are_odd(fields: pl.Series, names: Collection[Name]) -> pl.Series:
    """Return the places of objects of which the other functions here do not know what plain names mean.

    Such as are not plain are understood where none of the names is written in them: then it is not there.
    """
    import polars as pl

    places = (~is_plain(fields)).arg_true()
    if not places.len():
        return places
    some = pl.col(fields.name)
    written = [f'"{part}"' for name in names for part in (name.path[0], name.whole)]
    has_none = some.str.starts_with('{"') & some.str.ends_with("}") & ~some.str.contains_any([*written, "null", "\\"])
    return places.filter(~fields.gather(places).to_frame().select(has_none).to_series())


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


def under_all_of_it(fields: pl.Series, name: Name) -> pl.Series:
    """Return in which plain objects a value is put under all of a name: it is there, or no object is on its way."""
    if any(isinstance(part, int) for part in name.path):
        return fields.str.len_bytes().fill_null(0) >= 0
    return fields.str.contains(rf'"(?:{re.escape(name.whole)}|{re.escape(str(name.path[0]))})":').fill_null(value=False)


def with_named(fields: pl.Series, name: Name, values: pl.Series, whole: pl.Series | None) -> pl.Series:
    """Return objects with a value under a name, which is not there yet, and unchanged where the value is null.

    Args:
        values: JSON, as text; one for each, or one for all.
        whole: What `under_all_of_it` said; None: that is all the name.
    """
    import polars as pl

    if whole is None:
        return with_member(fields, name.whole, values)
    each = values if len(values) == len(fields) else pl.repeat(values[0], len(fields), dtype=pl.String, eager=True)
    nothing = pl.repeat(None, len(fields), dtype=pl.String, eager=True)
    first, *rest = name.path
    before, _, after = msgspec.json.encode(nested(rest, 0)).decode().rpartition("0")
    changed = with_member(fields, name.whole, each.zip_with(whole, nothing))
    return with_member(changed, str(first), (before + each + after).zip_with(~whole, nothing))


def with_values(fields: pl.Series, values: Mapping[Name, pl.Series]) -> pl.Series:
    """Return any objects with values under names; what has the name stays where the value is null.

    Args:
        values: JSON, as text; one for each object.
    """
    import polars as pl

    places = are_odd(fields, values) if are_plain_names(values) else pl.int_range(len(fields), eager=True)
    changed = with_plain_values(fields, values) if places.len() < len(fields) else fields
    if not places.len():
        return changed
    rows = zip(fields.gather(places), *(one.gather(places) for one in values.values()), strict=True)
    odd = []
    for text, *said in rows:
        new = {name: msgspec.json.decode(one) for name, one in zip(values, said, strict=True) if one is not None}
        odd.append(with_members(text, new) if new else text)
    return changed.clone().scatter(places, pl.Series(odd, dtype=pl.String))


def with_plain_values(fields: pl.Series, values: Mapping[Name, pl.Series]) -> pl.Series:
    """Return what `with_values` does, of objects that are not odd, with plain names."""
    whole = {name: under_all_of_it(fields, name) for name in values if name.is_deep}
    for name, one in values.items():
        fields = without_member(fields, name.whole).zip_with(one.is_not_null(), fields)
    for name, one in values.items():
        fields = with_named(fields, name, one, whole.get(name))
    return none_if_empty(fields)


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


def member_of_value(values: pl.Series) -> pl.Series:
    """Return values of any type as JSON; null for what JSON has not."""
    import polars as pl

    if values.dtype == pl.String:
        return member_of_text(values)
    if values.dtype.is_integer() or values.dtype == pl.Boolean:
        return values.cast(pl.String)
    if values.dtype.is_numeric():
        values = values.cast(pl.Float64)
        values = values.zip_with(values.is_finite(), values.clear(len(values)))
    said = [None if one is None else msgspec.json.encode(one).decode() for one in values.to_list()]
    return pl.Series(values.name, said, dtype=pl.String)


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


def with_new_member(fields: pl.Series, name: str, values: pl.Series) -> pl.Series:
    """Return any objects with one more member; where that is there already, it stays as it is.

    Args:
        values: JSON, as text; one for each, null where there is none to add.
    """
    import polars as pl

    if values.null_count() == len(values):
        return fields
    key = msgspec.json.encode(name).decode()
    old, new = pl.col("old"), pl.col("new")
    # Put in front of the closing brace, where the name cannot be there already, however it is written.
    is_plain = old.str.starts_with('{"') & old.str.ends_with("}") & ~old.str.contains_any([key, "\\u"])
    found = pl.DataFrame({"old": fields, "new": values}).select(
        pl.when(new.is_null())
        .then(old)
        .when(old.is_null() | (old == "{}"))
        .then(pl.concat_str(pl.lit("{" + key + ":"), new, pl.lit("}")))
        .when(is_plain)
        .then(pl.concat_str(old.str.strip_suffix("}"), pl.lit("," + key + ":"), new, pl.lit("}")))
        .alias("found"),
        (new.is_not_null() & old.is_not_null() & (old != "{}") & ~is_plain).fill_null(value=False).alias("odd"),
    )
    places = found.get_column("odd").arg_true().to_list()
    result = found.get_column("found").alias(fields.name)
    if not places:
        return result
    return result.scatter(places, [_with_name(fields[place], name, values[place]) for place in places])


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


def _with_name(fields: str, name: str, value: str) -> str:
    found = _DECODER.decode(fields)
    if name in found:
        return fields
    return msgspec.json.encode({**found, name: msgspec.Raw(value.encode())}).decode()
