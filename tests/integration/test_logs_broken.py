"""`millstream logs` as a program, and what breaks readers of logs: files that are not as they should be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.integration.test_logs import millstream, until

from millstream import App
from millstream.errors import MillstreamError
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system

NO_FOLLOW = ("--no-follow", "--all", "--json")


def shown(stdout: str) -> list[str]:
    """Return the messages of the events that were shown."""
    lines = [json.loads(line) for line in stdout.splitlines()]
    return [line["event"]["message"] for line in lines if "event" in line]


def test_the_last_line_of_a_file_that_was_sent_needs_no_end(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"first\nlast")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"packed\nits last"))
    done = millstream("logs", "--read", "a.log", "--read", "b.log.gz", *NO_FOLLOW, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(shown(done.stdout)) == ["first", "its last", "last", "packed"]
    done = millstream("logs", "--read", "a.log", "--read", "b.log.gz", *NO_FOLLOW, folder=tmp_path)
    assert sorted(shown(done.stdout)) == ["first", "its last", "last", "packed"]


def messages(app: App) -> list[str]:
    return [record.value.message for record in app.topic("logs", LogEvent).read(0, records_max=10_000)]


def test_a_last_line_without_an_end_waits_for_it_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"first\nla")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"packed\nits last"))
    with App("memory://") as app:
        with follow_system(app, "logs", sources=[FileSource([path], lines_first=None, follow=False)]) as follower:
            follower.join()
        assert messages(app) == ["first"]
        with follow_system(app, "logs", sources=[FileSource([path], end_after="10ms")]) as follower:
            until(lambda: follower.records == 1, "its last line was taken")
            with path.open("ab") as file:
                file.write(b"st\nnext\n")
            until(lambda: follower.records == 3, "the rest was read")
        assert messages(app) == ["first", "la", "st", "next"]
    with pytest.raises(MillstreamError, match="soon"):
        FileSource([path], end_after="soon")
