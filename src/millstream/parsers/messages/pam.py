"""PAM, which writes in the name of the program that uses it.

A login by SSH writes two lines: the program's own (which has the address) and PAM's. Only the first is a `login`, so
that nothing is counted twice; of programs that write none themselves, PAM's line is.

Source: linux-pam, modules/pam_unix (support.c, pam_unix_sess.c, pam_unix_auth.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.shape import Shape, shape

_UID: Final = r"(?:\(uid=[0-9]+\))?"

NOTHING: Final[Mapping[str, Any]] = {}
LOGIN: Final[Mapping[str, Any]] = {"kind": Kind.LOGIN, "success": True}
LOGOUT: Final[Mapping[str, Any]] = {"kind": Kind.LOGOUT}
LOGIN_FAILED: Final[Mapping[str, Any]] = {"kind": Kind.LOGIN, "success": False}


def pam_shapes(
    service: str,
    *,
    opened: Mapping[str, Any] = NOTHING,
    closed: Mapping[str, Any] = NOTHING,
    failed: Mapping[str, Any] = NOTHING,
    becomes: bool = False,
) -> tuple[Shape, ...]:
    """Return what PAM writes for one service, such as `sshd`.

    Args:
        opened: What a session that is opened means; the same for closed, and a wrong password.
        becomes: The session's user is whom somebody becomes, not who came.
    """
    whose, by = ("target_user", r"(?P<user>[^ (]*)") if becomes else ("user", r"[^ (]*")
    return (
        shape(
            f"pam_unix({service}:session): session opened for user ",
            rf"(?P<{whose}>[^ (]+){_UID}(?: by {by}{_UID})?",
            action="session_opened",
            **opened,
        ),
        shape(
            f"pam_unix({service}:session): session closed for user ",
            rf"(?P<{whose}>[^ ]+)",
            action="session_closed",
            **closed,
        ),
        shape(
            f"pam_unix({service}:auth): authentication failure; ",
            r"logname=[^ ]* uid=[0-9]* euid=[0-9]* tty=(?P<terminal>[^ ]*) "
            + (r"ruser=(?P<user>[^ ]*)" if becomes else r"ruser=[^ ]*")
            + rf" rhost=(?P<source_ip>[^ ]*)(?: {{1,2}}user=(?P<{whose}>[^ ]+))?[ ]*",
            action="authentication_failed",
            **failed,
        ),
        shape(f"pam_unix({service}:auth): check pass; user unknown", action="unknown_user"),
    )
