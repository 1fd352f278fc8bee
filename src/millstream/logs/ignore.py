"""Addresses and users that a rule does not look at.

[rule.ignore]
addresses = ["10.0.0.0/8", "192.0.2.7"]
users = ["backup"]
address_files = ["known-addresses.txt"]
user_files = ["robots.txt"]
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.errors import UsageError
from millstream.logs.networks import network_pattern

if TYPE_CHECKING:
    import polars as pl

ENTRIES_MAX: Final = 100_000
"""Of one rule; a list that is longer belongs into a topic."""


class Ignore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule leaves out."""

    addresses: list[str] = []
    """Of `source_ip`: addresses and networks."""
    users: list[str] = []
    """Of `user`."""
    address_files: list[str] = []
    """Files with an address or network on each line; `#` begins a comment. Read when the program starts."""
    user_files: list[str] = []
    """Files with a user on each line."""


def ignored(ignore: Ignore, *, what: str = "ignore") -> pl.Expr | None:
    """Return which events are left out, None where none is.

    Args:
        what: For messages: where it is written.

    Raises:
        UsageError: A file cannot be read, or an entry is no address.
    """
    import polars as pl

    addresses = _entries(ignore.addresses, ignore.address_files, f"{what}, addresses")
    users = _entries(ignore.users, ignore.user_files, f"{what}, users")
    single: list[str] = []
    patterns: list[str] = []
    for entry in addresses:
        try:
            single.append(str(ipaddress.ip_address(entry)))
        except ValueError:
            try:
                patterns.append(network_pattern(entry))
            except UsageError as error:
                raise UsageError(f"{what}, addresses: {error}") from error
    found: list[pl.Expr] = []
    if single:
        found.append(pl.col("source_ip").is_in(single))
    if patterns:
        found.append(pl.col("source_ip").str.contains("|".join(patterns)))
    if users:
        found.append(pl.col("user").is_in(users))
    return pl.any_horizontal(*(one.fill_null(value=False) for one in found)) if found else None


def _entries(given: Sequence[str], files: Sequence[str], what: str) -> list[str]:
    found = [*given, *(entry for file in files for entry in _lines(Path(file), what))]
    if len(found) > ENTRIES_MAX:
        raise UsageError(f"{what}: {len(found):,} entries; a rule leaves out at most {ENTRIES_MAX:,}")
    return found


def _lines(file: Path, what: str) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{what}: {file} cannot be read: {error}") from error
    for line in text.splitlines():
        entry = line.partition("#")[0].strip()
        if entry:
            yield entry
