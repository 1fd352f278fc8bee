"""What signals mean to `millstream logs`, and what systemd is told: real processes, a real socket."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.test_logs import at, until

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.run.service_manager import ServiceManager

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")

CONFIG = '[[source]]\nkind = "files"\npaths = {paths}\n'


@contextmanager
def logs_at_work(
    folder: Path, *more: str, environment: Mapping[str, str] | None = None, shell: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "millstream", "logs", "--all", "--since", "2026-01-01", "--data", "d", *more]
    if shell:
        command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def is_in(path: Path, text: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"it ended with {process.returncode}: {(path.parent / 'err').read_text()}"
    return text in path.read_text()


def test_sighup_takes_another_configuration_and_loses_nothing(tmp_path: Path) -> None:
    config, out, err = tmp_path / "c.toml", tmp_path / "out", tmp_path / "err"
    (tmp_path / "a.log").write_text(at(1, "first") + "\n")
    (tmp_path / "b.log").write_text(at(2, "second") + "\n")
    config.write_text(CONFIG.format(paths=["a.log"]))
    with logs_at_work(tmp_path, "--config", "c.toml") as process:
        until(lambda: is_in(out, "first", process), "the first file is read")
        config.write_text("[[source]]\nkind = 'nothing'\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: is_in(err, "the one at work stays: ", process), "what is wrong is said")
        with (tmp_path / "a.log").open("a") as file:
            file.write(at(3, "third") + "\n")
        until(lambda: is_in(out, "third", process), "it goes on as it was")
        config.write_text(CONFIG.format(paths=["a.log", "b.log"]))
        process.send_signal(signal.SIGHUP)
        until(lambda: is_in(err, "the configuration is read anew", process), "it is taken")
        process.send_signal(signal.SIGHUP)  # at any moment, also while it begins anew
        until(lambda: is_in(out, "second", process), "the other file is read")
        until(lambda: err.read_text().count("the configuration is read anew") == 2, "and again")
        with (tmp_path / "a.log").open("a") as file:
            file.write(at(4, "fourth") + "\n")
        until(lambda: is_in(out, "fourth", process), "it goes on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert [line.split()[-1] for line in out.read_text().splitlines()] == ["first", "third", "second", "fourth"]
    with App(str(tmp_path / "d" / "millstream.db")) as app:
        stored = sorted(record.value.message for record in app.topic("logs", LogEvent, time="time").read(0))
    assert stored == ["first", "fourth", "second", "third"]


def test_a_configuration_that_is_right_and_cannot_be_used_gives_way_to_the_one_before(tmp_path: Path) -> None:
    config, out, err = tmp_path / "c.toml", tmp_path / "out", tmp_path / "err"
    (tmp_path / "a.log").write_text(at(1, "first") + "\n")
    config.write_text(CONFIG.format(paths=["a.log"]))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken,
        logs_at_work(tmp_path, "--config", "c.toml") as process,
    ):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        until(lambda: is_in(out, "first", process), "the file is read")
        port = taken.getsockname()[1]
        config.write_text(f'{CONFIG.format(paths=["a.log"])}[[source]]\nkind = "syslog"\ntcp = "127.0.0.1:{port}"\n')
        process.send_signal(signal.SIGHUP)
        until(lambda: is_in(err, "cannot be used, the one before it goes on", process), "it is said")
        with (tmp_path / "a.log").open("a") as file:
            file.write(at(2, "second") + "\n")
        until(lambda: is_in(out, "second", process), "it goes on as it was")


def test_sighup_ends_what_has_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(at(1, "first") + "\n")
    with logs_at_work(tmp_path, "a.log") as process:
        until(lambda: is_in(tmp_path / "out", "first", process), "the file is read")
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0


def test_sighup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(at(1, "first") + "\n")
    with logs_at_work(tmp_path, "a.log", shell="trap '' HUP") as process:
        until(lambda: is_in(tmp_path / "out", "first", process), "the file is read")
        process.send_signal(signal.SIGHUP)
        with (tmp_path / "a.log").open("a") as file:
            file.write(at(2, "second") + "\n")
        until(lambda: is_in(tmp_path / "out", "second", process), "it goes on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_ctrl_c_twice_waits_for_nothing_and_leaves_no_process(tmp_path: Path) -> None:
    program = "trap 'touch was-told' TERM; echo $$ > pid; echo line; while :; do sleep 0.1; done"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "c.toml").write_text(
            f'[[source]]\nkind = "process"\ncommand = ["sh", "-c", "{program}"]\n'
            '[[output]]\nname = "silent"\nkind = "webhook"\n'
            f'url = "http://127.0.0.1:{silent.getsockname()[1]}/hook"\n'
        )
        with logs_at_work(tmp_path, "--config", "c.toml") as process:
            silent.settimeout(60)
            connection, _ = silent.accept()  # and is never answered
            with connection:
                until(lambda: (tmp_path / "pid").exists(), "the program runs")
                process.send_signal(signal.SIGINT)
                until(lambda: (tmp_path / "was-told").exists(), "the first Ctrl-C has come")
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
    until(lambda: not is_running(int((tmp_path / "pid").read_text())), "its program is gone")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for is gone as well.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def manager() -> Iterator[tuple[str, socket.socket]]:
    """A socket as systemd has it, and its name in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"millstream-test-{secrets.token_hex(8)}"
        receiver.bind(f"\0{name}")
        receiver.settimeout(60)
        yield f"@{name}", receiver


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="systemd and abstract sockets are of Linux")


@linux_only
def test_systemd_is_told_when_it_is_ready_alive_reloading_and_stopping(
    tmp_path: Path, manager: tuple[str, socket.socket]
) -> None:
    address, receiver = manager
    (tmp_path / "a.log").write_text(at(1, "first") + "\n")
    (tmp_path / "c.toml").write_text(CONFIG.format(paths=["a.log"]))
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
    told: list[str] = []

    def next_but_watchdog() -> str:
        while True:
            told.append(receiver.recv(4096).decode())
            if told[-1] != "WATCHDOG=1":
                return told[-1]

    with logs_at_work(tmp_path, "--config", "c.toml", environment=environment) as process:
        assert next_but_watchdog() == "READY=1"
        while receiver.recv(4096) != b"WATCHDOG=1":
            pass
        process.send_signal(signal.SIGHUP)
        reloading = next_but_watchdog()
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert next_but_watchdog() == "READY=1"
        (tmp_path / "c.toml").write_text("wrong")
        process.send_signal(signal.SIGHUP)
        assert next_but_watchdog().startswith("RELOADING=1")
        assert next_but_watchdog() == "READY=1"
        process.send_signal(signal.SIGTERM)
        assert next_but_watchdog() == "STOPPING=1"
        assert process.wait(60) == 0
    assert "wrong" in (tmp_path / "c.toml").read_text()


@linux_only
def test_what_is_stuck_gives_no_sign_of_life(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    asked = threading.Event()
    lives = threading.Event()

    def is_alive() -> bool:
        found = lives.is_set()
        asked.set()
        return found

    with ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}).told(is_alive):
        assert receiver.recv(100) == b"READY=1"
        assert asked.wait(60)
        lives.set()
        assert receiver.recv(100) == b"WATCHDOG=1"
    while (said := receiver.recv(100)) == b"WATCHDOG=1":
        pass
    assert said == b"STOPPING=1"


@linux_only
def test_signs_of_life_are_of_the_process_that_they_are_wanted_from(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with ServiceManager(environment).told(lambda: pytest.fail("it is asked")):
        assert receiver.recv(100) == b"READY=1"
    assert receiver.recv(100) == b"STOPPING=1"


def test_without_systemd_and_without_its_socket_it_goes_on(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}, {"WATCHDOG_USEC": "x"}):
        with ServiceManager(environment).told(lambda: True):
            pass


@linux_only
def test_a_socket_in_the_file_system_is_told_too() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{folder}/notify")
        receiver.settimeout(60)
        ServiceManager({"NOTIFY_SOCKET": f"{folder}/notify"}).tell("READY=1")
        assert receiver.recv(100) == b"READY=1"
