"""Sources of files and processes, as a configuration of `millstream logs` has them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millstream import UsageError
from millstream.logs.config import parse_config
from millstream.logs.listeners import FilesListener, ProcessListener, StdinListener
from millstream.parsers.containers import container_reader
from millstream.parsers.times import parse_time
from millstream.sources.files import FileSource
from millstream.sources.multiline import Multiline
from millstream.sources.process import ProcessSource


def test_files_and_processes_are_read_as_they_are_described() -> None:
    found = parse_config(
        """
        [[source]]
        kind = "files"
        paths = ["/var/log/app/*.log"]
        format = "auto"
        multiline = { begins = '\\d', quiet = "5s" }
        olddirs = ["/var/log/old"]

        [[source]]
        kind = "process"
        command = ["/bin/app", "--verbose"]
        multiline = "traces"
        environment = { LEVEL = "debug" }

        [[source]]
        kind = "stdin"
        format = "logfmt"
        """,
        "logs.toml",
    )
    files, process, stdin = found.sources
    assert isinstance(stdin, StdinListener)
    [three] = stdin.open()
    assert three.parser("stdin").format == "logfmt"
    assert isinstance(files, FilesListener)
    assert files.multiline == Multiline(begins=r"\d", quiet="5s")
    assert isinstance(process, ProcessListener)
    [one] = files.open()
    assert isinstance(one, FileSource)
    assert one.parser("x").format == "syslog"
    [two] = process.open()
    assert isinstance(two, ProcessSource)
    assert two.name == "process app"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('kind = "files"\npaths = ["x"]\nformat = "cobol"', "there is no format 'cobol'"),
        ('kind = "files"\npaths = ["x"]\nmultiline = "cobol"', "there is no multiline preset 'cobol'"),
        ('kind = "files"\npaths = ["x"]\nmultiline = { begins = "(" }', "is no regular expression"),
        ('kind = "files"\npaths = ["x"]\nmultiline = { start = "x" }', "start"),
        ('kind = "process"\ncommand = []', "command is empty"),
    ],
)
def test_what_cannot_be_meant_is_said(keys: str, message: str) -> None:
    def work() -> None:
        for listener in parse_config(f"[[source]]\n{keys}", "logs.toml").sources:
            listener.check()

    with pytest.raises(UsageError, match=message):
        work()


def test_parts_of_a_line_of_a_container_are_one_message() -> None:
    read = container_reader(UTC)
    now = datetime(2026, 3, 2, tzinfo=UTC)
    time = "2026-03-01T10:00:00.1Z"
    cri = read(f"{time} stdout P one \n{time} stdout F line", now)
    docker = read('{"log":"one ","stream":"stdout"}\n{"log":"line\\n","stream":"stdout"}', now)
    assert cri is not None
    assert docker is not None
    assert (cri["message"], docker["message"]) == ("one line", "one line")
    assert cri["fields"] == docker["fields"] == {"stream": "stdout"}
    assert cri["time"] == parse_time(time, now=now, zone=UTC)
    assert read('{"log":"one"}\nsomething else', now) is None
