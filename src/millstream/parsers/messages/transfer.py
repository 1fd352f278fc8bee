"""Files over the network: vsftpd, ProFTPD, Pure-FTPd, rsync, Samba.

Source: vsftpd, logging.c; proftpd, modules/mod_auth.c; pure-ftpd, src/ftpd.c and messages_en.h; rsync, authenticate.c
and clientserver.c; samba, auth/auth_log.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.messages.pam import LOGIN, LOGIN_FAILED, LOGOUT, pam_shapes
from millstream.parsers.messages.shape import Table, shape

_CLIENT: Final = r"Client \"(?:::ffff:)?(?P<source_ip>[^\"]+)\".*"

VSFTPD: Final = Table(
    frozenset({"vsftpd"}),
    (
        shape("[", rf"(?P<user>[^\]]*)\] OK LOGIN: {_CLIENT}", action="login", **LOGIN),
        shape("[", rf"(?P<user>[^\]]*)\] FAIL LOGIN: {_CLIENT}", action="login_failed", **LOGIN_FAILED),
        shape("[", rf"(?P<user>[^\]]*)\] OK UPLOAD: {_CLIENT}", action="file_uploaded"),
        shape("[", rf"(?P<user>[^\]]*)\] OK DOWNLOAD: {_CLIENT}", action="file_downloaded"),
        shape("[", rf"(?P<user>[^\]]*)\] OK DELETE: {_CLIENT}", action="file_deleted"),
        shape("CONNECT: ", _CLIENT, action="connection_opened"),
        *pam_shapes("vsftpd"),
    ),
)

_SESSION: Final = r"[^ ]+ \([^\[ ]*\[(?P<source_ip>[^\]]+)\]\) - "

PROFTPD: Final = Table(
    frozenset({"proftpd"}),
    (
        shape("", rf"{_SESSION}(?:ANON|USER) (?P<user>[^ :]+): Login successful\.?", action="login", **LOGIN),
        shape("", rf"{_SESSION}USER (?P<user>[^ ]+) \(Login failed\): .*", action="login_failed", **LOGIN_FAILED),
        shape("", rf"{_SESSION}USER (?P<user>[^ :]+): no such user found .*", action="login_failed", **LOGIN_FAILED),
        shape("", rf"{_SESSION}FTP session opened\.", action="connection_opened"),
        shape("", rf"{_SESSION}FTP session closed\.", action="connection_closed"),
        *pam_shapes("proftpd"),
    ),
)

PURE_FTPD: Final = Table(
    frozenset({"pure-ftpd"}),
    (
        shape("(", r"[^@]*@(?P<source_ip>[^)]+)\) \[INFO\] (?P<user>[^ ]+) is now logged in", action="login", **LOGIN),
        shape(
            "(",
            r"[^@]*@(?P<source_ip>[^)]+)\) \[WARNING\] Authentication failed for user \[(?P<user>[^\]]*)\]",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape("(", r"(?P<user>[^@]*)@(?P<source_ip>[^)]+)\) \[INFO\] Logout\.?.*", action="logout", **LOGOUT),
        shape("(", r"[^@]*@(?P<source_ip>[^)]+)\) \[INFO\] New connection from .*", action="connection_opened"),
    ),
)

_HOST: Final = r"(?P<source_name>[^ ]+) \((?P<source_ip>[^)]+)\)"

RSYNCD: Final = Table(
    frozenset({"rsyncd", "rsync"}),
    (
        shape(
            "auth failed on module ",
            rf"(?P<service>[^ ]+) from {_HOST} for (?P<user>[^:]+): .*",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape("auth failed on module ", rf"(?P<service>[^ ]+) from {_HOST}: .*", action="login_failed", **LOGIN_FAILED),
        shape("rsync to ", rf"(?P<service>[^ ]+) from (?P<user>[^@ ]+)@{_HOST}", action="login", **LOGIN),
        shape("rsync on ", rf"(?P<service>[^ ]+) from (?P<user>[^@ ]+)@{_HOST}", action="login", **LOGIN),
        shape("rsync denied on module ", rf"(?P<service>[^ ]+) from {_HOST}.*", action="refused"),
        shape("connect from ", _HOST, action="connection_opened"),
    ),
)

_AUTH: Final = (
    r"Auth: \[[^\]]*\] user \[[^\]]*\]\\\[(?P<user>[^\]]*)\] at \[[^\]]*\] with \[(?P<method>[^\]]*)\] status "
)
_FROM: Final = (
    r" workstation \[(?P<source_name>[^\]]*)\] remote host \[ipv[46]:(?P<source_ip>[^\]]+):(?P<source_port>[0-9]+)\].*"
)

SAMBA: Final = Table(
    frozenset({"smbd", "smbd_audit", "samba", "samba-dcerpcd", "winbindd"}),
    (
        shape("", rf"{_AUTH}\[NT_STATUS_OK\]{_FROM}", action="login", **LOGIN),
        shape("", rf"{_AUTH}\[NT_STATUS_[A-Z_]+\]{_FROM}", action="login_failed", **LOGIN_FAILED),
        *pam_shapes("samba"),
    ),
)
