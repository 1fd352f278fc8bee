"""Logins, devices and auditd in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.errors import UsageError
from millstream.logs.config import parse_config
from millstream.logs.listeners import opened
from millstream.sources.audit import AuditSource
from millstream.sources.devices import DeviceSource
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.logins import LoginSource

TEXT = """
[[source]]
kind = "logins"
wtmp = ["FOLDER/wtmp"]
btmp = []
utmp = ""
databases = ["FOLDER/wtmp.db", "FOLDER/lastlog2.db", "FOLDER/lastlog"]
decides = false

[[source]]
kind = "devices"
subsystems = ["usb", "block"]

[[source]]
kind = "audit"
paths = ["FOLDER/audit.log"]
"""


def test_sources_of_this_host_open(tmp_path: Path) -> None:
    config = parse_config(TEXT.replace("FOLDER", str(tmp_path)), "logs.toml")
    with opened(config.sources, "logs.toml") as sources:
        kinds = [LoginSource, *[LoginDatabaseSource] * 3, DeviceSource, AuditSource]
        assert [type(source) for source in sources] == kinds
        assert [source.name for source in sources[1:4]] == ["wtmpdb", "lastlog2", "lastlog"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "logins"\nwtmp = []\nbtmp = []\nutmp = ""', "give the files to read"),
        ('kind = "devices"\nsubsystems = []', "give those of the kernel"),
        ('kind = "audit"\npaths = []', "give the files of auditd"),
    ],
)
def test_source_of_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_config(f"[[source]]\n{text}\n", "logs.toml")
