"""Which log decides whether a login succeeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.sources.linux import has_login_text, login_sources


def test_a_text_log_has_the_logins_only_while_a_syslog_daemon_runs(tmp_path: Path) -> None:
    text, syslog = tmp_path / "auth.log", tmp_path / "log"
    text.touch()
    assert not has_login_text([text], syslog)
    syslog.touch()
    assert has_login_text([text], syslog)
    text.unlink()
    assert not has_login_text([text], syslog)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], ["login records"]),
        (["var/log/wtmp", "var/lib/lastlog/lastlog2.db"], ["login records"]),
        (["var/log/wtmp", "var/lib/wtmpdb/wtmp.db", "var/lib/lastlog/lastlog2.db"], ["login records", "wtmpdb"]),
        (["var/lib/lastlog/lastlog2.db", "var/log/lastlog"], ["login records", "lastlog2"]),
        (["var/log/lastlog"], ["login records", "lastlog"]),
        (["run/utmp", "var/log/lastlog"], ["login records"]),
    ],
)
def test_of_several_logs_of_logins_one_is_read(tmp_path: Path, files: list[str], names: list[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = login_sources(decides=True, records_first=9, follow=False, root=tmp_path)
    assert [source.name for source in found] == names
