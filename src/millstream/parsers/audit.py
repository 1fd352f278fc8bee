"""The log of auditd.

    type=USER_LOGIN msg=audit(1772359200.123:456): pid=7 uid=0 ... msg='op=login acct="ann" ... res=failed'

Values that the kernel does not trust come in hex where they hold more than letters and digits; they are decoded.

Source: linux-audit, specs: auditd-event format, field dictionary, message types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from millstream.parsers.log_event import Kind
from millstream.parsers.times import since_1970

_HEAD: Final = re.compile(
    r"(?:node=(?P<node>[^ ]{1,256}) )?type=(?P<type>[A-Z0-9_\[\]]{1,64}) "
    r"msg=audit\((?P<time>\d{1,12}\.\d{1,9}):(?P<serial>\d{1,20})\): ?(?P<rest>.*)",
    re.DOTALL,
)
_PAIR: Final = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64})=(?:\"(?P<text>[^\"]*)\"|'(?P<inner>[^']*)'|(?P<plain>[^ ]*))")
_HEX: Final = re.compile(r"(?:[0-9A-F]{2})+")
_UNTRUSTED: Final = frozenset({"acct", "cmd", "comm", "exe", "name", "proctitle", "cwd", "hostname", "key", "data"})

_KINDS: Final[Mapping[str, tuple[Kind, str]]] = {
    "USER_LOGIN": (Kind.LOGIN, "login"),
    "USER_LOGOUT": (Kind.LOGOUT, "logout"),
    "USER_END": (Kind.LOGOUT, "session_closed"),
    "USER_CMD": (Kind.PRIVILEGE, "sudo"),
    "ADD_USER": (Kind.ACCOUNT, "user_added"),
    "DEL_USER": (Kind.ACCOUNT, "user_removed"),
    "ADD_GROUP": (Kind.ACCOUNT, "group_added"),
    "DEL_GROUP": (Kind.ACCOUNT, "group_removed"),
    "USER_MGMT": (Kind.ACCOUNT, "user_changed"),
    "USER_CHAUTHTOK": (Kind.ACCOUNT, "password_changed"),
    "SERVICE_START": (Kind.SERVICE, "started"),
    "SERVICE_STOP": (Kind.SERVICE, "stopped"),
}


def audit_reader() -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        head = _HEAD.fullmatch(text.rstrip())
        if head is None:
            return None
        pairs = _pairs(head["rest"])
        kind, action = _KINDS.get(head["type"], (None, None))
        result = pairs.get("res") or pairs.get("success")
        address = pairs.get("addr")
        pid = pairs.get("pid", "")
        said: dict[str, Any] = {
            "time": since_1970(head["time"]),
            "host": head["node"],
            "program": "audit",
            "message": f"{head['type']} {head['rest']}".strip(),
            "pid": int(pid) if pid.isascii() and pid.isdecimal() and len(pid) <= 10 else None,
            "kind": kind,
            "action": action,
            "success": None if kind is None or result is None else result in ("success", "yes", "1"),
            "source_ip": address if address not in (None, "?", "") else None,
            "terminal": pairs.get("terminal") if pairs.get("terminal") not in ("?", "") else None,
            "session": pairs.get("ses") if pairs.get("ses") not in ("4294967295", "unset") else None,
            "fields": {"type": head["type"], "serial": head["serial"], **pairs},
        }
        account = pairs.get("acct") or pairs.get("id")
        if kind is Kind.ACCOUNT:
            said["target_user"] = account
        elif kind is Kind.SERVICE:
            said["service"] = pairs.get("unit")
        else:
            said["user"] = account
        if kind is Kind.PRIVILEGE:
            said["command"] = pairs.get("cmd")
        return said

    return read


def _pairs(text: str) -> dict[str, str]:
    """Return names and values, those inside of msg='...' among them."""
    found: dict[str, str] = {}
    for match in _PAIR.finditer(text):
        name = match["name"]
        if match["inner"] is not None and name == "msg":
            found |= _pairs(match["inner"])
        elif match["plain"] is not None and name in _UNTRUSTED and _HEX.fullmatch(match["plain"]):
            found[name] = bytes.fromhex(match["plain"]).replace(b"\0", b" ").decode(errors="backslashreplace")
        else:
            found[name] = next(value for value in (match["text"], match["inner"], match["plain"]) if value is not None)
    return found
