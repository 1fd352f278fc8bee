"""Where the events of a Sigma rule are: its log source as a condition, its fields as expressions of ours.

Source: github.com/SigmaHQ/sigma-specification, appendix "Taxonomy"; the field names of Windows events are Windows' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from millstream.logs.sigma_windows import where_of
from millstream.parsers.log_event import LogEvent

_NUMBERS: Final = ("pid", "source_port")
_COLUMNS: Final = frozenset(LogEvent.__struct_fields__) - {"fields", "raw_bytes", "time", "success"}


class LogSource(msgspec.Struct, frozen=True):
    """One log source of Sigma."""

    where: str
    """Which events are of it."""
    fields: Mapping[str, str] = {}
    """Field of the rule -> expression; those left out are parts of `fields` of the same name."""
    records: int = 0
    """Of an event that was written as several records, so many of `fields.records` are looked at, each by itself."""
    record: int | None = None
    """The one of them that is looked at: all fields are its own."""


_PROGRAMS: Final = {
    "sshd": ("sshd", "sshd-session"),
    "sudo": ("sudo",),
    "cron": ("cron", "crond", "CRON", "anacron"),
    "vsftpd": ("vsftpd",),
    "clamav": ("clamd", "freshclam", "clamav"),
    "guacamole": ("guacd",),
}
_AUDIT_RECORDS: Final = 8
"""After the first: arguments, folder, some paths, title."""
_LINUX: Final = {"user": "user", "CommandLine": "command", "User": "user", "USER": "user"}
_PROCESS: Final = {
    "CommandLine": "command",
    "Image": "COALESCE(fields.exe, SPLIT_PART(command, ' ', 1))",
    "User": "user",
    "CurrentDirectory": "COALESCE(fields.cwd, fields.pwd)",
}
_WINDOWS: Final = {
    "EventID": "fields.event_id",
    "Channel": "fields.channel",
    "Provider_Name": "program",
    "Computer": "host",
    "ComputerName": "host",
}
_WINDOWS_PROCESS: Final = {
    **_WINDOWS,
    "Image": "COALESCE(fields.Image, fields.NewProcessName)",
    "ParentImage": "COALESCE(fields.ParentImage, fields.ParentProcessName)",
    "CommandLine": "COALESCE(fields.CommandLine, command)",
    "User": "COALESCE(fields.User, user)",
}
_URL: Final = "COALESCE(field('cs-uri'), field('c-uri'), fields.url)"
_AGENT: Final = "COALESCE(field('cs(User-Agent)'), field('cs-user-agent'), fields.user_agent)"
_REFERER: Final = "COALESCE(field('cs(Referer)'), field('cs-referer'), fields.referrer)"
_WEB: Final = {
    "c-ip": "COALESCE(field('c-ip'), source_ip)",
    "cs-username": "COALESCE(field('cs-username'), user)",
    "cs-method": "COALESCE(field('cs-method'), fields.http_method)",
    "cs-uri": _URL,
    "c-uri": _URL,
    "cs-uri-stem": "COALESCE(field('cs-uri-stem'), SPLIT_PART(fields.url, '?', 1))",
    # Most rules look here for paths as well.
    "cs-uri-query": "COALESCE(field('cs-uri-query'), fields.url)",
    "sc-status": "COALESCE(field('sc-status'), fields.status)",
    "sc-bytes": "COALESCE(field('sc-bytes'), fields.body_bytes)",
    "cs-host": "COALESCE(field('cs-host'), fields.vhost)",
    "cs-user-agent": _AGENT,
    "c-useragent": _AGENT,
    "cs(User-Agent)": _AGENT,
    "cs-referer": _REFERER,
    "cs(Referer)": _REFERER,
}
"""Those of W3C logs, and where an access log in the format of Apache and nginx has them."""

GROUPS: Final = {
    "src_ip": "source_ip",
    "c-ip": "source_ip",
    "Computer": "host",
    "ComputerName": "host",
    "hostname": "host",
    "EventID": "event_id",
    "CommandLine": "command",
}
"""What correlations group and count by -> the field of an event, where it is not a part of `fields` of that name."""


def log_source(product: str | None, service: str | None, category: str | None) -> LogSource | None:
    """Return where the events of a log source are; None for one that is not read."""
    if product == "linux":
        return _linux(service, category)
    if product == "windows":
        return _windows(service, category)
    if category == "webserver" or (product in ("apache", "nginx", "iis") and service in (None, "access", "error")):
        return LogSource("format IN ('w3c', 'error', 'web') OR field('c-uri') IS NOT NULL", _WEB)
    if category == "application" and product in (None, "syslog"):
        return LogSource("true")
    return None


def _linux(service: str | None, category: str | None) -> LogSource | None:
    if category == "process_creation":
        return LogSource("command IS NOT NULL OR fields.exe IS NOT NULL", _PROCESS)
    if category is not None:
        return None
    if service is None or service in ("syslog", "messages"):
        return LogSource("format IS NULL OR format NOT IN ('windows', 'w3c', 'web')", _LINUX)
    if service == "auditd":
        return LogSource("format = 'audit'", records=_AUDIT_RECORDS)
    if service == "auth":
        return LogSource("kind IN ('login', 'logout', 'privilege', 'account')", _LINUX)
    programs = _PROGRAMS.get(service)
    if programs is None:
        return None
    return LogSource(f"program IN ({', '.join(repr(name) for name in programs)})", _LINUX)


def _windows(service: str | None, category: str | None) -> LogSource | None:
    where = where_of(service, category)
    if where is None:
        return None
    return LogSource(where, _WINDOWS_PROCESS if category == "process_creation" else _WINDOWS)


def expression_of(field: str, source: LogSource) -> str:
    """Return the expression, a text, that a field of a rule is; those of events are theirs by name."""
    if source.record is not None:
        return f'fields.records[{source.record}]."{field}"'
    known = source.fields.get(field)
    if known is None:
        known = field if field in _COLUMNS else f"field('{field}')"
    return f"CAST({known} AS VARCHAR)" if known in _NUMBERS else known
