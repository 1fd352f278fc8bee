"""Files on the command line of `millstream logs`: what is read of them, in which order, what is said of others."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.integration.test_logs import accepted, failed, millstream, until
from tests.integration.test_sources_logins import record

from millstream.cli.application import run


def shown(printed: str) -> list[str]:
    return [json.loads(line)["event"]["user"] for line in printed.splitlines() if "event" in json.loads(line)]


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_several_files_are_shown_in_the_order_of_time(tmp_path: Path) -> None:
    write(tmp_path / "a.log", accepted(1, user="one"), accepted(4, user="four"))
    write(tmp_path / "b.log", accepted(2, user="two"), accepted(5, user="five"))
    with gzip.open(tmp_path / "c.log.gz", "wt") as file:
        file.write(f"{accepted(3, user='three')}\n")
    for given in (("a.log", "b.log", "c.log.gz"), ("--read", "b.log", "--read", "a.log", "c.log.gz"), ("*.log*",)):
        done = millstream("logs", *given, "--no-follow", "--json", folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert shown(done.stdout) == ["one", "two", "three", "four", "five"]
    # A look at files leaves nothing behind.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "b.log", "c.log.gz"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_what_is_there_is_shown_in_the_order_of_time_and_what_is_added_as_it_comes(tmp_path: Path) -> None:
    write(tmp_path / "a.log", accepted(1, user="one"), accepted(3, user="three"))
    write(tmp_path / "b.log", accepted(2, user="two"))
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(
            [sys.executable, "-m", "millstream", "logs", "a.log", "b.log", "--json"], cwd=tmp_path, stdout=out
        ) as process,
    ):
        try:
            until(lambda: len((tmp_path / "out").read_text().splitlines()) == 3, "what was there is shown")
            with (tmp_path / "b.log").open("a") as file:
                file.write(f"{accepted(0, user='zero')}\n")
            until(lambda: len((tmp_path / "out").read_text().splitlines()) == 4, "what was added is shown")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert shown((tmp_path / "out").read_text()) == ["one", "two", "three", "zero"]


def test_alerts_are_shown_in_the_order_of_time(tmp_path: Path) -> None:
    write(tmp_path / "a.log", *(failed(second, address="198.51.100.1") for second in range(700, 720)))
    write(tmp_path / "b.log", *(failed(second, address="198.51.100.2") for second in range(20)))
    done = millstream("logs", "a.log", "b.log", "--no-follow", "--json", folder=tmp_path)
    alerts = [json.loads(line)["alert"]["time"] for line in done.stdout.splitlines() if "alert" in json.loads(line)]
    assert len(alerts) >= 2
    assert alerts == sorted(alerts)


def test_a_folder_means_the_files_below_it_that_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "bundle" / "auth.log", accepted(2, user="two"))
    write(tmp_path / "bundle" / "host" / "secure", accepted(1, user="one"))
    (tmp_path / "bundle" / "core").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "bundle" / ".hidden").write_text(accepted(3, user="three") + "\n")
    (tmp_path / "bundle" / "empty").touch()
    done = millstream("logs", "bundle", "--no-follow", "--json", folder=tmp_path)
    assert (done.returncode, shown(done.stdout)) == (0, ["one", "two"])
    for words in ("bundle is a folder: 2 of the 4 files below it are read", "core is no text", "empty is empty"):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "f is empty"),
        (os.urandom(5000), "f is no text"),
        (b"SQLite format 3\0" + bytes(2000), "f is a database of SQLite"),
        (b"LPKSHHRH" + bytes(200), "journalctl --file f"),
    ],
)
def test_a_file_that_is_no_log_is_an_error_that_says_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "f").write_bytes(content)
    done = millstream("logs", "--read", "f", "--no-follow", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_login_records_beside_a_text_log_do_not_count_an_attempt_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = record(6, 0, "ssh:notty", "eve", host=b"203.0.113.9")
    for folder in ("both", "records"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "btmp").write_bytes(tried)
    write(tmp_path / "both" / "auth.log", failed(1))
    assert run(["logs", str(tmp_path), "--no-follow", "--json", "--where", "NOT success"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines() if "event" in line]
    found = sorted(Path(event["source"]).relative_to(tmp_path).as_posix() for event in events)
    assert found == ["both/auth.log", "records/btmp"]


def test_an_archive_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "auth.log", accepted(1))
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(tmp_path / "auth.log", "auth.log")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.write(tmp_path / "auth.log", "auth.log")
    for name in ("a.tar", "a.tar.gz", "a.zip"):
        assert run(["logs", str(tmp_path / name), "--no-follow"]) == 2
        assert f"{name} is an archive; unpack it, and give the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "encoding", ["utf-8", "latin-1", "shift-jis", "gb18030", "cp1251", "utf-8-sig", "utf-16", "utf-16-be"]
)
def test_text_in_any_encoding_of_bytes_is_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    words = {"shift-jis": "ログイン成功", "gb18030": "登录成功", "cp1251": "вход выполнен"}.get(encoding, "größer")
    (tmp_path / "a.log").write_bytes("".join(f"\x1b[32m{words}\x1b[0m {n}\r\n" for n in range(50)).encode(encoding))
    assert run(["logs", str(tmp_path / "a.log"), "--no-follow", "--all", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 50


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "f", accepted(1))
    (tmp_path / "f").chmod(0)
    done = millstream("logs", "f", "--no-follow", folder=tmp_path)
    assert (done.returncode, "f may not be read by this user" in done.stderr) == (2, True)


def test_an_entry_of_a_slow_query_log_is_one_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for second in (1, 2):
        with (tmp_path / "slow.log").open("a") as file:
            file.write(
                f"# Time: 2026-03-01T10:00:0{second}.123456Z\n# User@Host: ann[ann] @ web [10.0.0.1]  Id:     8\n"
                "# Query_time: 2.5  Lock_time: 0.1 Rows_sent: 1  Rows_examined: 9\nSET timestamp=1772359197;\n"
                f"SELECT {second}\nFROM orders;\n"
            )
    (tmp_path / "app.log").write_text("2026-03-01 10:00:00 INFO a\n2026-03-01 10:00:00 INFO b\n")
    assert run(["logs", str(tmp_path), "--no-follow", "--all", "--json"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert [event["message"] for event in events] == ["a", "b", "SELECT 1\nFROM orders", "SELECT 2\nFROM orders"]
    assert [event["user"] for event in events] == [None, None, "ann", "ann"]


def test_a_file_with_a_hole_in_it_is_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(3000) + f"{accepted(1, user='ann')}\n".encode())
    done = millstream("logs", "f", "--no-follow", "--json", folder=tmp_path)
    assert shown(done.stdout) == ["ann"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["chek"], ["'chek'", "show, check, reparse"]),
        (["gone.log"], ["gone.log: there is no such file"]),
        (["*.gone"], ["*.gone: no file is named so"]),
        (["reparse", "x.log"], ["x.log", "--data DIR"]),
        (["nothing/"], ["nothing: there is no file in the folder"]),
        (["check"], ["millstream logs check FILE"]),
        (["check", "gone.toml"], ["the configuration gone.toml cannot be read: No such file or directory"]),
        (["check", "auth.log"], ["auth.log is not in TOML"]),
        (["auth.log", "--multiline", "cobol"], ["--multiline", "'cobol'", "traces"]),
        (["auth.log", "--format", "log"], ["--format: there is no format 'log'"]),
        (["auth.log", "--where", "user = root"], ["--where", "a text goes into single quotes: 'root'"]),
    ],
)
def test_words_that_mean_nothing_are_an_error(tmp_path: Path, given: list[str], words: list[str]) -> None:
    write(tmp_path / "auth.log", accepted(1))
    (tmp_path / "nothing").mkdir()
    done = millstream("logs", *given, "--no-follow", folder=tmp_path)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


def test_a_log_that_is_missing_is_told_of_in_terms_of_the_option_given(tmp_path: Path) -> None:
    for option, place in (("--data", "none"), ("--url", "none.db")):
        done = millstream("sql", option, place, "SELECT 1", folder=tmp_path)
        assert (done.returncode != 0, f"{option} names another" in done.stderr) == (True, True)


def test_what_is_kept_of_files_is_where_data_says(tmp_path: Path) -> None:
    write(tmp_path / "a.log", accepted(1, user="ann"))
    assert millstream("logs", "a.log", "--no-follow", "--data", "kept", folder=tmp_path).returncode == 0
    done = millstream("sql", "--data", "kept", "--json", "SELECT host FROM logs", folder=tmp_path)
    assert [json.loads(line)["host"] for line in done.stdout.splitlines()] == ["web"]


def test_what_is_piped_in_is_shown_without_what_was_piped_in_before(tmp_path: Path) -> None:
    for option, user in (("--stdin", "ann"), ("-", "bob")):
        command = [sys.executable, "-m", "millstream", "logs", option, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, input=f"{accepted(1, user=user)}\n", capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, shown(done.stdout)) == (0, [user]), done.stderr


def test_format_is_seen_from_all_first_lines_of_a_file_before_any_is_stored(tmp_path: Path) -> None:
    banner = ["Application started, all is well", "listening at port 80"]
    lines = [json.dumps({"time": f"2026-03-01T10:00:{n:02}Z", "level": "info", "msg": f"m{n}"}) for n in range(8)]
    write(tmp_path / "app.log", *banner, *lines)
    done = millstream("logs", "app.log", "--no-follow", "--all", "--json", folder=tmp_path)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert {event["format"] for event in events} == {"json"}
    assert len(events) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_where_nothing_is_shown_it_is_said_that_what_comes_will_be(tmp_path: Path) -> None:
    write(tmp_path / "plain.log", "it works")
    command = [sys.executable, "-m", "millstream", "logs", "plain.log"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("none of 1 events is shown here; --all and --since show more; what happens is shown")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_place_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = millstream("logs", "--data", "file/inside", "--no-follow", folder=tmp_path)
    assert done.returncode != 0
    assert "the log cannot be kept in file/inside: Not a directory; --data DIR names another place" in done.stderr


def test_windows_event_log_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "evtx", None)  # as where it is not installed
    (tmp_path / "security").write_bytes(b"ElfFile\0" + bytes(4096))
    assert run(["logs", str(tmp_path / "security"), "--no-follow"]) == 2
    assert "security is a Windows event log: pip install 'millstream[evtx]' reads it" in capsys.readouterr().err


def test_a_stack_trace_is_one_event_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "ValueError: no"]
    write(tmp_path / "a.log", "2026-03-01 10:00:00,123 - a - ERROR - it broke", *trace)
    counts = []
    for options in ([], ["--multiline", "traces"]):
        assert run(["logs", str(tmp_path / "a.log"), "--no-follow", "--all", "--json", *options]) == 0
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts == [4, 1]
    assert run(["logs", str(tmp_path / "a.log"), "--no-follow", "--multiline", "traces"]) == 0
    assert capsys.readouterr().out.endswith(" a: it broke (+3 lines)\n")


def test_a_row_that_the_event_viewer_saved_is_one_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = (
        "Audit Failure,3/1/2026 10:00:00 AM,Microsoft-Windows-Security-Auditing,4625,Logon,"
        '"An account failed to log on.\n\nAccount For Which Logon Failed:\n\tAccount Name:\t\tann"\n'
    )
    text = f"\ufeffKeywords,Date and Time,Source,Event ID,Task Category\n{row}{row}"
    (tmp_path / "Security.csv").write_text(text, encoding="utf-8", newline="\r\n")
    assert run(["logs", str(tmp_path / "Security.csv"), "--no-follow", "--json", "--where", "kind = 'login'"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines() if "event" in line]
    assert [(event["user"], event["action"]) for event in events] == [("ann", "login_failed")] * 2
