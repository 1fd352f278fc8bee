"""What steps add to `fields`, the column of JSON, without reading all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import polars as pl


def with_further(fields: pl.Series, name: str, values: pl.Series) -> pl.Series:
    """Return `fields` with one more name in them; where that is there already, it stays as it is.

    Args:
        fields: Objects of JSON as texts, or null.
        values: As many values of JSON as texts; null where there is none to add.
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


def _with_name(fields: str, name: str, value: str) -> str:
    found = msgspec.json.decode(fields, type=dict[str, msgspec.Raw])
    if name in found:
        return fields
    return msgspec.json.encode({**found, name: msgspec.Raw(value.encode())}).decode()
