"""The columns of a join: which come in, what the key is, which come out.

Out come the left input's columns, then those of the right one without its key; a name that the left one has too gets
the suffix.

| left | right | on | out |
|---|---|---|---|
| id, user_id, name | user_id, name | user_id | id, user_id, name, name_right |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.stream.piece import Piece
from millstream.stream.run_values import read_frame, write_frame

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite

SIDES: Final = ("left", "right")
"""What the ports 0 and 1 are called in messages."""


class JoinedColumns:
    """What is known of the columns of both inputs, and so of what comes out."""

    def __init__(
        self,
        name: str,
        on_left: tuple[str, ...],
        on_right: tuple[str, ...],
        suffix: str,
        prefix: bytes,
        *,
        outer: bool = False,
    ) -> None:
        self._outer = outer
        """Rows of the right input come out alone, with their key as the left one's."""
        self._name = name
        self._on = (on_left, on_right)
        self._suffix = suffix
        self._prefix = prefix
        self._seen: list[pl.Schema | None] = [None, None]
        self._bound: list[pl.Schema | None] = [None, None]
        self._stored: list[pl.Schema | None] = [None, None]

    # --- what comes in --------------------------------------------------------------------------------------------

    def see(self, port: int, piece: Piece) -> Piece:
        """Note the columns of records that came; return them with a key that none of them has as nulls.

        Without the key that others before them had, that is: whether one of a micro-batch has it depends on its end.
        """
        import polars as pl

        columns, known = piece.columns(), self.schema(port)
        lost = [name for name in self._on[port] if name not in columns.columns and known is not None and name in known]
        if lost and known is not None:
            columns = columns.with_columns(pl.lit(None, dtype=known[name]).alias(name) for name in lost)
            piece = Piece(piece.carried, columns=columns, json=piece.json)
        if columns.schema != self._seen[port]:
            self.bind(port, columns.schema)
            self._seen[port] = columns.schema
        return piece

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        """Note the columns of an input; return those that come out, once both inputs are known.

        Raises:
            UsageError: A key column is missing, or of a type that cannot be compared with its partner's; a column is
                not of a type that those before can become; a name would come out twice.
        """
        for column in self._on[port]:
            if column != "_key" and column not in schema:
                raise UsageError(
                    f"{self._name}: the {SIDES[port]} input has no column {column!r} to join on; "
                    f"it has {', '.join(schema.names()) or 'none'}"
                )
        self._bound[port] = self._widened(port, self._bound[port], schema)
        self.key(port)
        return self.out_schema() if None not in self._bound else None

    def _widened(self, port: int, old: pl.Schema | None, new: pl.Schema) -> pl.Schema:
        """Return columns that hold those seen before and new ones."""
        import polars as pl

        if old is None or old == new:
            return new
        try:
            widened = pl.concat([old.to_frame(), new.to_frame()], how="diagonal_relaxed").schema
        except pl.exceptions.PolarsError as error:
            raise self._changed(port, old, new) from error
        # Polars would make texts of numbers.
        became_text = [name for name in old if name in new and widened[name] == pl.String != old[name]]
        if any(old[name] not in (pl.Null, pl.Categorical, pl.Enum) for name in became_text):
            raise self._changed(port, old, new)
        return widened

    def _changed(self, port: int, old: pl.Schema, new: pl.Schema) -> UsageError:
        return UsageError(
            f"{self._name}: columns of the {SIDES[port]} input changed their types: {_text(old)} became {_text(new)}; "
            "cast them before the join to what they were"
        )

    def schema(self, port: int) -> pl.Schema | None:
        """Return the columns of an input as far as they are known, if only from an earlier run."""
        return self._bound[port] or self._stored[port]

    def _known(self, port: int) -> pl.Schema:
        import polars as pl

        return self.schema(port) or pl.Schema()

    def key(self, port: int) -> list[pl.Expr]:
        """Return the key of an input's rows as columns `_k0`, `_k1`, ..., of types that are the same on both sides."""
        import polars as pl

        exprs: list[pl.Expr] = []
        for place, names in enumerate(zip(*self._on, strict=True)):
            types = [self._type(side, name) for side, name in enumerate(names)]
            common = _common_type(*types)
            if common is None:
                raise UsageError(
                    f"{self._name}: the left {names[0]!r} is {types[0]} and the right {names[1]!r} is {types[1]}: "
                    "they are never equal; cast one of them before the join, with with_columns"
                )
            exprs.append(_as(pl.col(names[port]), types[port], common).alias(f"_k{place}"))
        return exprs

    def _type(self, port: int, name: str) -> pl.DataType | None:
        import polars as pl

        if name == "_key":
            return pl.Binary()
        schema = self.schema(port)
        return None if schema is None else schema.get(name)

    # --- what comes out -------------------------------------------------------------------------------------------

    def out_schema(self) -> pl.Schema:
        """Return the columns that come out, of the inputs that are known."""
        import polars as pl

        right = self._known(1)
        out = dict(self._left_types())
        for name, out_name in self._right_names().items():
            if out_name in out:
                raise UsageError(
                    f"{self._name}: two columns would be named {out_name!r}; rename one of them before the join, "
                    "or give another suffix"
                )
            out[out_name] = right[name]
        return pl.Schema(out)

    def _left_types(self) -> dict[str, pl.DataType]:
        """Return the left input's columns as they come out: a key that the right one gives too holds both."""
        types = dict(self._known(0))
        if self._outer:
            for name, right_name in zip(*self._on, strict=True):
                if name in types:
                    types[name] = _out_type(types[name], self._type(1, right_name))
        return types

    def _right_names(self) -> dict[str, str]:
        """Return the right input's columns that come out, with their names there."""
        left, right = self._known(0), self._known(1)
        kept = (name for name in right if name not in self._on[1])
        return {name: name + self._suffix if name in left else name for name in kept}

    def joined(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Return rows of the left input beside as many of the right one.

        Both may have other columns, and lack some: of a type that is known, they are null.
        """
        return self._left(left).hstack(self._right(right))

    def joined_where(self, left: pl.DataFrame, found: tuple[pl.Series, pl.DataFrame] | None) -> pl.DataFrame:
        """Return rows of the left input beside those of the right one found for them, or beside nulls.

        Args:
            found: Places in left, and the rows for them.
        """
        import polars as pl

        if found is None or not found[0].len():
            return self.left_alone(left)
        places, right = found
        if places.len() == left.height:
            return self.joined(left, right)
        there = pl.DataFrame([places.alias("_l"), pl.int_range(places.len(), dtype=pl.UInt32, eager=True).alias("_r")])
        rows = pl.DataFrame([pl.int_range(left.height, eager=True).cast(places.dtype).alias("_l")])
        order = rows.join(there, on="_l", how="left", maintain_order="left")["_r"]
        return self.joined(left, right.select(pl.all().gather(order)))

    def left_alone(self, left: pl.DataFrame) -> pl.DataFrame:
        """Return rows of the left input beside nulls."""
        import polars as pl

        right = self._known(1)
        nulls = [pl.lit(None, dtype=right[name]).alias(out) for name, out in self._right_names().items()]
        return self._left(left).with_columns(nulls)

    def right_alone(self, right: pl.DataFrame) -> pl.DataFrame:
        """Return rows of the right input beside nulls, but with their key as the left one's."""
        import polars as pl

        types = self._left_types()
        keys: dict[str, pl.Expr] = {}
        for name, right_name in zip(*self._on, strict=True):
            if name != "_key":
                old = self._type(1, right_name)
                keys[name] = _as(pl.col(right_name), old, types.get(name) or old or pl.Null()).alias(name)
        columns = [keys.pop(name, pl.lit(None, dtype=dtype).alias(name)) for name, dtype in types.items()]
        return right.select(*columns, *keys.values()).hstack(self._right(right))

    def _left(self, rows: pl.DataFrame) -> pl.DataFrame:
        return _conformed(rows, self._left_types(), {})

    def _right(self, rows: pl.DataFrame) -> pl.DataFrame:
        return _conformed(rows, self._known(1), self._right_names(), only=True)

    # --- what is stored -------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Take over the columns that an earlier run knew: an input may be silent in this one."""
        for port in (0, 1):
            if (value := state.get(self._prefix + bytes([port]))) is not None:
                self._stored[port] = read_frame(value).schema

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call."""
        writes: list[StateWrite] = []
        for port, schema in enumerate(self._bound):
            if schema is not None and schema != self._stored[port]:
                self._stored[port] = schema
                writes.append((self._prefix + bytes([port]), write_frame(schema.to_frame())))
        return writes


def _conformed(
    rows: pl.DataFrame, schema: Mapping[str, pl.DataType], names: Mapping[str, str], *, only: bool = False
) -> pl.DataFrame:
    """Return rows with the columns of a schema, renamed; those that they lack are null, others are widened."""
    import polars as pl

    wanted = {name: dtype for name, dtype in schema.items() if not only or name in names}
    there_types = rows.schema
    if all(there_types.get(name) == dtype for name, dtype in wanted.items()):
        return pl.DataFrame([rows.get_column(name).alias(names.get(name, name)) for name in wanted])
    exprs: list[pl.Expr] = []
    for name, dtype in wanted.items():
        there = there_types.get(name)
        column = pl.lit(None, dtype=dtype) if there is None else pl.col(name)
        if there is not None and there != dtype:
            column = column.cast(dtype)
        exprs.append(column.alias(names.get(name, name)))
    frame = rows.select(exprs)
    # Literals alone give one row.
    return frame if frame.height == rows.height else rows.with_columns(exprs).select(frame.columns)


def _common_type(left: pl.DataType | None, right: pl.DataType | None) -> pl.DataType | None:
    """Return the type in which two keys are compared; None when they are never equal."""
    import polars as pl

    if left is None or right is None or left == right:
        return left or right or pl.Null()
    if left == pl.Null or right == pl.Null:
        return right if left == pl.Null else left
    if left.is_integer() and right.is_integer():
        return pl.Int128() if pl.UInt64 in (left, right) else pl.Int64()
    if left.is_float() and right.is_float():
        return pl.Float64()
    if isinstance(left, pl.Decimal) and isinstance(right, pl.Decimal):
        return pl.Decimal(38, max(left.scale, right.scale))
    texts = (pl.String, pl.Categorical, pl.Enum)
    if left in texts and right in texts:
        return pl.String()
    if pl.Binary in (left, right):
        other = right if left == pl.Binary else left
        return pl.Binary() if other in texts or other.is_integer() else None
    if isinstance(left, pl.Datetime) and isinstance(right, pl.Datetime) and left.time_zone == right.time_zone:
        return pl.Datetime("us", left.time_zone)
    return None


def _out_type(left: pl.DataType, right: pl.DataType | None) -> pl.DataType:
    """Return the type of a key that comes from either side."""
    import polars as pl

    common = _common_type(left, right)
    if common is None or common == pl.Binary:
        return left
    # No topic has integers of 128 bits; one that 64 do not hold is an error when it comes.
    return pl.Int64() if common == pl.Int128 else common


def _as(column: pl.Expr, old: pl.DataType | None, new: pl.DataType) -> pl.Expr:
    import polars as pl

    if old is None or old == new:
        return column
    if new == pl.Binary:
        # As a key is stored: text in UTF-8, a number in decimal.
        return column.cast(pl.String).cast(pl.Binary)
    if old == pl.Binary:
        return column.cast(pl.String, strict=False).cast(new, strict=False)
    return column.cast(new)


def _text(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in schema.items())
