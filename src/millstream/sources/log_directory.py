"""The log directory of a Unix system: which files are looked for in it, and who writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

LOG_DIRECTORY: Final = Path("/var/log")

PROGRAMS: Final[Mapping[str, str | None]] = {
    # Written by the syslog daemon, for many programs: each line names its own.
    "syslog": None,  # Debian, Ubuntu
    "messages": None,  # Red Hat, SUSE, Alpine
    "auth.log": None,
    "secure": None,
    "kern.log": None,
    "daemon.log": None,
    "user.log": None,
    "cron.log": None,
    "cron": None,
    "mail.log": None,
    "maillog": None,
    "ufw.log": None,
    "system.log": None,  # macOS
    "install.log": None,
    # Written by one program, whose lines do not name it.
    "dpkg.log": "dpkg",
    "alternatives.log": "update-alternatives",
    "apt/history.log": "apt",
    "unattended-upgrades/unattended-upgrades.log": "unattended-upgrades",
    "dnf.log": "dnf",
    "yum.log": "yum",
    "zypper.log": "zypper",
    "pacman.log": "pacman",
    "fail2ban.log": "fail2ban",
    "cloud-init.log": "cloud-init",
    "boot.log": "boot",
    "fontconfig.log": "fontconfig",
}
"""The files that are looked for below the log directory, and who writes them where their lines do not say."""


def system_files(directory: Path = LOG_DIRECTORY, *, own_only: bool = False) -> list[Path]:
    """Return the paths of `PROGRAMS` below a log directory.

    Args:
        own_only: Leave those out that the syslog daemon writes: where there is a journal, it has the same lines.
    """
    return [directory / name for name, program in PROGRAMS.items() if program is not None or not own_only]


def program_of(path: str, directory: Path = LOG_DIRECTORY) -> str | None:
    """Return who writes a file, for lines that do not say it; None where they do, or nobody knows."""
    try:
        return PROGRAMS.get(Path(path).relative_to(directory).as_posix())
    except ValueError:
        return None
