"""Mail: logins at Postfix, Exim and Dovecot, and what becomes of a mail.

All lines of one mail have its number in the queue: that is `session`. Who sends it is `user`, for whom `target_user`.

Source: postfix, src/smtpd/smtpd_sasl_glue.c and smtpd.c, src/global/log_adhoc.c, src/qmgr/qmgr_active.c; exim.org, "Log
files" (the specification, chapter 53); dovecot, src/login-common/client-common.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.messages.pam import LOGIN, LOGIN_FAILED, LOGOUT, pam_shapes
from millstream.parsers.messages.shape import Table, shape

_PEER: Final = r"[^\[ ]+\[(?P<source_ip>[^\]]+)\]"
_BY: Final = r"(?P<method>[A-Za-z0-9-]+)"
_QUEUED: Final = r"(?P<session>[0-9A-Za-z]{4,20}): "

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
            rf"{_QUEUED}client={_PEER}, sasl_method={_BY}, sasl_username=(?P<user>[^ ,]+).*",
            action="login",
            **LOGIN,
        ),
        shape("", rf"{_QUEUED}client={_PEER}.*", action="mail_received"),
        shape("connect from ", _PEER, action="connection_opened"),
        shape("disconnect from ", rf"{_PEER}.*", action="connection_closed"),
        shape("lost connection after ", rf"[^ ]+ from {_PEER}", action="connection_closed"),
        shape("NOQUEUE: reject: ", rf"[A-Z]+ from {_PEER}: .*", action="mail_rejected"),
    ),
)

_TO: Final = rf"{_QUEUED}to=<(?P<target_user>[^>]*)>, (?:.*, )?"

POSTFIX_QUEUE: Final = Table(
    frozenset(
        f"postfix/{daemon}"
        for daemon in ("smtp", "relay/smtp", "local", "virtual", "lmtp", "pipe", "error", "discard", "qmgr", "pickup")
    ),
    (
        shape("", rf"{_TO}status=sent .*", action="mail_sent", success=True),
        shape("", rf"{_TO}status=deferred .*", action="mail_deferred"),
        shape("", rf"{_TO}status=(?:bounced|undeliverable) .*", action="mail_bounced", success=False),
        shape(
            "", rf"{_QUEUED}from=<(?P<user>[^>]*)>, status=(?:force-)?expired.*", action="mail_bounced", success=False
        ),
        shape("", rf"{_QUEUED}from=<(?P<user>[^>]*)>, size=[0-9]+.*", action="mail_queued"),
        shape("", rf"{_QUEUED}uid=[0-9]+ from=<(?P<user>[^>]*)>.*", action="mail_received"),
        shape("", rf"{_QUEUED}removed", action="mail_removed"),
    ),
)

_HOST: Final = r"H=(?:[^\[]*)\[(?P<source_ip>[^\]]+)\](?::(?P<source_port>[0-9]{1,5}))?"
_REFUSED: Final = (
    r"(?P<method>[^ ]+) authenticator failed for [^\[]*\[(?P<source_ip>[^\]]+)\](?::(?P<source_port>[0-9]{1,5}))?"
    r".{0,200}: 535 "
)
_EXIM_ID: Final = r"(?P<session>[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) "

EXIM: Final = Table(
    frozenset({"exim", "exim4"}),
    (
        shape(
            "",
            rf"{_EXIM_ID}<= [^ ]+ {_HOST} .*A=(?P<method>[^ :]{{1,40}}):(?P<user>[^ ]{{1,200}}).*",
            action="login",
            **LOGIN,
        ),
        shape("", rf"{_EXIM_ID}<= (?P<user>[^ ]+) {_HOST}.*", action="mail_received"),
        shape("", rf"{_EXIM_ID}<= (?P<user>[^ ]+) .*", action="mail_received"),
        shape("", rf"{_EXIM_ID}[=-]> (?P<target_user>[^ ]+).*", action="mail_sent", success=True),
        shape("", rf"{_EXIM_ID}== (?P<target_user>[^ ]+).*", action="mail_deferred"),
        shape("", rf"{_EXIM_ID}\*\* (?P<target_user>[^ ]+).*", action="mail_bounced", success=False),
        shape("", rf"{_EXIM_ID}Completed.*", action="mail_removed"),
        shape(
            "",
            rf"{_REFUSED}.{{0,300}}\(set_id=(?P<user>[^)]*)\).*",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape(
            "",
            rf"{_REFUSED}.*",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape("", rf"{_HOST} .*rejected RCPT .*", action="mail_rejected"),
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
