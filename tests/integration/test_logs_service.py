"""`millstream logs` as a service of systemd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.test_logs import millstream

LINE = "2026-03-01T10:00:00+00:00 web sshd[1]: Failed password for ann from 203.0.113.9 port 4000 ssh2\n"
SOURCE = '[[source]]\nkind = "files"\npaths = ["auth.log"]\n'


def test_what_would_be_read_again_from_the_journal_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text(LINE)
    (tmp_path / "c.toml").write_text(SOURCE)
    said = []
    for is_journal in (True, False):
        with (tmp_path / "out").open("wb") as out:
            status = os.fstat(out.fileno())
            stream = f"{status.st_dev}:{status.st_ino if is_journal else status.st_ino + 1}"
            command = [
                sys.executable,
                "-m",
                "millstream",
                "logs",
                "--config",
                "c.toml",
                "--no-follow",
                "--since",
                "2026-01-01",
            ]
            done = subprocess.run(
                [*command, "--data", f"d{is_journal}"],
                cwd=tmp_path,
                env={**os.environ, "JOURNAL_STREAM": stream},
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                timeout=120,
                check=True,
            )
        said.append(((tmp_path / "out").read_text(), done.stderr))
    (in_journal, note), (elsewhere, nothing) = said
    assert in_journal == ""
    assert note.startswith("standard output is the systemd journal")
    assert "ann failed to log in" in elsewhere
    assert "journal" not in nothing
    stored = millstream("sql", "--data", "dTrue", "SELECT count(*) AS events FROM logs", folder=tmp_path)
    assert stored.stdout.split() == ["events", "1"]


def test_standard_output_may_be_closed(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text(LINE)
    (tmp_path / "c.toml").write_text(SOURCE)
    command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml", "--no-follow", "--data", "d"]
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=tmp_path, timeout=120, check=False
        )
        assert done.returncode == 0
    stored = millstream("sql", "--data", "d", "SELECT count(*) AS events FROM logs", folder=tmp_path)
    assert stored.stdout.split() == ["events", "1"]
