"""One regular expression, read by Python line by line and by Polars column by column, with the same answer.

The two engines agree where an expression keeps to named groups, literal text, classes written out (`[0-9]`, `[^ ]`
instead of `\\d`, `\\S`) and non-capturing groups; it has no look-around, no back-references and no `$`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

MATCHED: Final = "_matched"
"""The column that says whether a text matched: empty text, or null where not."""


class Pattern:
    """A regular expression that a line has to match from its first to its last character."""

    def __init__(self, expression: str) -> None:
        """Compile an expression.

        Raises:
            UsageError: It is none, or has a group without a name.
        """
        try:
            self._compiled = re.compile(expression, re.DOTALL)
        except re.error as error:
            raise UsageError(f"{expression!r} is no regular expression: {error}") from error
        if self._compiled.groups != len(self._compiled.groupindex):
            raise UsageError(f"{expression!r} has a group without a name; write (?P<name>...) or (?:...)")
        self.expression: Final = expression
        self.names: Final = tuple(self._compiled.groupindex)

    def __repr__(self) -> str:
        return f"Pattern({self.expression!r})"

    def match(self, text: str) -> dict[str, str | None] | None:
        """Return what each group matched (None: it took no part), or None where the text does not match."""
        found = self._compiled.fullmatch(text)
        return None if found is None else found.groupdict()

    def extract(self, texts: pl.Series) -> pl.DataFrame:
        """Return `_matched` and a String column for each group; a row is all null where the text does not match."""
        anchored = rf"(?s)^(?P<{MATCHED}>)(?:{self.expression})$"
        return texts.str.extract_groups(anchored).struct.unnest()
