"""sudo, su, doas and pkexec: somebody takes the rights of another user.

Source: sudo, lib/eventlog/eventlog.c; shadow and util-linux, su.c; polkit, pkexec.c; doas.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.pam import pam_shapes
from millstream.parsers.messages.shape import Table, shape

_TOOK: Final = {"kind": Kind.PRIVILEGE, "success": True}
_WAS_REFUSED: Final = {"kind": Kind.PRIVILEGE, "success": False}

_SUDO: Final = (
    r"TTY=(?P<terminal>[^ ]+) ; PWD=.* ; USER=(?P<target_user>[^ ]+)(?: ; GROUP=[^ ]+)?(?: ; TSID=[^ ]+)?"
    r"(?: ; ENV=.*)? ; COMMAND=(?P<command>.*)"
)

SUDO: Final = Table(
    frozenset({"sudo"}),
    (
        *pam_shapes("sudo", becomes=True),
        *pam_shapes("sudo-i", becomes=True),
        # sudo pads the name on its left, and writes why it refused in front.
        shape("", rf" *(?P<user>[^ ]+) : {_SUDO}", action="sudo", **_TOOK),
        shape("", rf" *(?P<user>[^ ]+) : [^;]+ ; {_SUDO}", action="sudo_refused", **_WAS_REFUSED),
    ),
)

SU: Final = Table(
    frozenset({"su", "su-l", "runuser"}),
    (
        shape("(to ", r"(?P<target_user>[^)]+)\) (?P<user>[^ ]+) on (?P<terminal>[^ ]+)", action="su", **_TOOK),
        shape(
            "FAILED SU (to ",
            r"(?P<target_user>[^)]+)\) (?P<user>[^ ]+) on (?P<terminal>[^ ]+)",
            action="su_failed",
            **_WAS_REFUSED,
        ),
        shape("Successful su for ", r"(?P<target_user>[^ ]+) by (?P<user>[^ ]+)", action="su", **_TOOK),
        shape("FAILED su for ", r"(?P<target_user>[^ ]+) by (?P<user>[^ ]+)", action="su_failed", **_WAS_REFUSED),
        shape("+ ", r"(?P<terminal>[^ ]+) (?P<user>[^:]+):(?P<target_user>.+)", action="su"),
        shape("- ", r"(?P<terminal>[^ ]+) (?P<user>[^:]+):(?P<target_user>.+)", action="su_failed"),
        *pam_shapes("su", becomes=True),
        *pam_shapes("su-l", becomes=True),
    ),
)

PKEXEC: Final = Table(
    frozenset({"pkexec"}),
    (
        *pam_shapes("polkit-1", becomes=True),
        shape(
            "",
            r"(?P<user>[^ :]+): Executing command \[USER=(?P<target_user>[^\]]+)\] \[TTY=(?P<terminal>[^\]]+)\] "
            r"\[CWD=[^\]]*\] \[COMMAND=(?P<command>.*)\]",
            action="pkexec",
            **_TOOK,
        ),
    ),
)

DOAS: Final = Table(
    frozenset({"doas"}),
    (
        shape(
            "", r"(?P<user>[^ ]+) ran command (?P<command>.*) as (?P<target_user>[^ ]+) from .*", action="doas", **_TOOK
        ),
        shape(
            "command not permitted for ", r"(?P<user>[^ :]+): (?P<command>.*)", action="doas_refused", **_WAS_REFUSED
        ),
        shape("failed auth for ", r"(?P<user>[^ ]+)", action="doas_refused", **_WAS_REFUSED),
    ),
)
