"""shadow: users and groups that are made, changed, removed.

Source: shadow, src/useradd.c, usermod.c, userdel.c, groupadd.c, groupdel.c, groupmems.c, gpasswd.c, passwd.c, chage.c.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.shape import Table, shape

_NAME: Final = r"'?(?P<target_user>[^',]+)'?"
_ACCOUNT: Final = {"kind": Kind.ACCOUNT, "success": True}

SHADOW: Final = Table(
    frozenset(
        {"useradd", "usermod", "userdel", "groupadd", "groupdel", "groupmod", "gpasswd", "passwd", "chpasswd", "chage"}
    ),
    (
        shape("new user: name=", r"(?P<target_user>[^,]+), .*", action="user_added", **_ACCOUNT),
        shape("new group: name=", r"(?P<target_user>[^,]+)(?:, .*)?", action="group_added", **_ACCOUNT),
        shape("delete user ", _NAME, action="user_removed", **_ACCOUNT),
        shape("group ", rf"{_NAME} (?:removed|deleted)(?: .*)?", action="group_removed", **_ACCOUNT),
        shape("removed group ", rf"{_NAME} owned by .*", action="group_removed", **_ACCOUNT),
        shape("add ", r"'(?P<target_user>[^']+)' to (?:shadow )?group '[^']+'", action="group_joined", **_ACCOUNT),
        shape(
            "user ", r"(?P<target_user>[^ ]+) added by (?P<user>[^ ]+) to group .*", action="group_joined", **_ACCOUNT
        ),
        shape(
            "user ", r"(?P<target_user>[^ ]+) removed by (?P<user>[^ ]+) from group .*", action="group_left", **_ACCOUNT
        ),
        shape("delete ", r"'(?P<target_user>[^']+)' from (?:shadow )?group '[^']+'", action="group_left", **_ACCOUNT),
        shape("change user ", r"'(?P<target_user>[^']+)' .*", action="user_changed", **_ACCOUNT),
        shape("lock user ", r"'(?P<target_user>[^']+)' password", action="user_locked", **_ACCOUNT),
        shape("unlock user ", r"'(?P<target_user>[^']+)' password", action="user_unlocked", **_ACCOUNT),
        shape(
            "password for ",
            r"'(?P<target_user>[^']+)' changed by '(?P<user>[^']+)'",
            action="password_changed",
            **_ACCOUNT,
        ),
        shape("password changed for ", r"(?P<target_user>[^ ]+)", action="password_changed", **_ACCOUNT),
        shape(
            "pam_unix(passwd:chauthtok): password changed for ",
            r"(?P<target_user>.+)",
            action="password_changed",
            **_ACCOUNT,
        ),
        shape(
            "pam_unix(chpasswd:chauthtok): password changed for ",
            r"(?P<target_user>.+)",
            action="password_changed",
            **_ACCOUNT,
        ),
        shape(
            "failed adding user ",
            r"'(?P<target_user>[^']+)', .*",
            kind=Kind.ACCOUNT,
            action="user_added",
            success=False,
        ),
    ),
)
