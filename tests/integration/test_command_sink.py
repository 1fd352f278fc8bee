"""Programs that take results: what they are given, and what happens when they do not take it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from millstream import App, SinkError, UsageError, sinks
from millstream.logs.application import LogsApplication
from millstream.logs.config import parse_config
from millstream.parsers.log_event import Kind, LogEvent
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


# --- for each result ------------------------------------------------------------------------------------------------

NOTES = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + '\\n')"


def run_for_each(code: str, *arguments: str, addresses: list[str], tries: Patience = TWO_TRIES) -> None:
    sink = sinks.command([sys.executable, "-S", "-c", code, *arguments], each=True, patience=tries)
    with App("memory://") as app:
        bans = app.topic("bans", Ban)
        app.stream(bans, name="banning")(lambda s: s.to(sink))
        bans.extend(map(Ban, addresses))
        app.run(until="now")


def seen(path: Path) -> list[list[str]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_program_is_run_for_each_result_with_its_values_as_arguments(tmp_path: Path) -> None:
    addresses = ["203.0.113.9", "$(touch x); ls", "two words", "a -b {address}"]
    run_for_each(NOTES, str(tmp_path / "seen"), "ban", "{{ {address} }}", addresses=addresses)
    assert seen(tmp_path / "seen") == [["ban", f"{{ {address} }}"] for address in addresses]


def test_values_that_could_mean_something_else_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = ["--flush", "-", "", "a\nb", "\x7f", "x" * 5000]
    run_for_each(NOTES, str(tmp_path / "seen"), "{address}", addresses=[*odd, "::1"])
    assert seen(tmp_path / "seen") == [["::1"]]
    told = [record.getMessage() for record in caplog.records if record.name == "millstream.sinks.command"]
    assert len(told) == len(odd)
    assert "address is '--flush', which would be an option" in told[0]


def test_program_that_fails_for_one_result_is_run_again_for_that_one_only(tmp_path: Path) -> None:
    code = f"{NOTES}; from pathlib import Path; bad = sys.argv[2] == 'b' and not Path(sys.argv[3]).exists()"
    code += "; Path(sys.argv[3]).touch() if bad else None; sys.exit('not yet' if bad else 0)"
    run_for_each(code, str(tmp_path / "seen"), "{address}", str(tmp_path / "failed"), addresses=["a", "b", "c"])
    assert [one[0] for one in seen(tmp_path / "seen")] == ["a", "b", "b", "c"]
    with pytest.raises(SinkError, match=r"ended with 1 for a result: no"):
        run_for_each("import sys; sys.exit('no')", "{address}", addresses=["a"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{address}"], "cannot be a value"),
        (["ban", "{address"], "a brace"),
        (["ban", "{}"], "name of a value"),
        (["ban", "{a:>9}"], "name of a value"),
        (["ban", "{a!r}"], "name of a value"),
    ],
)
def test_arguments_that_cannot_be_filled_in_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sinks.command(arguments, each=True)


def test_braces_are_no_names_where_the_program_is_run_for_all() -> None:
    assert sinks.command(["awk", "{print $1}"]).words is None


def test_configuration_names_only_values_that_there_are() -> None:
    table = "[[output]]\nname = 'ban'\nkind = 'command'\nof = 'alerts'\neach = true\ncommand = ['ban', '{WHAT}']"
    [output] = parse_config(table.replace("WHAT", "by.source_ip"), "test.toml").outputs
    assert output.of == "alerts"
    with pytest.raises(UsageError, match=r"output 1 \(line 1\): command: alerts have no \{source_ip\}; they have time"):
        parse_config(table.replace("WHAT", "source_ip"), "test.toml")


def test_an_alert_of_millstream_logs_runs_a_program_with_its_values(tmp_path: Path) -> None:
    config = parse_config(
        f"""
        [[rule]]
        name = "sshd"
        where = "kind = 'login' AND NOT success"
        message = "{{count}} failed"
        [rule.threshold]
        count = 2
        within = "1m"
        by = ["source_ip"]

        [[output]]
        name = "ban"
        kind = "command"
        of = "alerts"
        each = true
        where = "by.source_ip ~ '^[0-9.]+$'"
        command = [{sys.executable!r}, "-S", "-c", {NOTES!r}, {str(tmp_path / "seen")!r}, "{{by.source_ip}} {{count}}"]
        """,
        "test.toml",
    )
    failures = [
        LogEvent(time=datetime(2026, 3, 1, 10, 0, at, tzinfo=UTC), source="t", message="", kind=Kind.LOGIN,
                 success=False, source_ip=address)
        for at, address in enumerate(["203.0.113.9", "} ; flush ruleset", "203.0.113.9", "} ; flush ruleset"])
    ]  # fmt: skip
    with App("memory://") as app:
        LogsApplication(app, config.rules, config.outputs).events.extend(failures)
        app.run(until="now")
        app.run(until="now")
    assert seen(tmp_path / "seen") == [["203.0.113.9 2"]]
