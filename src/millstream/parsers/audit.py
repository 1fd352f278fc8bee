"""Events of auditd: one record, or several of one event joined by line ends, as `sources/audit.py` hands them on.

    type=USER_LOGIN msg=audit(1772359200.123:456): pid=7 uid=0 ... msg='op=login acct="ann" ... res=failed'

One attempt to log in leaves up to four records. Whether it succeeded is decided by what PAM says, which names the user
and comes once: USER_AUTH of a login that failed, USER_START of one that did not.

Source: see `audit_records`; openssh, audit-linux.c; linux-pam, libpam/pam_audit.c; sudo, plugins/sudoers/linux_audit.c.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from millstream.parsers.audit_records import AuditRecord, command_of, read_record
from millstream.parsers.log_event import Kind
from millstream.parsers.times import since_1970

_NAMES_FOLLOW: Final = "\x1d"

_KINDS: Final[Mapping[str, tuple[Kind, str]]] = {
    "USER_LOGIN": (Kind.LOGIN, "login"),
    "USER_LOGOUT": (Kind.LOGOUT, "logout"),
    "USER_CMD": (Kind.PRIVILEGE, "sudo"),
    "ADD_USER": (Kind.ACCOUNT, "user_added"),
    "DEL_USER": (Kind.ACCOUNT, "user_removed"),
    "ADD_GROUP": (Kind.ACCOUNT, "group_added"),
    "DEL_GROUP": (Kind.ACCOUNT, "group_removed"),
    "USER_MGMT": (Kind.ACCOUNT, "user_changed"),
    "GRP_MGMT": (Kind.ACCOUNT, "group_changed"),
    "USER_CHAUTHTOK": (Kind.ACCOUNT, "password_changed"),
    "ACCT_LOCK": (Kind.ACCOUNT, "user_locked"),
    "ACCT_UNLOCK": (Kind.ACCOUNT, "user_unlocked"),
    "SERVICE_START": (Kind.SERVICE, "started"),
    "SERVICE_STOP": (Kind.SERVICE, "stopped"),
    "SYSTEM_BOOT": (Kind.SERVICE, "boot"),
    "SYSTEM_SHUTDOWN": (Kind.SERVICE, "shutdown"),
    "DAEMON_START": (Kind.SERVICE, "started"),
    "DAEMON_END": (Kind.SERVICE, "stopped"),
    "DAEMON_ABORT": (Kind.SERVICE, "stopped"),
}
_ACTIONS: Final = {
    "USER_AUTH": "authenticated",
    "USER_START": "session_opened",
    "USER_END": "session_closed",
    "ANOM_ABEND": "crashed",
    "ANOM_PROMISCUOUS": "promiscuous",
}
"""Of records without a kind of their own."""
_FAILED: Final = {
    "login": "login_failed",
    "sudo": "sudo_refused",
    "authenticated": "authentication_failed",
    "su": "su_failed",
}
_LOGIN_PROGRAMS: Final = frozenset(
    {"sshd", "sshd-session", "login", "gdm-session-worker", "sddm-helper", "lightdm", "xrdp-sesman"}
)
_SU_PROGRAMS: Final = frozenset({"su", "runuser"})
_BESIDE: Final = frozenset(
    {"SYSCALL", "PATH", "CWD", "EXECVE", "PROCTITLE", "SOCKADDR", "BPRM_FCAPS", "CAPSET", "EOE", "OBJ_PID", "FD_PAIR",
     "MMAP", "IPC", "KERN_MODULE", "OPENAT2", "URINGOP"}
)  # fmt: skip
"""Records that say more of an event, and not what it is."""

Said = dict[str, Any]


def audit_reader() -> Any:
    """Return what reads one event; see `EventParser`."""
    return functools.partial(_read, True)


def audit_reader_beside() -> Any:
    """Return the same for a machine with a text log that has the same logins, and uses of the rights of others.

    Each attempt is counted there: here `success` is None.
    """
    return functools.partial(_read, False)


def _read(decides: bool, text: str, now: datetime) -> Said | None:
    records: list[AuditRecord] = []
    for line in text.rstrip().split("\n"):
        record = read_record(line)
        if record is None:
            return None
        records.append(record)
    said = _event(records)
    if not decides and said["kind"] in (Kind.LOGIN, Kind.PRIVILEGE):
        said["success"] = None
    return said


def _event(records: Sequence[AuditRecord]) -> Said:
    syscall = _first(records, "SYSCALL")
    main = next((one for one in records if one.type not in _BESIDE), syscall or records[0])
    terminal = main.get("terminal", "tty") or (syscall.get("tty") if syscall else None)
    said: Said = {
        "time": since_1970(main.time),
        "host": main.node,
        "program": "audit",
        "message": f"{main.type} {main.rest.partition(_NAMES_FOLLOW)[0]}".strip(),
        "pid": _number(main.get("pid") or (syscall.get("pid") if syscall else None)),
        "source_ip": main.get("addr"),
        "terminal": terminal.removeprefix("/dev/") if terminal else None,
        "session": main.get("ses") or (syscall.get("ses") if syscall else None),
        "fields": _fields(main, records),
        "user": _user(main.get("acct", "ID", "id")),
        **_meaning(main),
    }
    if syscall is not None:
        said |= _syscall(main, syscall, records)
    return said


def _fields(main: AuditRecord, records: Sequence[AuditRecord]) -> Said:
    others = [{"type": one.type, **one.values} for one in records if one is not main]
    return {"type": main.type, "serial": main.serial, **main.values, **({"records": others} if others else {})}


def _meaning(main: AuditRecord) -> Said:
    kind, action = _KINDS.get(main.type, (None, _ACTIONS.get(main.type)))
    result = main.get("res", "success")
    done = None if result is None else result in ("success", "yes", "1")
    said: Said = {"kind": kind, "action": action, "success": None if kind is None else done}
    program = (main.get("exe") or "").rpartition("/")[2]
    if main.type in ("USER_AUTH", "USER_START", "USER_END", "USER_LOGIN"):
        said |= _session(main, program, done)
    elif kind is Kind.ACCOUNT:
        said |= {"target_user": main.get("acct", "ID", "id"), "user": main.get("AUID", "UID")}
    elif kind is Kind.SERVICE:
        said |= {"service": main.get("unit") or _SERVICES.get(main.type), "user": None}
    elif kind is Kind.PRIVILEGE:
        said |= {"command": main.get("cmd"), "user": main.get("acct", "AUID", "UID"), "target_user": main.get("runas")}
    elif main.type == "CONFIG_CHANGE" and main.get("audit_enabled") == "0" and main.get("old") != "0":
        said |= {"kind": Kind.LOG_CLEARED, "action": "audit_disabled", "success": done, "user": main.get("AUID")}
    if done is False and said["action"] in _FAILED:
        said["action"] = _FAILED[said["action"]]
    return said


_SERVICES: Final = {
    "SYSTEM_BOOT": "system",
    "SYSTEM_SHUTDOWN": "system",
    "DAEMON_START": "auditd",
    "DAEMON_END": "auditd",
    "DAEMON_ABORT": "auditd",
}


def _session(main: AuditRecord, program: str, done: bool | None) -> Said:
    """Return what PAM, or the program itself, says of a login, or of becoming another user."""
    user = _user(main.get("acct", "ID", "id"))
    if main.type == "USER_LOGIN":
        return {"user": user, "success": None}
    if program in _LOGIN_PROGRAMS:
        if main.type == "USER_START":
            return {"kind": Kind.LOGIN, "success": done, "user": user}
        if main.type == "USER_END":
            return {"kind": Kind.LOGOUT, "user": user}
        if done is False and main.get("op") == "PAM:authentication":
            return {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": user}
    elif program in _SU_PROGRAMS and (main.type == "USER_START" or (main.type == "USER_AUTH" and done is False)):
        who = main.get("AUID", "UID")
        return {"kind": Kind.PRIVILEGE, "action": "su", "success": done, "user": who, "target_user": user}
    return {"user": user}


def _syscall(main: AuditRecord, syscall: AuditRecord, records: Sequence[AuditRecord]) -> Said:
    """Return what a call of the kernel says: who, with which program, did what to which file."""
    execve, title = _first(records, "EXECVE"), _first(records, "PROCTITLE")
    command = shlex.join(command_of(execve)) if execve is not None else title.get("proctitle") if title else None
    said: Said = {"user": syscall.get("AUID", "UID")}
    if command is not None:
        said["command"] = command
    if main is not syscall:
        return said
    paths = [name for one in records if one.type == "PATH" and (name := one.get("name")) and not _is_parent(one)]
    call = syscall.get("SYSCALL") or f"system call {syscall.get('syscall') or '?'}"
    what = command if execve is not None else " ".join(paths)
    failed = "" if syscall.get("success") != "no" else f" failed ({syscall.get('exit') or '?'})"
    by = "" if execve is not None else f" by {syscall.get('exe') or syscall.get('comm') or '?'}"
    key = f" [{syscall.get('key')}]" if syscall.get("key") else ""
    return said | {"message": f"{call}{f' {what}' if what else ''}{by}{failed}{key}"}


def _is_parent(record: AuditRecord) -> bool:
    return record.get("nametype") == "PARENT"


def _first(records: Sequence[AuditRecord], kind: str) -> AuditRecord | None:
    return next((one for one in records if one.type == kind), None)


def _user(name: str | None) -> str | None:
    """Return a name; sshd and login write another word for one that does not exist."""
    return None if name in ("(invalid user)", "(unknown)", "(unknown user)") else name


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) <= 10 else None
