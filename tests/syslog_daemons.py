"""The two syslog daemons that most systems have, each with a configuration of its own, as senders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="64k" {authorities})
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log" RateLimit.Interval="0")
action(type="omfwd" target="127.0.0.1" port="{port}" template="RSYSLOG_SyslogProtocol23Format" {forward}
       action.resumeRetryCount="-1" action.resumeInterval="1"
       queue.type="LinkedList" queue.filename="forward" queue.size="100000" queue.saveOnShutdown="on"
       queue.timeoutEnqueue="60000")
"""

RSYSLOG_FORWARD = {
    "udp": 'protocol="udp"',
    "tcp": 'protocol="tcp" TCP_Framing="octet-counted"',
    "lines": 'protocol="tcp" TCP_Framing="traditional"',
    "tls": 'protocol="tcp" TCP_Framing="octet-counted" StreamDriver="gtls" StreamDriverMode="1" '
    'StreamDriverAuthMode="x509/certvalid"',
}

SYSLOG_NG = """
@version: {version}
options {{ keep-hostname(yes); time-reopen(1); stats-freq(0); }};
source s {{ unix-dgram("{folder}/log"); }};
destination d {{ {forward} }};
log {{ source(s); destination(d); flags(flow-control); }};
"""

_BUFFER = 'disk-buffer(reliable(yes) mem-buf-size(1048576) disk-buf-size(10485760) dir("{folder}"))'
SYSLOG_NG_FORWARD = {
    "udp": 'network("127.0.0.1" port({port}) transport("udp"));',
    "lines": f'network("127.0.0.1" port({{port}}) transport("tcp") {_BUFFER});',
    "tcp": f'syslog("127.0.0.1" port({{port}}) transport("tcp") {_BUFFER});',
    "tls": f'syslog("127.0.0.1" port({{port}}) transport("tls") tls(ca-file("{{ca}}")) {_BUFFER});',
}


class Daemon:
    """One that runs, and takes messages at a socket as those of other systems do."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self._said = (folder / "said").open("wb")
        self._path = folder / "log"
        self.process = subprocess.Popen(
            command, stdout=self._said, stderr=self._said, env={**os.environ, **environment}, start_new_session=True
        )
        end = time.monotonic() + 60
        while not self._path.exists():
            assert self.process.poll() is None, (folder / "said").read_text(errors="replace")
            assert time.monotonic() < end, (folder / "said").read_text(errors="replace")
            time.sleep(0.02)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect(str(self._path))

    def send(self, text: str) -> None:
        """Log a message; waits where the daemon has too many."""
        self._socket.send(f"<13>{time.strftime('%b %e %H:%M:%S')} app[7]: {text}".encode())

    def close(self) -> None:
        self._socket.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        self._said.close()


@contextmanager
def rsyslog(transport: str, port: int, ca: Path | None = None) -> Iterator[Daemon]:
    """Run rsyslogd, forwarding to a port; skips where there is none."""
    program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip("needs rsyslogd")
    if transport == "tls" and not list(Path("/usr/lib").glob("**/rsyslog/lmnsd_gtls.so")):
        pytest.skip("needs rsyslog-gnutls")
    authorities = "" if ca is None else f'DefaultNetstreamDriverCAFile="{ca}"'
    with _folder() as folder:
        configuration = folder / "rsyslog.conf"
        configuration.write_text(
            RSYSLOG.format(folder=folder, port=port, forward=RSYSLOG_FORWARD[transport], authorities=authorities)
        )
        checked = subprocess.run([program, "-N1", "-f", str(configuration)], capture_output=True, text=True, timeout=60)
        if "ermission denied" in checked.stderr:
            pytest.skip(f"rsyslogd may not read its configuration here (AppArmor?): {checked.stderr[:200]}")
        assert checked.returncode == 0, checked.stderr
        yield from _running([program, "-n", "-f", str(configuration), "-i", str(folder / "pid")], folder, {})


@contextmanager
def syslog_ng(transport: str, port: int, ca: Path | None = None) -> Iterator[Daemon]:
    """Run syslog-ng, forwarding to a port; skips where there is none."""
    # Debian does not have both daemons at once: `.ci/run` unpacks this one here.
    unpacked = Path(sys.prefix) / "syslog-ng"
    program = shutil.which("syslog-ng", path=f"{unpacked}/usr/sbin") or shutil.which("syslog-ng")
    if program is None:
        pytest.skip("needs syslog-ng")
    environment: dict[str, str] = {}
    options: list[str] = []
    if program.startswith(str(unpacked)):
        libraries = sorted({str(path.parent) for path in unpacked.glob("**/*.so*")})
        environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        [modules] = {path.parent for path in unpacked.glob("usr/lib/syslog-ng/*/libafsocket.so")}
        options = [f"--module-path={modules}"]
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    if said.returncode:
        pytest.skip(f"syslog-ng does not start here: {said.stderr[:200]}")
    version = next(line.split()[-1] for line in said.stdout.splitlines() if line.startswith("Config version"))
    with _folder() as folder:
        forward = SYSLOG_NG_FORWARD[transport].format(port=port, folder=folder, ca=ca)
        configuration = folder / "syslog-ng.conf"
        configuration.write_text(SYSLOG_NG.format(version=version, folder=folder, forward=forward).lstrip())
        command = [program, "-F", "-f", str(configuration), "-R", str(folder / "persist"), "-p", str(folder / "pid")]
        command += ["-c", str(folder / "control"), "--no-caps", *options]
        yield from _running(command, folder, environment)


@contextmanager
def _folder() -> Iterator[Path]:
    # The path of a socket has room for a hundred characters; pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="ms-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _running(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[Daemon]:
    daemon = Daemon(command, folder, environment)
    try:
        yield daemon
    finally:
        daemon.close()
