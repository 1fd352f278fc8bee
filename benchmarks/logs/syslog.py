"""Syslog over TCP and UDP from a process of its own: sent, understood, durable."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks.harness import ROOT, Options, Report, folder
from millstream import App
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.system import follow_system

WANTED = 50_000
UDP_RATE = 20_000
PATIENCE_S = 120.0


def measure(options: Options) -> Report:
    count = options.records(500_000)
    report = Report(
        "logs_syslog",
        "50,000 messages of syslog a second over TCP, 20,000 over UDP, none lost.",
        {
            "messages": f"{count:,} over TCP, as fast as they go; {count // 5:,} over UDP, {UDP_RATE:,} a second",
            "each": "RFC 3164, a refused login of sshd, understood and stored with fsync",
            "sender": "a process of its own on this machine, which shares the two cores",
        },
    )
    with folder(options) as directory:
        rates, lost = [], 0
        for _ in range(options.runs):
            rate, missing = _run(directory, "tcp", count, 0)
            rates.append(rate)
            lost += missing
        row = report.add("TCP", rates, "messages/s", reach=f"{WANTED:,}/s, 0 lost")
        row.reached, row.note = row.median >= WANTED and not lost, f"{lost} lost"
        rates, lost = [], 0
        for _ in range(options.runs):
            rate, missing = _run(directory, "udp", count // 5, UDP_RATE)
            rates.append(rate)
            lost += missing
        row = report.add("UDP", rates, "messages/s", reach=f"{UDP_RATE:,}/s, 0 lost")
        row.reached, row.note = not lost and row.median >= UDP_RATE * 0.95, f"{lost} lost"
    return report


def _run(directory: Path, transport: str, count: int, rate: int) -> tuple[float, int]:
    """Return messages a second until all are stored, and how many are missing."""
    for old in directory.glob("syslog.db*"):
        old.unlink()
    address = ("127.0.0.1", 0)
    server = SyslogServer(tcp=address) if transport == "tcp" else SyslogServer(udp=address)
    with App(directory / "syslog.db") as app, closing(server), follow_system(app, sources=[server]) as follower:
        command = [
            sys.executable,
            "-m",
            "benchmarks.logs.syslog",
            transport,
            str(server.ports[transport]),
            str(count),
            str(rate),
        ]
        sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert sender.stdout is not None
        sender.stdout.readline()  # it begins now
        started = time.perf_counter()
        seen, since = 0, time.monotonic()
        while follower.records < count and time.monotonic() - since < 5.0:
            if follower.records != seen:
                seen, since = follower.records, time.monotonic()
            time.sleep(0.005)
        took = time.perf_counter() - started
        sender.communicate(timeout=PATIENCE_S)
        return follower.records / took, count - follower.records


def send(transport: str, port: int, count: int, rate: int) -> None:
    """Send messages, at a rate or as fast as they are taken."""
    text = "<38>Mar  1 10:00:00 web sshd[7]: Failed password for ann from 203.0.113.{} port {} ssh2\n"
    messages = [text.format(number % 250, 1024 + number % 60_000).encode() for number in range(10_000)]
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as out:
        out.connect(("127.0.0.1", port))
        print("begin", flush=True)
        started = time.perf_counter()
        for place in range(0, count, 100):
            part = messages[place % 10_000 : place % 10_000 + min(100, count - place)]
            if transport == "tcp":
                out.sendall(b"".join(part))
                continue
            for message in part:
                out.send(message)
            ahead = (place + 100) / rate - (time.perf_counter() - started)
            if ahead > 0:
                time.sleep(ahead)


if __name__ == "__main__":
    send(sys.argv[1], *map(int, sys.argv[2:]))
