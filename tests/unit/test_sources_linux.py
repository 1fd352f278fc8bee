"""Which log decides whether a login succeeded."""

from __future__ import annotations

from pathlib import Path

from millstream.sources.linux import has_login_text


def test_a_text_log_has_the_logins_only_while_a_syslog_daemon_runs(tmp_path: Path) -> None:
    text, syslog = tmp_path / "auth.log", tmp_path / "log"
    text.touch()
    assert not has_login_text([text], syslog)
    syslog.touch()
    assert has_login_text([text], syslog)
    text.unlink()
    assert not has_login_text([text], syslog)
