"""A file of what is known of some values: a line of CSV for each."""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from millstream.errors import UsageError

ROWS_MAX: Final = 1_000_000
"""About 200 MB with two short columns; more belongs into a topic, and a stream that joins it."""

_ADDRESS_BITS: Final = {4: 32, 6: 128}


class Known(msgspec.Struct, frozen=True):
    """What a file says of values: JSON, the other columns as an object; `true` where there are none."""

    texts: Mapping[str, str]
    networks: Mapping[tuple[int, int], Mapping[int, str]]
    """(Version, bits of the prefix), the longest first -> first bits of the address -> what is known."""
    ignore_case: bool

    def of(self, text: str) -> str | None:
        """Return what is known of a text; of an address also what is of the smallest network that it is in."""
        found = self.texts.get(text.lower() if self.ignore_case else text)
        if found is not None or not self.networks:
            return found
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        for (version, bits), some in self.networks.items():
            if version == address.version:
                found = some.get(int(address) >> (_ADDRESS_BITS[version] - bits))
                if found is not None:
                    return found
        return None


def read_known(path: str, column: str | None, columns: Sequence[str], *, ignore_case: bool) -> Known:
    """Read a file of CSV in UTF-8; lines that begin with `#`, and empty ones, are left out.

    Args:
        column: Where the values are that are looked up; None: the first.
        columns: Names of the columns, of a file without a line that says them.

    Raises:
        OSError: It cannot be read.
        UsageError: It has no such column, a line has more columns than names, or there are too many lines.
    """
    texts: dict[str, str] = {}
    networks: dict[tuple[int, int], dict[int, str]] = {}
    for key, said in _rows(path, column, columns):
        network = _network(key)
        if network is None:
            texts.setdefault(key.lower() if ignore_case else key, said)
        else:
            first = int(network.network_address) >> (_ADDRESS_BITS[network.version] - network.prefixlen)
            networks.setdefault((network.version, network.prefixlen), {}).setdefault(first, said)
    return Known(texts, dict(sorted(networks.items(), key=lambda one: -one[0][1])), ignore_case)


def _rows(path: str, column: str | None, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the value of each line, and what is known of it."""
    names = list(columns)
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = (line for line in file if line.strip() and not line.startswith("#"))
        try:
            for number, row in enumerate(csv.reader(lines, skipinitialspace=True, strict=True)):
                if not names:
                    names = _names(path, row, column)
                    continue
                if number > ROWS_MAX:
                    raise UsageError(f"file {path!r} has more than {ROWS_MAX:,} lines; look them up in a stream")
                yield _row(path, row, names, column)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"file {path!r} is not CSV in UTF-8: {error}") from error


def _names(path: str, row: Sequence[str], column: str | None) -> list[str]:
    """Return the names of the columns that the first line says."""
    names = [name.strip() for name in row]
    if column is not None and column not in names:
        raise UsageError(f"file {path!r} has no column {column!r}; it has {', '.join(names)}")
    return names


def _row(path: str, row: Sequence[str], names: Sequence[str], column: str | None) -> tuple[str, str]:
    if len(row) > len(names):
        raise UsageError(f"file {path!r} has a line of more than {len(names)} columns: {','.join(row)[:100]!r}")
    said = {name: value.strip() for name, value in zip(names, row, strict=False)}
    key = said.pop(names[0] if column is None else column, "")
    known = {name: value for name, value in said.items() if value}
    return key, msgspec.json.encode(known or True).decode()


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
