"""What a file knows of a value: owners of machines, names of codes, addresses of ill repute."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.clock import Clock, SystemClock
from millstream.errors import UsageError
from millstream.logs.steps.lookup_file import Known, read_known
from millstream.logs.steps.members import with_new_member
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.steps.whole_file import REFRESH_US, WholeFile
from millstream.logs.where import column_of

if TYPE_CHECKING:
    import polars as pl

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class LookupTable(StepTable, frozen=True, kw_only=True, tag="lookup"):
    """What a file of CSV says of a value, into `fields`."""

    file: str
    field: str
    """Where the value is."""
    column: str | None = None
    """Where the values are in the file; None: in the first."""
    columns: tuple[str, ...] = ()
    """Names of the columns, of a file without a line that says them."""
    into: str = "lookup"
    """The name in `fields`."""
    ignore_case: bool = False

    def check(self) -> None:
        super().check()
        if not self.file:
            raise UsageError("file is empty; give a file of CSV")
        if _NAME.fullmatch(self.into) is None:
            raise UsageError(f"into is {self.into!r}; give a name of letters, digits and _, without fields.")
        if self.column is not None and self.columns and self.column not in self.columns:
            raise UsageError(f"column: {self.column!r} is none of columns, which are {', '.join(self.columns)}")
        column_of(self.field, what="field")

    def open(self, environment: Mapping[str, str]) -> Step:
        def read(path: str) -> Known:
            return read_known(path, self.column, self.columns, ignore_case=self.ignore_case)

        return Lookup(WholeFile(self.file, "file", read), column_of(self.field), self.into)


class Lookup(Step):
    """What is known of values."""

    def __init__(self, file: WholeFile[Known], value: pl.Expr, into: str, clock: Clock | None = None) -> None:
        """Look up values.

        Args:
            value: Where the value is, in a frame of events.
            into: The name in `fields`.
        """
        self._file = file
        self._value = value
        self._into = into
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._refreshed_us = self._clock.monotonic_us()

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        values = frame.select(self._value.cast(pl.String)).to_series()
        different = values.drop_nulls().unique().to_list()
        known = self._known()
        found = {text: one for text in different if (one := known.of(text)) is not None}
        if not found:
            return frame
        said = values.replace_strict(list(found), list(found.values()), default=None, return_dtype=pl.String)
        return frame.with_columns(with_new_member(frame.get_column("fields"), self._into, said))

    def _known(self) -> Known:
        with self._lock:
            now_us = self._clock.monotonic_us()
            if now_us - self._refreshed_us >= REFRESH_US:
                self._refreshed_us = now_us
                self._file.refresh()
            return self._file.value
