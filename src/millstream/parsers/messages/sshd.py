"""The OpenSSH server.

One attempt may leave several lines (`Invalid user`, then `Failed password for invalid user`). Those that decide it have
`success`; the others say what they know and leave it open, so that counting failures counts attempts.

A user name is what the client sends, and may contain ` from 10.0.0.1 port 22`: the last such words of the line count.

Source: openssh-portable, auth.c, auth2.c, packet.c, sshd.c, sshd-session.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.pam import LOGOUT, pam_shapes
from millstream.parsers.messages.shape import ADDRESS, PORT, Table, shape

_PLAIN: Final = rf"(?P<user>[^ ]+) from {ADDRESS} port {PORT} ssh2"
"""Most lines: a name without a space, and nothing behind. They are told apart in one pass."""
_FROM: Final = rf" from {ADDRESS} port {PORT}"
_END: Final = r"(?: ssh[12])?(?:: .*)?"
_PREAUTH: Final = r"(?: \[preauth\])?[ ]*"
_PEER: Final = rf"{ADDRESS} port {PORT}(?::[0-9]+: .*|: .*)?{_PREAUTH}"
_LOGIN: Final = {"kind": Kind.LOGIN, "action": "login", "success": True}
_LOGIN_FAILED: Final = {"kind": Kind.LOGIN, "action": "login_failed", "success": False}

SSHD: Final = Table(
    frozenset({"sshd", "sshd-session", "sshd-auth"}),
    (
        shape("Failed password for invalid user ", _PLAIN, method="password", **_LOGIN_FAILED),
        shape("Failed password for ", _PLAIN, method="password", **_LOGIN_FAILED),
        shape("Accepted password for ", _PLAIN, method="password", **_LOGIN),
        shape("Failed password for invalid user ", rf"(?P<user>.*){_FROM}{_END}", method="password", **_LOGIN_FAILED),
        shape("Failed ", rf"(?P<method>[^ ]+) for (?:invalid user )?(?P<user>.*){_FROM}{_END}", **_LOGIN_FAILED),
        shape("Accepted ", rf"(?P<method>[^ ]+) for (?P<user>.*){_FROM}{_END}", **_LOGIN),
        shape(
            "Invalid user ",
            rf"(?P<user>.*) from {ADDRESS}(?: port {PORT})?[ ]*",
            kind=Kind.LOGIN,
            action="unknown_user",
        ),
        *pam_shapes("sshd", closed=LOGOUT),
        shape(
            "User ",
            r"(?P<user>.*) from (?P<source_ip>[^ ]+) not allowed because .*",
            kind=Kind.LOGIN,
            action="not_allowed",
        ),
        shape(
            "error: maximum authentication attempts exceeded for ",
            rf"(?:invalid user )?(?P<user>.*){_FROM}{_END}{_PREAUTH}",
            kind=Kind.LOGIN,
            action="too_many_attempts",
        ),
        shape("Disconnecting ", rf"(?:authenticating|invalid) user (?P<user>.*) {_PEER}", action="disconnected"),
        shape("Disconnected from ", rf"(?:(?:[a-z]+ )?user (?P<user>.*) )?{_PEER}", action="disconnected"),
        shape("Received disconnect from ", rf"{ADDRESS}(?: port {PORT})?: ?[0-9]*:.*", action="disconnected"),
        shape(
            "Connection ",
            rf"(?:closed|reset) by (?:(?:invalid|authenticating) user (?P<user>.*) )?{_PEER}",
            action="connection_closed",
        ),
        shape("Connection from ", rf"{ADDRESS} port {PORT}(?: on .*)?", action="connection_opened"),
        shape("Unable to negotiate with ", _PEER, action="negotiation_failed"),
        shape(
            "Did not receive identification string from ",
            rf"{ADDRESS}(?: port {PORT})?[ ]*",
            action="no_identification",
        ),
        shape("fatal: Timeout before authentication for ", _PEER, action="timeout"),
        shape("ssh_dispatch_run_fatal: Connection from ", _PEER, action="connection_failed"),
        shape(
            "Magic value check failed (", rf"[0-9]+\) on obfuscated handshake from {_PEER}", action="connection_failed"
        ),
        shape("refused connect from ", r"(?P<source_name>[^ ]+) \((?P<source_ip>[^)]+)\)", action="refused"),
        shape("Server listening on ", r".*", kind=Kind.SERVICE, action="started", service="sshd"),
        shape("Received signal 15; terminating.", kind=Kind.SERVICE, action="stopped", service="sshd"),
    ),
)
