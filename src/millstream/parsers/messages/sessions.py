"""Logins at the machine itself: login(1), display managers, systemd-logind.

Source: util-linux and shadow, login.c; systemd, src/login/logind-session.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.pam import LOGIN, LOGIN_FAILED, LOGOUT, pam_shapes
from millstream.parsers.messages.shape import Table, shape

_ON: Final = r" on '?(?P<terminal>[^ ']+)'?(?: from '?(?P<source_name>[^ ']+)'?)?"

LOGIN_PROGRAM: Final = Table(
    frozenset({"login"}),
    (
        shape(
            "LOGIN ON ",
            r"(?P<terminal>[^ ]+) BY (?P<user>[^ ]+)(?: FROM (?P<source_name>[^ ]+))?",
            action="login",
            method="password",
            **LOGIN,
        ),
        shape(
            "ROOT LOGIN ON ",
            r"(?P<terminal>[^ ]+)(?: FROM (?P<source_name>[^ ]+))?",
            action="login",
            method="password",
            user="root",
            **LOGIN,
        ),
        shape("ROOT LOGIN ", _ON, action="login", method="password", user="root", **LOGIN),
        shape(
            "FAILED LOGIN ",
            r"(?:SESSION |[0-9]+ |\([0-9]+\) )?(?:FROM|on) '?(?P<terminal>[^ ']+)'? "
            r"(?:FOR|for) (?:\(unknown\)|'?(?P<user>[^,']+)'?)(?:, .*)?",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape(
            "TOO MANY LOGIN TRIES ",
            r"\([0-9]+\) FROM (?P<terminal>[^ ]+) FOR (?P<user>[^,]+).*",
            action="too_many_attempts",
            kind=Kind.LOGIN,
        ),
        *pam_shapes("login", closed=LOGOUT),
    ),
)

DISPLAY_MANAGERS: Final = Table(
    frozenset({"gdm-password]", "gdm-password", "gdm-autologin", "sddm", "sddm-helper", "lightdm", "xdm", "kde"}),
    tuple(
        one
        for service in ("gdm-password", "gdm-autologin", "sddm", "lightdm", "xdm", "kde")
        for one in pam_shapes(service, opened=LOGIN, closed=LOGOUT, failed=LOGIN_FAILED)
    ),
)

LOGIND: Final = Table(
    frozenset({"systemd-logind"}),
    (
        shape(
            "New session ",
            r"'?(?P<session>[^ ']+)'? of user '?(?P<user>[^ ']+?)'?(?: with .*)?\.",
            action="session_started",
        ),
        shape("Removed session ", r"(?P<session>[^ ]+)\.", action="session_removed"),
        shape("Session ", r"(?P<session>[^ ]+) logged out\..*", action="session_ended"),
        shape("New seat ", r"(?P<device>[^ ]+)\.", action="seat_added"),
        shape("System is powering down", r".*", kind=Kind.SERVICE, action="shutdown"),
        shape("System is rebooting", r".*", kind=Kind.SERVICE, action="reboot"),
    ),
)
