r"""Rows of CSV as the Event Viewer of Windows saves them: a level, a time, a source, a number, a category, the wording.

    Keywords,Date and Time,Source,Event ID,Task Category
    Audit Failure,3/1/2026 10:00:00 AM,Microsoft-Windows-Security-Auditing,4625,Logon,"An account failed to log on.

    Account For Which Logon Failed:
        Account Name:		ann
    ..."

The last column has no name, and lines of its own: the preset `windows_csv` puts them together. What XML says in values
is in the wording here, so it is read out of that, where it is in English. The time has no zone, and its day and month
are in the order of the machine that wrote it: the month comes first where there are slashes, unless it cannot be one.

Source: rows of the Event Viewer; learn.microsoft.com, the page of each event of the security log.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.times import parse_time
from millstream.parsers.windows import event_of_record
from millstream.parsers.windows_record import AUDIT_FAILURE, AUDIT_SUCCESS, VALUES_MAX, WindowsRecord

_ROW: Final = re.compile(
    r"\ufeff?(?P<level>[^\",\r\n]{2,40}),(?P<time>[^\",\r\n]{8,40}),(?P<source>[^\",\r\n]{1,200}),(?P<id>\d{1,6}),"
    r"(?P<category>[^\",\r\n]{0,200})(?:,(?P<message>.*))?",
    re.DOTALL,
)
_HEAD: Final = re.compile(r"\ufeff?(?:Level|Keywords),Date and Time,Source,Event ID,Task Category\s*")
_LEVELS: Final = {
    "critical": 1, "kritisch": 1, "error": 2, "fehler": 2, "warning": 3, "warnung": 3, "information": 4,
    "informationen": 4, "verbose": 5, "ausführlich": 5,
}  # fmt: skip
_AUDITS: Final = {
    "audit success": AUDIT_SUCCESS, "success audit": AUDIT_SUCCESS, "überwachung erfolgreich": AUDIT_SUCCESS,
    "audit failure": AUDIT_FAILURE, "failure audit": AUDIT_FAILURE, "überwachung gescheitert": AUDIT_FAILURE,
}  # fmt: skip
_SECURITY: Final = "Microsoft-Windows-Security-Auditing"
_PROVIDERS: Final = {"Microsoft Windows security auditing.": _SECURITY}

_VALUE: Final = re.compile(r"(?P<indent>[\t ]*)(?P<name>[A-Z][A-Za-z0-9 ()/-]{1,60}):[\t ]*(?P<value>.*)")
_ABOUT: Final = {
    "Subject": "Subject", "New Logon": "Target", "Account For Which Logon Failed": "Target", "New Account": "Target",
    "Target Account": "Target", "Account Whose Credentials Were Used": "Target", "Account Information": "Target",
    "Account That Was Locked Out": "Target", "Group": "Target", "New Group": "Target", "Deleted Group": "Target",
    "Member": "Member",
}  # fmt: skip
"""Whom the lines below a line tell of."""
_OF_ACCOUNTS: Final = {
    "Account Name": "UserName", "Group Name": "UserName", "Account Domain": "DomainName", "Group Domain": "DomainName",
    "Logon ID": "LogonId", "Security ID": "UserSid",
}  # fmt: skip
_OTHERS: Final = {
    "Source Network Address": "IpAddress", "Client Address": "IpAddress", "Source Port": "IpPort",
    "Client Port": "IpPort", "Sub Status": "SubStatus", "Caller Process Name": "ProcessName",
    "Logon Process": "LogonProcessName", "Authentication Package": "AuthenticationPackageName",
    "Device ID": "DeviceId", "Device Name": "DeviceDescription", "Process Command Line": "CommandLine",
    "Service File Name": "ImagePath", "Service Start Type": "StartType", "Service Account": "AccountName",
}  # fmt: skip
_LOGOFFS: Final = frozenset({4634, 4647})
"""Whose subject is who logged off."""


def windows_csv_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one row; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if _HEAD.fullmatch(text) is not None:
            return {"message": text.strip("\ufeff \t\r\n")}
        row = _ROW.fullmatch(text)
        time = None if row is None else parse_time(row["time"], now=now, zone=zone)
        if row is None or time is None:
            return None
        level, message = row["level"].strip().lower(), _unquoted(row["message"] or "")
        event_id = int(row["id"])
        record = WindowsRecord(
            provider=_PROVIDERS.get(row["source"], row["source"]),
            event_id=event_id,
            data=_data(message, event_id),
            time=time.astimezone(UTC).isoformat(),
            level=_LEVELS.get(level, 0 if level in _AUDITS else None),
            keywords=_AUDITS.get(level, 0),
            message=message,
        )
        said = event_of_record(record, now)
        category = row["category"].strip()
        return {**said, "fields": {**said["fields"], **({"category": category} if category else {})}}

    return read


def _unquoted(text: str) -> str:
    """Return the value of the last column, which may have lines of its own."""
    text = text.strip()
    if not text.startswith('"'):
        return text
    try:
        values = next(csv.reader([f"{line}\n" for line in text.split("\n")]), None)
    except csv.Error:
        values = None
    return (values[0] if values else text).strip()


def _data(message: str, event_id: int) -> dict[str, str]:
    """Return the values that a wording has, by the names that they have in XML."""
    found: dict[str, str] = {}
    about = ""
    for line in message.split("\n"):
        match = _VALUE.fullmatch(line.rstrip())
        if match is None or len(found) >= VALUES_MAX:
            continue
        name, value = match["name"], match["value"].strip()
        if not value and not match["indent"]:
            about = _ABOUT.get(name, "")
            about = "Target" if about == "Subject" and event_id in _LOGOFFS else about
            continue
        whose = _OF_ACCOUNTS.get(name) if about else None
        known = _OTHERS.get(name, name.replace(" ", ""))
        if whose is not None:
            known = "MemberName" if about == "Member" and whose == "UserName" else f"{about}{whose}"
        found.setdefault(known, value)
    return found
