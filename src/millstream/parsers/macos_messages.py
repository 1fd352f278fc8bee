"""macOS: what its own programs say of logins, rights, USB devices. What sshd, sudo and su say is as elsewhere.

One login leaves lines of several programs. That of the program that let somebody in, or did not, has `success`;
opendirectoryd, which checks the password for all of them, has none.

Source: IOUSBHostFamily and IOUSBMassStorageClass (IOLog); Security, authd/engine.c; login(1) of Apple's system_cmds;
messages of macOS 10.13 to 26 as people quote them.
"""

from __future__ import annotations

from typing import Any, Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.shape import ADDRESS, Table, shape
from millstream.parsers.messages.tables import read_message

_USER: Final = r"(?:<private>|(?P<user>.+?))"
_IDS: Final = r"0x(?P<device_vendor>[0-9a-fA-F]{1,4})/(?P<device_product>[0-9a-fA-F]{1,4})/[0-9a-fA-F]{1,4} \(.*"
_RIGHT: Final = r"system\.(?:privilege|preferences|install|services|volume|sharepoints|csfde)[^']*"
_PORT: Final = r"(?:[0-9]+\.[0-9]+ )?(?P<device>[^ ]+): "

KERNEL: Final = Table(
    frozenset({"kernel"}),
    (
        shape(
            "",
            rf"{_PORT}AppleUSBHostPort::enumerateDeviceComplete[^ ]*: enumerated {_IDS}",
            kind=Kind.DEVICE,
            action="added",
        ),
        shape("", rf"{_PORT}AppleUSBHostPort::terminateDevice: destroying {_IDS}", kind=Kind.DEVICE, action="removed"),
        shape(
            "USBMSC Identifier (non-unique): ",
            r"(?P<device_serial>[^ ]+) 0x(?P<device_vendor>[0-9a-fA-F]{1,4}) 0x(?P<device_product>[0-9a-fA-F]{1,4}) .*",
            action="described",
        ),
        shape("hfs: mounted ", r".* on device (?P<device>[^ ]+)[ ]*", action="mounted"),
        shape("=== system boot: ", r".*", kind=Kind.SERVICE, action="boot"),
    ),
)

SCREEN_SHARING: Final = Table(
    frozenset({"screensharingd"}),
    (
        shape(
            "Authentication: SUCCEEDED :: User Name: ",
            rf"{_USER} :: Viewer Address: {ADDRESS} :: Type: .*",
            kind=Kind.LOGIN,
            action="login",
            success=True,
            method="screen_sharing",
        ),
        shape(
            "Authentication: FAILED :: User Name: ",
            rf"{_USER} :: Viewer Address: {ADDRESS} :: Type: .*",
            kind=Kind.LOGIN,
            action="login_failed",
            success=False,
            method="screen_sharing",
        ),
    ),
)

LOGIN_WINDOW: Final = Table(
    frozenset({"loginwindow", "login", "sessionlogoutd"}),
    (
        shape("", r".*login state: LoginComplete.*", kind=Kind.LOGIN, action="login", success=True, method="console"),
        shape("", r".*login state: (?:Logout|SessionEnd).*", kind=Kind.LOGOUT, action="logout"),
        shape("", r".*APEventTouchIDMatch.*", action="unlocked", method="touch_id"),
        shape("", r".*CA sending unlock success to dispatch.*", action="unlocked"),
        shape(
            "",
            r".*sendSystemBSDNotification: com\.apple\.system\.loginwindow\.shutdown[iI]nitiated.*",
            kind=Kind.SERVICE,
            action="shutdown_requested",
        ),
        shape(
            "",
            r".*sendSystemBSDNotification: com\.apple\.system\.loginwindow\.restart[iI]nitiated.*",
            kind=Kind.SERVICE,
            action="reboot_requested",
        ),
        shape("USER_PROCESS: ", r"(?P<session>[0-9]+) (?P<terminal>[^ ]+)", action="session_opened"),
        shape(
            "DEAD_PROCESS: ",
            r"(?P<session>[0-9]+) (?P<terminal>[^ ]+)",
            kind=Kind.LOGOUT,
            action="session_closed",
        ),
    ),
)

DIRECTORY: Final = Table(
    frozenset({"opendirectoryd"}),
    (
        shape(
            "Authentication failed for ",
            rf"{_USER} with result .*",
            kind=Kind.LOGIN,
            action="authentication_failed",
        ),
        shape(
            "",
            r".*Authentication failed[^O]{0,100}ODErrorCredentials.*",
            kind=Kind.LOGIN,
            action="authentication_failed",
        ),
    ),
)

AUTHORIZATION: Final = Table(
    frozenset({"authd", "authorizationhost", "SecurityAgent", "com.apple.SecurityServer", "securityd"}),
    (
        shape(
            "Failed to authenticate user <",
            rf"{_USER}> \(error: -?[0-9]+\)\.?",
            kind=Kind.LOGIN,
            action="login_failed",
            success=False,
            method="password",
        ),
        # Rights such as system.privilege.admin; programs of the system ask for com.apple.* all the time.
        shape(
            "Succeeded authorizing right '",
            rf"{_RIGHT}' by client '(?P<command>[^']*)'.*",
            kind=Kind.PRIVILEGE,
            action="authorized",
            success=True,
        ),
        shape(
            "Failed to authorize right '",
            rf"{_RIGHT}' by client '(?P<command>[^']*)'.*",
            kind=Kind.PRIVILEGE,
            action="authorization_refused",
            success=False,
        ),
    ),
)

LAUNCHD: Final = Table(
    frozenset({"launchd"}),
    (
        shape(
            "Setting service ",
            r"(?P<service>[^ ]+) to enabled(?: \(.*\))?",
            kind=Kind.SERVICE,
            action="enabled",
            success=True,
        ),
        shape(
            "Setting service ",
            r"(?P<service>[^ ]+) to disabled(?: \(.*\))?",
            kind=Kind.SERVICE,
            action="disabled",
            success=True,
        ),
    ),
)

TABLES: Final = (KERNEL, SCREEN_SHARING, LOGIN_WINDOW, DIRECTORY, AUTHORIZATION, LAUNCHD)

_OF: Final = {program: table.shapes for table in TABLES for program in table.programs}


def read_macos_message(program: str | None, message: str) -> dict[str, Any]:
    """Return the fields of a `LogEvent` that a message says; none for one that is not known."""
    for one in _OF.get(program or "", ()):
        said = one.read(message)
        if said is not None:
            for name in ("device_vendor", "device_product"):
                if name in said:
                    said[name] = said[name].lower().zfill(4)  # four digits, as on other systems
            return said
    return read_message(program, message)
