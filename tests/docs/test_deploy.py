"""The systemd units of the documentation are such as systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["deploy", "logs-service"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_in_the_unit(page: str, tmp_path: Path) -> None:
    match = re.search(r"^```ini\n(.*?)^```$", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert match is not None
    # Only the program is another one: that of the page is not on this machine.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", match[1], flags=re.MULTILINE)
    unit = tmp_path / "shop-jobs.service"
    unit.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # Other units of the machine may have faults of their own.
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []
    assert done.returncode == 0, done.stderr
