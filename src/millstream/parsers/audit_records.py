r"""Records of auditd, taken apart: names and values, decoded.

    type=PATH msg=audit(1772359200.123:456): item=0 name="/etc/passwd" inode=7 ...\x1dOUID="root"

Values that the kernel does not trust come in hexadecimal where they hold more than letters and digits. Behind a group
separator (`\x1d`) are the names that auditd found for numbers, in capitals.

Source: linux-audit, specs: auditd-event format, field dictionary, message types; audit-userspace, lib/msg_typetab.h.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

HEAD: Final = re.compile(
    r"(?:node=(?P<node>[^ ]{1,256}) )?type=(?P<type>[A-Z0-9_\[\]]{1,64}) "
    r"msg=audit\((?P<time>\d{1,12}\.\d{1,9}):(?P<serial>\d{1,20})\): ?(?P<rest>.*)",
    re.DOTALL | re.ASCII,
)
_PAIR: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_-]{1,64}(?:\[\d{1,6}\])?)=(?:\"(?P<text>[^\"]*)\"|'(?P<inner>[^']*)'|(?P<plain>[^ \x1d]*))"
)
_HEX: Final = re.compile(r"(?:[0-9A-F]{2})+")
_UNTRUSTED: Final = frozenset(
    {"acct", "cmd", "comm", "exe", "name", "proctitle", "cwd", "hostname", "key", "data", "dir", "grp", "path", "vm"}
)
_ARGUMENT: Final = re.compile(r"a(?P<number>\d{1,6})(?:\[(?P<part>\d{1,6})\])?")
ARGUMENTS_MAX: Final = 10_000
"""Of one command line; the kernel logs no more than 8,000 bytes of each."""


class AuditRecord(msgspec.Struct, frozen=True):
    """One record of an event."""

    type: str
    time: str
    """Seconds since 1970."""
    serial: str
    node: str | None
    rest: str
    """As it was written."""
    values: Mapping[str, str]

    def get(self, *names: str) -> str | None:
        """Return the first of some values that says something."""
        for name in names:
            value = self.values.get(name)
            if value not in (None, "", "?", "(null)", "(none)", "unset", "4294967295"):
                return value
        return None


def read_record(text: str) -> AuditRecord | None:
    """Return the record of a line; None for a line of another shape."""
    head = HEAD.fullmatch(text.rstrip())
    if head is None:
        return None
    rest = head["rest"]
    return AuditRecord(
        head["type"],
        head["time"],
        head["serial"],
        head["node"],
        rest,
        _values(rest, arguments=head["type"] == "EXECVE"),
    )


def command_of(record: AuditRecord) -> list[str]:
    """Return the arguments of an EXECVE record, in their order; a long one comes in parts."""
    found: dict[int, list[tuple[int, str]]] = {}
    for name, value in record.values.items():
        argument = _ARGUMENT.fullmatch(name)
        if argument is not None and len(found) < ARGUMENTS_MAX:
            found.setdefault(int(argument["number"]), []).append((int(argument["part"] or 0), value))
    return ["".join(text for _, text in sorted(parts)) for _, parts in sorted(found.items())]


def _values(text: str, *, arguments: bool = False) -> dict[str, str]:
    """Return names and values, those inside of msg='...' among them."""
    found: dict[str, str] = {}
    for match in _PAIR.finditer(text):
        name, plain = match["name"], match["plain"]
        if match["inner"] is not None and name == "msg":
            found |= _values(match["inner"])
        elif plain is not None and _HEX.fullmatch(plain) and _is_untrusted(name, arguments):
            found[name] = _decoded(plain, name)
        else:
            found[name] = next(value for value in (match["text"], match["inner"], plain) if value is not None)
    return found


def _is_untrusted(name: str, arguments: bool) -> bool:
    return name in _UNTRUSTED or (arguments and _ARGUMENT.fullmatch(name) is not None)


def _decoded(plain: str, name: str) -> str:
    data = bytes.fromhex(plain)
    # Between the arguments of a command line are NULs; an abstract socket begins with one.
    data = data.rstrip(b"\0").replace(b"\0", b" ") if name in ("proctitle", "cmd") else data.replace(b"\0", b" ")
    return data.decode(errors="backslashreplace")
