"""The security log of Windows: logons, rights, accounts, devices, as a table.

One attempt may leave several events. The one that decides it has `success`: 4624 and 4625 of a logon (4776 and 4768,
which check the password before it, have none), 4771 and a refused 4768 of a domain controller, where nothing else tells
of it.

Source: learn.microsoft.com, "Advanced security audit policy settings" and the page of each event.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.windows_meaning import AUDITED, Meaning, Table, meaning

_PROVIDER: Final = "Microsoft-Windows-Security-Auditing"
_FROM: Final = {"source_ip": "IpAddress", "source_port": "IpPort", "source_name": "WorkstationName"}


def _account(about: str, action: str, **rest: str) -> Meaning:
    return meaning(
        about,
        Kind.ACCOUNT,
        action,
        success=AUDITED,
        **{"user": "SubjectUserName", "target_user": "TargetUserName"} | rest,
    )


def _device(about: str, action: str, *, success: bool | None = None) -> Meaning:
    return meaning(about, Kind.DEVICE, action, success=success, device="DeviceId", user="SubjectUserName")


def _member(about: str, action: str) -> Meaning:
    return _account(about, action, target_user="MemberName MemberSid")


_LOGONS: Final = {
    4624: meaning(
        "logged on", Kind.LOGIN, "login", success=True, whose="Target", user="TargetUserName", session="TargetLogonId",
        method="LogonType", **_FROM,
    ),
    4625: meaning(
        "failed to log on", Kind.LOGIN, "login_failed", success=False, reason="SubStatus Status FailureReason",
        user="TargetUserName", method="LogonType", **_FROM,
    ),
    4634: meaning(
        "logged off", Kind.LOGOUT, "session_closed", whose="Target", user="TargetUserName", session="TargetLogonId",
        method="LogonType",
    ),
    4647: meaning(
        "began to log off", Kind.LOGOUT, "logout", whose="Target", user="TargetUserName", session="TargetLogonId"
    ),
    4648: meaning(
        "used the credentials of another account", Kind.PRIVILEGE, "runas", whose="Subject", user="SubjectUserName",
        target_user="TargetUserName", command="ProcessName", source_ip="IpAddress", source_port="IpPort",
        session="SubjectLogonId",
    ),
    4672: meaning(
        "was given special rights at the logon", Kind.PRIVILEGE, "special_privileges", success=True, whose="Subject",
        user="SubjectUserName", session="SubjectLogonId",
    ),
    4768: meaning(
        "asked for a Kerberos ticket", Kind.LOGIN, "ticket_granted", failed="login_failed", success=AUDITED,
        whose="Target", user="TargetUserName", source_ip="IpAddress", source_port="IpPort", reason="Status",
    ),
    4771: meaning(
        "failed at Kerberos", Kind.LOGIN, "login_failed", success=False, user="TargetUserName", source_ip="IpAddress",
        source_port="IpPort", reason="Status FailureCode",
    ),
    4776: meaning(
        "had the password checked", Kind.LOGIN, "credentials_accepted", failed="credentials_refused", whose="Target",
        user="TargetUserName", source_name="Workstation", reason="Status",
    ),
    4778: meaning(
        "came back to a session", Kind.LOGIN, "session_reconnected", user="AccountName", session="LogonID",
        terminal="SessionName", source_ip="ClientAddress", source_name="ClientName",
    ),
    4779: meaning(
        "left a session", Kind.LOGOUT, "session_disconnected", user="AccountName", session="LogonID",
        terminal="SessionName", source_ip="ClientAddress", source_name="ClientName",
    ),
    4800: meaning("locked the workstation", None, "locked", user="TargetUserName", session="TargetLogonId"),
    4801: meaning("unlocked the workstation", None, "unlocked", user="TargetUserName", session="TargetLogonId"),
}  # fmt: skip

_ACCOUNTS: Final = {
    4720: _account("user added", "user_added"),
    4722: _account("user enabled", "user_enabled"),
    4723: _account("password changed by the user", "password_changed"),
    4724: _account("password set by another", "password_changed"),
    4725: _account("user disabled", "user_disabled"),
    4726: _account("user removed", "user_removed"),
    4727: _account("global group added", "group_added"),
    4728: _member("member added to a global group", "group_joined"),
    4729: _member("member removed from a global group", "group_left"),
    4730: _account("global group removed", "group_removed"),
    4731: _account("local group added", "group_added"),
    4732: _member("member added to a local group", "group_joined"),
    4733: _member("member removed from a local group", "group_left"),
    4734: _account("local group removed", "group_removed"),
    4738: _account("user changed", "user_changed"),
    4740: _account("user locked out", "user_locked", source_name="TargetDomainName"),
    4754: _account("universal group added", "group_added"),
    4756: _member("member added to a universal group", "group_joined"),
    4757: _member("member removed from a universal group", "group_left"),
    4758: _account("universal group removed", "group_removed"),
    4767: _account("user unlocked", "user_unlocked"),
    4781: _account("account renamed", "user_renamed", target_user="NewTargetUserName"),
}

_OTHERS: Final = {
    4688: meaning(
        "process started", None, "process_started", user="SubjectUserName", target_user="TargetUserName",
        command="CommandLine NewProcessName", session="SubjectLogonId",
    ),
    4697: meaning(
        "service installed", Kind.SERVICE, "installed", success=AUDITED, user="SubjectUserName", service="ServiceName",
        command="ServiceFileName",
    ),
    6416: _device("device recognized", "added"),
    6419: _device("asked to disable a device", "disable_requested"),
    6420: _device("device disabled", "disabled"),
    6421: _device("asked to enable a device", "enable_requested"),
    6422: _device("device enabled", "enabled"),
    6423: _device("device forbidden by policy", "refused", success=False),
    6424: _device("device allowed, which was forbidden before", "allowed", success=True),
}  # fmt: skip

SECURITY: Final[Table] = {
    (_PROVIDER, number): found for number, found in {**_LOGONS, **_ACCOUNTS, **_OTHERS}.items()
} | {
    ("Microsoft-Windows-Eventlog", 1102): meaning(
        "the security log was cleared", Kind.LOG_CLEARED, "log_cleared", success=True, user="SubjectUserName"
    )
}
