"""What a Linux system logs besides its text: logins, devices, auditd."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millstream.sources.audit import AUDIT_LOG, AuditSource
from millstream.sources.devices import DeviceSource
from millstream.sources.last_logins import LASTLOG
from millstream.sources.login_databases import LASTLOG2, WTMPDB, LoginDatabaseSource
from millstream.sources.logins import BTMP, UTMP, WTMP, LoginSource
from millstream.sources.source import Source

LOGIN_TEXTS: Final = (Path("/var/log/auth.log"), Path("/var/log/secure"), Path("/var/log/messages"))
"""Where syslog daemons write what sshd, login, su and sudo say."""

SYSLOG: Final = Path("/dev/log")
"""Where programs hand in what they say: is there while a syslog daemon runs. Without one a text log is an old one."""


def linux_sources(*, journal: bool, lines_first: int = 200, follow: bool = True) -> Sequence[Source]:
    """Return what there is of these on this machine.

    Args:
        journal: Whether the journal is kept and may be read.
    """
    # A failed login that a text log has is counted there, with the program's own words; else by auditd's, where PAM
    # says each once; else by the login records.
    decides = not journal and not has_login_text()
    audited = os.access(AUDIT_LOG, os.R_OK)
    sources: list[Source] = [
        *login_sources(decides=decides and not audited, records_first=lines_first, follow=follow),
        DeviceSource(follow=follow),
    ]
    if os.path.isdir(AUDIT_LOG.parent):
        sources.append(AuditSource(decides=decides, lines_first=lines_first, follow=follow))
    return sources


def login_sources(*, decides: bool, records_first: int, follow: bool, root: Path = Path("/")) -> Sequence[Source]:
    """Return what reads the records of logins: of several that have the same, the one that says most.

    Args:
        root: Where the system is.
    """
    wtmp, btmp, utmp, wtmpdb, lastlog2, lastlog = (
        root / path.relative_to("/") for path in (WTMP, BTMP, UTMP, WTMPDB, LASTLOG2, LASTLOG)
    )
    both = _is_there(wtmp) or _is_there(utmp)
    database = (
        wtmpdb
        if _is_there(wtmpdb)
        else next((path for path in (lastlog2, lastlog) if not both and _is_there(path)), None)
    )
    records = LoginSource(
        wtmp=[] if database == wtmpdb else [wtmp],
        btmp=[btmp],
        utmp=None if database is not None else utmp,
        decides=decides,
        records_first=records_first,
        follow=follow,
    )
    if database is None:
        return [records]
    return [records, LoginDatabaseSource(database, decides=decides, records_first=records_first, follow=follow)]


def has_login_text(paths: Sequence[Path] = LOGIN_TEXTS, syslog: Path = SYSLOG) -> bool:
    """Return whether a text log of logins is written now, and may be read."""
    return _is_there(syslog) and any(os.access(path, os.R_OK) for path in paths)


def _is_there(path: Path) -> bool:
    """Return whether a file can be seen; `Path.exists` raises where its directory may not be entered."""
    return os.access(path, os.F_OK)
