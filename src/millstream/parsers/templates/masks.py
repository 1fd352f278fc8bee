r"""What is never part of a template: numbers, addresses, names with digits, paths, values behind `=`, quoted "
r"text, dates.

One regular expression finds them all in one pass over a column; each becomes `<*>`. Every word with a digit in it
counts as a parameter: where one is constant after all, it is `<*>` in all lines of the template, and nothing is told
apart wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

ANY: Final = "<*>"
"""A parameter in a template."""
TEXT_MAX: Final = 2_000
"""Characters of a line that count; what is behind them is a parameter's, such as a dump."""

_DAYS: Final = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_MONTHS: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_WITH_DIGIT: Final = r"[A-Za-z_$]*[0-9][0-9A-Za-z_$]*"
MASKS: Final = (
    rf"\b(?:{_DAYS})[a-z]*,? (?:{_MONTHS})[a-z]* +[0-9]+|\b(?:{_MONTHS}) +[0-9]{{1,2}}\b",  # the day of a date
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,;)\]>\"]+",  # an address of the web
    r'"[^"]{0,400}"',  # quoted text, whatever words it has
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",  # an e-mail address
    r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b",  # a UUID
    r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,}\b",  # a hardware address
    r"(?:[0-9A-Fa-f]{1,4}:){3,7}:?[0-9A-Fa-f.]{0,15}|::[0-9A-Fa-f:.]{3,}",  # IPv6
    r"\b[0-9A-Fa-f]{12,}\b",  # a hash
    r"(?:/[A-Za-z0-9_.@%+~$-]+){2,}/?|/[A-Za-z0-9_.-]*[0-9][A-Za-z0-9_.-]*",  # a path
    r"[0-9]+ bytes(?: \([0-9.,]+ ?[KMGT]i?B\))?|[<>~][0-9.]+ ?(?:ms|s|secs?|min)\b",  # a size said twice; a rough time
    rf"[-+]?{_WITH_DIGIT}(?:[.,:/_@+#-]+{_WITH_DIGIT})*%?",  # numbers, IPv4 and its port, times, names with a digit
)
"""The first that fits at a place counts."""
_ALL: Final = "|".join(f"(?:{mask})" for mask in MASKS)
_VALUE: Final = r"=[^\s,;()\[\]]*"
"""What is behind a `=`, also where it is nothing."""
_REQUEST: Final = r'"(GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS|CONNECT) [^"]{0,400}"'
"""A request of the web: its method tells templates apart."""


def mask(texts: pl.Series) -> pl.Series:
    """Return texts with `<*>` for each of their parameters that can be told by its looks; spaces are one each."""
    import polars as pl

    texts = texts.cast(pl.String)
    longest = texts.str.len_bytes().max()
    if isinstance(longest, int) and longest > TEXT_MAX:
        texts = texts.str.slice(0, TEXT_MAX)
    if texts.str.contains(_REQUEST).any():  # groups cost much, so only where there are requests
        texts = texts.str.replace_all(_REQUEST, "${1} " + ANY)
    return texts.str.replace_all(_ALL, ANY).str.replace_all(_VALUE, f"={ANY}")
