"""A file of places of addresses, in the format of MaxMind (.mmdb)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import UsageError
from millstream.logs.steps.whole_file import WholeFile

if TYPE_CHECKING:
    from maxminddb.reader import Reader

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_BROKEN: Final = (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, RuntimeError)
"""What reading a file of other bytes than it should have ends with; an `InvalidDatabaseError` is a `RuntimeError`."""


class Database:
    """A file of places."""

    def __init__(self, path: str, language: str) -> None:
        """Read a file.

        Args:
            language: Of names, such as "en"; where a name is not in it, it is in English.

        Raises:
            UsageError: It cannot be read, or is none; or the package that reads it is missing.
        """
        self._language = language
        self._file = WholeFile(path, "database", _read)

    def refresh(self) -> bool:
        """Read the file again if it is another one; return whether it was. What cannot be read changes nothing."""
        return self._file.refresh()

    def place(self, address: Address) -> dict[str, Any]:
        """Return what is known of the place of an address."""
        try:
            record = self._file.value.get(address)
        except _BROKEN as error:
            if self._has(address):
                self._file.say(f"{self._file.path} is broken: {error}; get it anew")
            return {}
        return place_of(record, self._language) if isinstance(record, dict) else {}

    def _has(self, address: Address) -> bool:
        return address.version == 4 or self._file.value.metadata().ip_version == 6


def place_of(record: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return what a record says in our words, those that it has.

    Records of MaxMind (City, Country, ASN, ISP, Enterprise) and DB-IP, and flat ones as IPinfo has them.
    """
    country = record.get("country")
    location = _inner(record, "location") or record
    found = {
        "country": _text(_inner(record, "country").get("iso_code"))
        or _text(record.get("country_code"))
        or (_text(country) if isinstance(country, str) and len(country) == 2 else None),
        "country_name": _text(record.get("country_name")) or _name(country, language),
        "region": _name(_first(record.get("subdivisions")) or record.get("region"), language),
        "city": _name(record.get("city"), language),
        "latitude": _number(location.get("latitude", location.get("lat"))),
        "longitude": _number(location.get("longitude", location.get("lng"))),
        "asn": _asn(record.get("autonomous_system_number", record.get("asn"))),
        "organization": _text(record.get("autonomous_system_organization")) or _text(record.get("as_name")),
    }
    if found["country_name"] == found["country"]:
        del found["country_name"]
    return {name: value for name, value in found.items() if value is not None}


def _inner(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


def _name(of: Any, language: str) -> str | None:
    if not isinstance(of, dict):
        return _text(of)
    names = _inner(of, "names")
    return _text(names.get(language)) or _text(names.get("en"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _asn(value: Any) -> int | None:
    text = str(value).removeprefix("AS")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else None


def _read(path: str) -> Reader:
    try:
        from maxminddb.const import MODE_MEMORY
        from maxminddb.reader import Reader
    except ImportError as error:
        raise UsageError("places of addresses are read by maxminddb: pip install 'millstream[geoip]'") from error
    try:
        return Reader(path, MODE_MEMORY)
    except _BROKEN as error:
        raise UsageError(
            f"database {path!r} is no database in MaxMind's format, or only a part of one; "
            "give a .mmdb file such as GeoLite2-City.mmdb"
        ) from error
