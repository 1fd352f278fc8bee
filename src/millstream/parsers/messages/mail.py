"""Mail: logins at Postfix and Dovecot.

Source: postfix, src/smtpd/smtpd_sasl_glue.c and smtpd.c; dovecot, src/login-common/client-common.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.messages.pam import LOGIN, LOGIN_FAILED, LOGOUT, pam_shapes
from millstream.parsers.messages.shape import Table, shape

_PEER: Final = r"[^\[ ]+\[(?P<source_ip>[^\]]+)\]"
_BY: Final = r"(?P<method>[A-Za-z0-9-]+)"

POSTFIX: Final = Table(
    frozenset(
        {"postfix/smtpd", "postfix/submission/smtpd", "postfix/submissions/smtpd", "postfix/smtps/smtpd", "postfix"}
    ),
    (
        shape(
            "warning: ",
            rf"{_PEER}: SASL {_BY} authentication failed: .*sasl_username=(?P<user>[^ ,]+).*",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape("warning: ", rf"{_PEER}: SASL {_BY} authentication failed.*", action="login_failed", **LOGIN_FAILED),
        shape(
            "",
            rf"[0-9A-Za-z]+: client={_PEER}, sasl_method={_BY}, sasl_username=(?P<user>[^ ,]+).*",
            action="login",
            **LOGIN,
        ),
        shape("connect from ", _PEER, action="connection_opened"),
        shape("disconnect from ", rf"{_PEER}.*", action="connection_closed"),
        shape("lost connection after ", rf"[^ ]+ from {_PEER}", action="connection_closed"),
        shape("NOQUEUE: reject: ", rf"[A-Z]+ from {_PEER}: .*", action="mail_rejected"),
    ),
)

_SERVICE: Final = r"(?P<service>imap|pop3|submission|managesieve|lmtp)-login: (?:Info: )?"
_WHO: Final = r"user=<(?P<user>[^>]*)>, (?:method=(?P<method>[^,]+), )?rip=(?P<source_ip>[^, ]+)"

DOVECOT: Final = Table(
    frozenset({"dovecot"}),
    (
        shape("", rf"{_SERVICE}(?:Login|Logged in): {_WHO}(?:,.*)?", action="login", **LOGIN),
        shape(
            "",
            rf"{_SERVICE}(?:Aborted login|Disconnected|Login aborted)[^(]*\(.*auth[_ ]failed[^)]{{0,100}}\)(?: "
            rf"\([^)]{{0,100}}\))?: "
            rf"{_WHO}(?:,.*)?",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape(
            "",
            rf"{_SERVICE}(?:Aborted login|Disconnected|Login aborted)[^(]*\([^)]*\).*: {_WHO}(?:,.*)?",
            action="disconnected",
        ),
        shape(
            "",
            r"(?P<service>imap|pop3)\((?P<user>[^)]+)\)<[0-9]+><[^>]*>: (?:Info: )?(?:Disconnected: )?Logged out.*",
            action="logout",
            **LOGOUT,
        ),
        *pam_shapes("dovecot"),
    ),
)
