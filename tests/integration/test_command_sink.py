"""Programs that take results: what they are given, and what happens when they do not take it."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from millstream import App, SinkError, UsageError, sinks
from millstream.logs.config import parse_config
from millstream.sinks import Patience


class Ban(msgspec.Struct):
    address: str


TWO_TRIES = Patience(attempts=2, first_s=0.01, most_s=0.01)


def run_into(code: str, *arguments: str, timeout: str = "1m") -> None:
    sink = sinks.command([sys.executable, "-S", "-c", code, *arguments], timeout=timeout, patience=TWO_TRIES)
    with App("memory://") as app:
        bans = app.topic("bans", Ban)
        app.stream(bans, name="banning")(lambda s: s.to(sink))
        bans.extend([Ban("203.0.113.9"), Ban("$(touch x); --all")])
        app.run(until="now")


def test_program_reads_a_line_of_json_for_each_result_and_no_shell_reads_any(tmp_path: Path) -> None:
    run_into("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())", str(tmp_path / "seen"))
    lines = (tmp_path / "seen").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Ban).address for line in lines] == ["203.0.113.9", "$(touch x); --all"]


def test_program_that_fails_is_run_again_with_the_same_results_and_then_said(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read()); sys.exit('no such table: bans')"
    with pytest.raises(SinkError, match=r"ended with 1 for 2 rows.*: no such table: bans"):
        run_into(code, str(tmp_path / "seen"))
    assert len((tmp_path / "seen").read_bytes().splitlines()) == 4


def test_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(SinkError, match=r"had not ended after 0.2 s with 2 rows"):
        run_into("import threading; threading.Event().wait()", timeout="200ms")


def test_program_that_does_not_read_is_given_its_results_all_the_same() -> None:
    run_into("")


def test_program_that_is_missing_is_said() -> None:
    with App("memory://") as app:
        bans = app.topic("bans", Ban)
        app.stream(bans, name="banning")(lambda s: s.to(sinks.command(["/no/such/program"], patience=TWO_TRIES)))
        bans.append(Ban("203.0.113.9"))
        with pytest.raises(SinkError, match="/no/such/program cannot be run: No such file or directory"):
            app.run(until="now")


@pytest.mark.parametrize("arguments", ["ban it", [], [""], ["a", "b\0c"]])
def test_what_is_no_command_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="give a list, the program first"):
        sinks.command(arguments)


def test_configuration_of_logs_names_a_command_and_its_secrets_are_not_shown() -> None:
    [output] = parse_config(
        """
        [[output]]
        name = "ban"
        kind = "command"
        of = "alerts"
        command = ["/usr/local/bin/ban", "--token", "secret"]
        timeout = "5s"
        """,
        "test.toml",
    ).outputs
    sink = output.sink()
    assert str(sink).startswith("command /usr/local/bin/ban (")
    assert "secret" not in f"{sink} {sink!r}"
