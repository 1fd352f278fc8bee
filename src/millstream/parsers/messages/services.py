"""systemd and cron: what was started, stopped, failed.

Source: systemd, src/core/unit.c, job.c and service.c (messages of 240 to 257); cron(8), Debian's and cronie.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.pam import pam_shapes
from millstream.parsers.messages.shape import Table, shape

_UNIT: Final = r"(?P<service>[^ :]+\.(?:service|socket|timer|mount|target|scope|slice|path|swap|device))"
_STARTED: Final = {"kind": Kind.SERVICE, "action": "started", "success": True}
_STOPPED: Final = {"kind": Kind.SERVICE, "action": "stopped"}
_FAILED: Final = {"kind": Kind.SERVICE, "action": "failed", "success": False}

SYSTEMD: Final = Table(
    frozenset({"systemd"}),
    (
        shape("Started ", rf"{_UNIT} - .*\.?", **_STARTED),
        shape("Started ", r"(?P<service>.+?)\.?", **_STARTED),
        shape("Stopped ", rf"{_UNIT} - .*\.?", **_STOPPED),
        shape("Stopped ", r"(?P<service>.+?)\.?", **_STOPPED),
        shape("Finished ", rf"{_UNIT} - .*\.?", kind=Kind.SERVICE, action="finished", success=True),
        shape("Finished ", r"(?P<service>.+?)\.?", kind=Kind.SERVICE, action="finished", success=True),
        shape("Failed to start ", rf"{_UNIT} - .*\.?", **_FAILED),
        shape("Failed to start ", r"(?P<service>.+?)\.?", **_FAILED),
        shape("", rf"{_UNIT}: Failed with result '[^']*'\.", **_FAILED),
        shape("", rf"{_UNIT}: Main process exited, .*", action="exited"),
        shape("", rf"{_UNIT}: Scheduled restart job, .*", kind=Kind.SERVICE, action="restarted"),
        shape("", rf"{_UNIT}: (?:Deactivated successfully|Succeeded)\.", action="stopped"),
        *pam_shapes("systemd-user"),
    ),
)

CRON: Final = Table(
    frozenset({"CRON", "cron", "crond", "CROND", "/USR/SBIN/CRON"}),
    (
        shape("(", r"(?P<user>[^)]+)\) CMD \((?P<command>.*)\)[ ]*", action="cron_job"),
        shape(
            "(",
            r"(?P<user>[^)]+)\) (?:RELOAD|LIST|BEGIN EDIT|END EDIT|REPLACE|DELETE) \(.*\)",
            action="crontab_changed",
        ),
        *pam_shapes("cron"),
        *pam_shapes("crond"),
    ),
)
