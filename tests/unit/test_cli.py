"""The `millstream` command, as a person or a script meets it. Commands run in this process on a real file."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.command_line import Command, command_line

from millstream import App
from millstream.cli.tail import place_of
from millstream.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    monkeypatch.delenv("MILLSTREAM_DURABILITY", raising=False)
    return tmp_path


@pytest.fixture
def millstream(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""

    return command_line(capsys)


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command line as a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "millstream", *arguments],
        cwd=folder,
        env={**os.environ, "MILLSTREAM_URL": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- help, errors, common options -----------------------------------------------------------------------------------


def test_help_lists_every_command(millstream: Command) -> None:
    result = millstream("--help")
    assert result.code == 0
    for name in ("demo", "topics", "put", "tail", "sql", "run", "queue", "dead", "replay", "top", "doctor", "backup"):
        assert f"  {name} " in result.out


def test_without_arguments_it_prints_its_help(millstream: Command) -> None:
    result = millstream()
    assert "Usage: millstream" in result.out + result.err
    assert "millstream: Usage" not in result.err
    assert len((result.out + result.err).splitlines()) > 20


def test_version_is_that_of_the_package(millstream: Command) -> None:
    from millstream import __version__

    assert millstream("--version") == (0, f"millstream {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["topics", "--colour"], ["topcis"], ["put"], ["tail"]])
def test_a_wrong_command_line_is_one_line_and_code_2(millstream: Command, arguments: list[str]) -> None:
    result = millstream(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("millstream: ")
    assert result.err.count("\n") == 1


def test_a_mistyped_command_is_answered_with_the_likely_one(millstream: Command) -> None:
    assert "'topics'" in millstream("topcis").err


def test_errors_are_objects_with_json(millstream: Command) -> None:
    result = millstream("topics", "--json")
    assert result.code == 3
    assert result.out == ""
    error = json.loads(result.err)["error"]
    assert error["type"] == "StorageError"
    assert error["exit_code"] == 3
    assert error["retryable"] is False


def test_debug_raises_the_error_itself(millstream: Command) -> None:
    from millstream.errors import StorageError

    with pytest.raises(StorageError):
        millstream("topics", "--debug")


@pytest.mark.parametrize("command", [["topics"], ["tail", "x"], ["sql", "SELECT 1"], ["doctor"], ["backup", "copy.db"]])
def test_a_command_that_looks_makes_no_file(millstream: Command, folder: Path, command: list[str]) -> None:
    result = millstream(*command)
    assert result.code == 3
    assert "there is no log at millstream.db" in result.err
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are Unicode there")
def test_a_value_that_is_no_utf_8_is_told(millstream: Command) -> None:
    result = millstream("put", "t", os.fsdecode(b'{"a": "\xff"}'))
    assert result.code == 2
    assert "is not UTF-8: " in result.err


FAILING = """
from millstream import App
app = App("own.db")
numbers = app.topic("numbers", dict)

@app.stream(numbers)
def divided(s):
    s.map(lambda value: {"n": value["n"] / 0}).to("divided")
"""


def test_what_an_application_raises_is_told_from_its_own_line_on(millstream: Command, folder: Path) -> None:
    (folder / "own.py").write_text(FAILING)
    millstream("put", "numbers", '{"n": 1}', "--url", "own.db")
    result = millstream("run", "own.py", "--until", "now")
    assert result.code == 1
    assert "own.py" in result.err
    assert "ZeroDivisionError" in result.err
    assert "of the record at partition 0, offset 0" in result.err
    assert f"{os.sep}millstream{os.sep}stream{os.sep}" not in result.err
    error = json.loads(millstream("--json", "run", "own.py", "--until", "now").err.splitlines()[-1])["error"]
    assert (error["type"], error["exit_code"]) == ("ZeroDivisionError", 1)
    with pytest.raises(ZeroDivisionError):
        millstream("--debug", "run", "own.py", "--until", "now")


def test_an_error_of_ours_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from millstream.cli.errors import print_own_error
    from millstream.durations import duration

    with pytest.raises(Exception) as raised:
        duration(object())  # type: ignore[arg-type]
    raised.value.__traceback__ = raised.value.__traceback__.tb_next if raised.value.__traceback__ else None
    assert not print_own_error(raised.value, as_json=False)
    assert capsys.readouterr().err == ""


def test_a_command_that_finds_no_log_names_those_beside_it(millstream: Command) -> None:
    """Such as that of an `App("shop.db")`, looked at by a command without --url."""
    millstream("put", "t", '{"a": 1}', "--url", "shop.db")
    result = millstream("topics")
    assert result.err == "millstream: there is no log at millstream.db; beside it: shop.db; say --url shop.db\n"
    assert "--data names another" in millstream("topics", "--data", ".").err


def test_common_options_may_stand_before_or_after_the_command(millstream: Command) -> None:
    millstream("put", "t", '{"a": 1}', "--url", "other.db")
    before = millstream("--url", "other.db", "--json", "topics")
    after = millstream("topics", "--url", "other.db", "--json")
    assert before == after
    assert before.objects[0]["topic"] == "t"


def test_the_environment_names_the_log_and_an_option_goes_before_it(
    millstream: Command, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("MILLSTREAM_URL", "environment.db")
    millstream("put", "t", '{"a": 1}')
    millstream("put", "t", '{"a": 1}', "--url", "option.db")
    assert {path.name for path in folder.glob("*.db")} == {"environment.db", "option.db"}


def test_data_names_the_folder_of_a_log(millstream: Command, folder: Path) -> None:
    (folder / "data").mkdir()
    millstream("put", "t", '{"a": 1}', "--data", "data")
    assert (folder / "data" / "millstream.db").exists()
    assert millstream("topics", "--data", "data", "--url", "x.db").code == 2


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    with App(str(folder / "millstream.db")) as app:
        app.topic("t", dict).extend([{"n": n, "text": "x" * 100} for n in range(20_000)])
    command = f"'{sys.executable}' -m millstream tail t --from start | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


# --- put ----------------------------------------------------------------------------------------------------------


def test_arguments_are_stored_and_come_back(millstream: Command) -> None:
    result = millstream("put", "orders", '{"id": 1}', '{"id": 2, "note": "x"}')
    assert result == (0, "stored 2 records in orders, offsets [0, 2)\n", "made the topic orders\n")
    assert millstream("tail", "orders", "--values").objects == [{"id": 1}, {"id": 2, "note": "x"}]


def test_a_mistyped_topic_is_told(millstream: Command) -> None:
    assert millstream("put", "orders", '{"id": 1}').code == 0
    assert millstream("put", "orders", '{"id": 2}').err == ""
    result = millstream("put", "ordrs", '{"id": 3}')
    assert result == (0, "stored 1 record in ordrs, offsets [0, 1)\n", "made the topic ordrs; there is also orders\n")


def test_one_bad_argument_stores_none(millstream: Command) -> None:
    result = millstream("put", "orders", '{"id": 1}', "[2]")
    assert result.code == 2
    assert "value 2, '[2]', is JSON, but not an object" in result.err
    assert "no topics yet" in millstream("topics").out


def test_raw_values_are_kept_as_they_are(millstream: Command) -> None:
    assert millstream("put", "lines", "--raw", "not json", "{").code == 0
    assert millstream("tail", "lines", "--values").out == "not json\n{\n"
    # The topic is raw from then on, told or not.
    assert millstream("put", "lines", "also not json").code == 0


def test_key_and_time_name_fields_of_a_new_topic(millstream: Command) -> None:
    millstream("put", "t", '{"who": "ann", "at": "2026-01-31T12:00:00Z"}', "--key", "who", "--time", "at")
    (record,) = millstream("tail", "t", "--json").objects
    assert record["key"] == "ann"
    assert record["event_time"] == "2026-01-31T12:00:00Z"


def test_a_file_is_stored_line_by_line_in_order(millstream: Command, folder: Path) -> None:
    Path("in.ndjson").write_text("".join(f'{{"n": {n}}}\n' for n in range(1000)))
    result = millstream("put", "t", "--file", "in.ndjson", "--json")
    assert result.code == 0
    assert result.objects[0]["stored"] == 1000
    assert [row["n"] for row in millstream("sql", "--json", "SELECT n FROM t ORDER BY _offset").objects] == [
        *range(1000)
    ]


def test_a_gzip_file_is_read_as_its_content(millstream: Command, folder: Path) -> None:
    Path("in.gz").write_bytes(gzip.compress(b'{"n": 1}\n{"n": 2}\n'))
    assert millstream("put", "t", "--file", "in.gz").out == "stored 2 records in t\n"


def test_bad_lines_are_set_aside_with_number_reason_and_bytes(millstream: Command, folder: Path) -> None:
    Path("in.ndjson").write_bytes(b'{"n": 1}\noops\n\n[3]\n{"n": "\xff"}\n{"n": 2}')
    result = millstream("put", "t", "--file", "in.ndjson", "--json")
    assert result.code == 5
    summary = result.objects[0]
    assert (summary["lines"], summary["stored"], summary["bad"], summary["blank"]) == (6, 2, 3, 1)
    assert [bad["line"] for bad in summary["first_bad"]] == [2, 4, 5]  # type: ignore[attr-defined, index]
    with App("millstream.db") as app:
        dead = [record.value for record in app.topic("t.dead").read()]
    assert [letter["value"] for letter in dead] == [b"oops", b"[3]", b'{"n": "\xff"}']
    assert dead[0]["message"].startswith("in.ndjson line 2 is not JSON")
    assert [row["n"] for row in millstream("sql", "--json", "SELECT n FROM t").objects] == [1, 2]


def test_a_line_that_does_not_fit_the_topic_is_set_aside_alone(millstream: Command, folder: Path) -> None:
    millstream("put", "t", '{"n": 1}')
    Path("in.ndjson").write_text("".join(f'{{"n": {n}}}\n' for n in range(100)).replace('{"n": 57}', '{"n": "x"}'))
    result = millstream("put", "t", "--file", "in.ndjson")
    assert result.code == 5
    assert result.out == "stored 99 records in t\n"
    assert "line 58 " in result.err
    assert "set aside 1 bad line in t.dead" in result.err


def test_a_new_topic_takes_all_lines_of_a_file_whatever_comes_late(millstream: Command, folder: Path) -> None:
    lines = [*(f'{{"n": {n}}}' for n in range(10_000)), '{"n": "ten thousand", "late": [1]}']
    Path("in.ndjson").write_text("\n".join(lines))
    assert millstream("put", "t", "--file", "in.ndjson").code == 0
    assert millstream("tail", "t", "-n", "1", "--values").objects == [{"n": "ten thousand", "late": [1]}]


def test_strict_stops_at_the_first_bad_line_and_says_how_to_go_on(millstream: Command, folder: Path) -> None:
    Path("in.ndjson").write_text('{"n": 1}\noops\n{"n": 3}\n')
    result = millstream("put", "t", "--file", "in.ndjson", "--strict")
    assert result.code == 1
    assert "in.ndjson line 2 is not JSON" in result.err
    assert "--skip 0 goes on there" in result.err
    assert "t.dead" not in millstream("topics").out
    Path("in.ndjson").write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    assert millstream("put", "t", "--file", "in.ndjson", "--strict", "--skip", "1").code == 0
    assert [row["n"] for row in millstream("sql", "--json", "SELECT n FROM t").objects] == [2, 3]


def test_raw_lines_of_a_file_keep_every_byte_but_their_ends(millstream: Command, folder: Path) -> None:
    Path("in.log").write_bytes(b"one\r\n\n\xfftwo\nlast")
    assert millstream("put", "lines", "--raw", "--file", "in.log").code == 0
    with App("millstream.db") as app:
        assert [record.value for record in app.topic("lines").read()] == [b"one", b"", b"\xfftwo", b"last"]


def test_a_missing_file_is_one_line(millstream: Command, folder: Path) -> None:
    result = millstream("put", "t", "--file", "nowhere.ndjson")
    assert result == (1, "", "millstream: nowhere.ndjson: No such file or directory\n")


@pytest.mark.parametrize(
    "arguments",
    [["t", "{}", "--file", "x"], ["t", "--raw", "--key", "k", "v"], ["t", "{}", "--skip", "3"]],
)
def test_contradicting_options_of_put_are_refused(millstream: Command, arguments: list[str]) -> None:
    assert millstream("put", *arguments).code == 2


def test_lines_from_a_pipe_are_stored_as_they_come(folder: Path) -> None:
    process = start("put", "t", "--json", folder=folder)
    assert process.stdin
    with App(str(folder / "millstream.db")) as app:
        for number in (1, 2):
            process.stdin.write(f'{{"n": {number}}}\n')
            process.stdin.flush()
            seen = app.topic("t", dict).wait({0: number - 1}, "60s")
            assert seen
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["stored"] == 2


@pytest.mark.parametrize(("count", "rate"), [(2, ""), (2000, " in 2.0 s, 1,000 a second")])
def test_a_rate_is_that_of_many_records(
    millstream: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, rate: str
) -> None:
    Path("in.jsonl").write_text('{"n": 1}\n' * count)
    seconds = itertools.count(0.0, 2.0)
    monkeypatch.setattr("millstream.cli.put.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert millstream("put", "t", "--file", "in.jsonl").out == f"stored {count:,} records in t{rate}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_says_how_much_is_stored_and_where_to_go_on(folder: Path) -> None:
    process = start("put", "t", folder=folder)
    assert process.stdin
    process.stdin.write('{"n": 1}\n{"n": 2}\n')
    process.stdin.flush()
    with App(str(folder / "millstream.db")) as app:
        assert app.topic("t", dict).wait({0: 0}, "60s")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == "stored 2 records in t\n"
    assert err == "interrupted after line 2; --skip 2 goes on there\n"


# --- tail ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def numbers(folder: Path) -> None:
    with App("millstream.db") as app:
        app.topic("n", dict).extend([{"n": n} for n in range(100)])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], range(90, 100)),
        (["-n", "3"], range(97, 100)),
        (["-n", "0"], range(0)),
        (["--from", "start"], range(100)),
        (["--from", "start", "-n", "2"], range(2)),
        (["--from", "98"], range(98, 100)),
        (["--from", "end"], range(0)),
        (["--from", "2020-01-01"], range(100)),
        (["--from", "1h", "-n", "1"], range(1)),
        (["--from", "2999-01-01T00:00Z"], range(0)),
    ],
)
@pytest.mark.usefixtures("numbers")
def test_tail_prints_the_records_asked_for(millstream: Command, arguments: list[str], expected: range) -> None:
    result = millstream("tail", "n", "--values", *arguments)
    assert result.code == 0, result.err
    assert [value["n"] for value in result.objects] == [*expected]


@pytest.mark.usefixtures("numbers")
def test_tail_of_an_unknown_topic_makes_none(millstream: Command) -> None:
    result = millstream("tail", "m")
    assert result.code == 2
    assert "there is no topic 'm'" in result.err
    assert "m " not in millstream("topics").out


def test_values_of_tail_go_into_put_again(millstream: Command, folder: Path) -> None:
    millstream("put", "t", '{"text": "ü\\n", "n": 1.5, "deep": {"a": [1, null]}}')
    Path("copy.ndjson").write_text(millstream("tail", "t", "--values").out)
    millstream("put", "copy", "--file", "copy.ndjson")
    assert millstream("tail", "copy", "--values").out == millstream("tail", "t", "--values").out


def test_a_record_cannot_steer_the_terminal(millstream: Command) -> None:
    millstream("put", "lines", "--raw", "\x1b[31mred\x07")
    assert "\x1b" not in millstream("tail", "lines").out
    assert "\\x1b[31mred" in millstream("tail", "lines").out


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.usefixtures("numbers")
def test_follow_shows_new_records_and_ends_with_0_on_ctrl_c(folder: Path) -> None:
    process = start("tail", "n", "-n", "1", "--follow", "--values", folder=folder)
    assert process.stdout
    assert json.loads(process.stdout.readline()) == {"n": 99}
    with App(str(folder / "millstream.db")) as app:
        app.topic("n", dict).append({"n": 100})
        assert json.loads(process.stdout.readline()) == {"n": 100}
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_places_are_offsets_times_and_ages() -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert place_of("start", now=now) == "start"
    assert place_of("17", now=now) == 17
    assert place_of("15m", now=now) == now - timedelta(minutes=15)
    assert place_of("2026-01-31T11:00Z", now=now) == now - timedelta(hours=1)
    moment = place_of("2026-01-31", now=now)
    assert isinstance(moment, datetime)
    assert moment.tzinfo is not None
    with pytest.raises(UsageError, match="no place in a topic"):
        place_of("yesterday", now=now)


# --- topics, sql, doctor, backup, run -------------------------------------------------------------------------------


def test_topics_shows_no_lag_of_who_only_writes(millstream: Command, folder: Path) -> None:
    (folder / "auth.log").write_text(
        "2026-03-01T10:00:00+00:00 web sshd[1]: Failed password for ann from 203.0.113.9 port 4 ssh2\n"
    )
    assert millstream("logs", "auth.log", "--no-follow", "--data", "kept").code == 0
    shown = millstream("topics", "--data", "kept").out
    assert "rules (0)" in shown
    assert "system-follower" not in shown


@pytest.mark.usefixtures("numbers")
def test_topics_shows_records_and_how_far_behind_each_group_is(millstream: Command, folder: Path) -> None:
    with App("millstream.db") as app:
        app.topic("n", dict).group("readers")
    lines = millstream("topics").out.splitlines()
    assert lines[0].split() == ["TOPIC", "RECORDS", "PARTITIONS", "SIZE", "GROUPS", "(LAG)"]
    assert lines[1].split()[:3] == ["n", "100", "1"]
    assert lines[1].endswith("readers (100)")
    (topic,) = millstream("topics", "--json").objects
    assert topic["end_offsets"] == [100]
    assert topic["fields"] == ["n"]


def test_an_empty_log_says_what_to_do(millstream: Command, folder: Path) -> None:
    with App("millstream.db") as app:
        app.log.topics()
    assert "millstream put" in millstream("topics").out
    assert millstream("topics", "--json").out == ""


@pytest.mark.usefixtures("numbers")
def test_sql_writes_a_table_csv_or_json(millstream: Command) -> None:
    query = "SELECT n, 'a,b' AS text FROM n WHERE n < 2 ORDER BY n"
    assert millstream("sql", query).out == "n  text\n0  a,b\n1  a,b\n"
    assert millstream("sql", "--csv", query).out == 'n,text\n0,"a,b"\n1,"a,b"\n'
    assert millstream("sql", "--json", query).out == '{"n":0,"text":"a,b"}\n{"n":1,"text":"a,b"}\n'


@pytest.mark.usefixtures("numbers")
@pytest.mark.parametrize("query", ["SELECT", "SELECT x FROM n", "SELECT * FROM nowhere", ""])
def test_a_wrong_query_is_one_line_and_code_2(millstream: Command, query: str) -> None:
    result = millstream("sql", query)
    assert result.code == 2, result
    assert result.err.count("\n") == 1


@pytest.mark.usefixtures("numbers")
def test_doctor_of_a_sound_log_exits_with_0(millstream: Command) -> None:
    result = millstream("doctor")
    assert result.code == 0
    assert result.out.endswith("no problems found\n")
    (report,) = millstream("doctor", "--json").objects
    assert report["records"] == 100
    assert report["findings"] == []


@pytest.mark.usefixtures("numbers")
def test_doctor_of_a_damaged_log_says_so_and_fails(millstream: Command, folder: Path) -> None:
    import apsw

    connection = apsw.Connection(str(folder / "millstream.db"))
    connection.execute("UPDATE partition SET end_offset = end_offset + 5")
    connection.close()
    result = millstream("doctor")
    assert result.code == 1
    assert "problem in " in result.out


@pytest.mark.usefixtures("numbers")
def test_a_backup_is_a_log_with_the_same_records(millstream: Command) -> None:
    assert millstream("backup", "copy.db").code == 0
    query = ("sql", "--json", "SELECT count(*) AS c, sum(n) AS s FROM n")
    assert millstream(*query, "--url", "copy.db").objects == [{"c": 100, "s": 4950}]
    assert millstream("backup", "copy.db").code == 2


@pytest.mark.usefixtures("numbers")
def test_a_backup_that_cannot_be_written_names_the_copy(millstream: Command, folder: Path) -> None:
    result = millstream("backup", os.path.join("nowhere", "copy.db"))
    assert result.code == 3
    assert f"cannot open {os.path.join('nowhere', 'copy.db')}: there is no folder nowhere" in result.err
    (folder / "copy.db.partial").mkdir()
    assert "copy.db" in millstream("backup", "copy.db").err
    assert not (folder / "copy.db").exists()
    (folder / "copy.db.partial").rmdir()
    assert millstream("backup", "copy.db").code == 0


def test_a_foreign_file_is_left_as_it_is(millstream: Command, folder: Path) -> None:
    Path("millstream.db").write_text("my thesis")
    result = millstream("put", "t", '{"a": 1}')
    assert result.code == 3
    assert Path("millstream.db").read_text() == "my thesis"


APPLICATION = """
from millstream import App
app = App()
numbers = app.topic("n", dict)

@app.queue(numbers)
def double(value):
    print("double", 2 * value["n"])

@app.queue(numbers)
def triple(value):
    print("triple", 3 * value["n"])
"""


@pytest.mark.usefixtures("numbers")
def test_run_handles_all_there_is_of_the_readers_asked_for(folder: Path) -> None:
    (folder / "app.py").write_text(APPLICATION)
    process = start("run", "app.py", "--until", "now", "--only", "double", folder=folder)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[0] == "running app.py: queue double"
    assert sorted(lines[1:]) == sorted(f"double {2 * n}" for n in range(100))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_run_goes_on_until_ctrl_c_and_exits_with_0(folder: Path) -> None:
    (folder / "app.py").write_text(APPLICATION)
    process = start("run", "app.py", folder=folder)
    assert process.stdout
    assert process.stdout.readline() == "running app.py: queue double, queue triple\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


SLOW = """
import pathlib
import time

from millstream import App

app = App("own.db")

@app.task
def slow() -> None:
    print("begun", flush=True)
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    print("finished", flush=True)

slow.send()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_a_stop_that_takes_its_time_says_what_for(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW)
    process = start("run", "slow.py", folder=folder)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "running slow.py: queue slow\n"
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "stopping: what was begun is finished first; Ctrl-C again leaves it\n"
    (folder / "go").touch()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "finished\n", "")


WATCHING = """
from millstream import App, File, files

app = App("own.db")

@app.on(files("inbox/*.txt", settle=0))
def load(file: File) -> None:
    print(file.name, flush=True)
"""


def test_a_folder_that_is_watched_is_no_news_in_the_log(folder: Path) -> None:
    (folder / "watching.py").write_text(WATCHING)
    process = start("run", "watching.py", folder=folder)
    assert process.stdout
    assert process.stdout.readline().startswith("running watching.py: queue load")
    for name in ("a.txt", "b.txt"):
        (folder / "inbox").mkdir(exist_ok=True)
        (folder / "inbox" / name).write_text("x")
        assert process.stdout.readline() == f"{name}\n"
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert "changes detected" not in err
    assert "change detected" not in err


def test_run_of_a_reader_that_is_not_there_names_those_that_are(folder: Path) -> None:
    (folder / "app.py").write_text(APPLICATION)
    process = start("run", "app.py", "--only", "half", folder=folder)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "double, triple" in err


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("numbers")
def test_a_shell_completes_commands_and_topics(folder: Path) -> None:
    def complete(words: str, last: int) -> list[str]:
        environment = {
            **os.environ,
            "MILLSTREAM_URL": "",
            "_MILLSTREAM_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(last),
        }
        command = [sys.executable, "-m", "millstream"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert complete("millstream topi", 1) == ["topics"]
    assert complete("millstream tail ", 2) == ["n"]
