"""Web hooks that are durable before they are answered, against the same server that answers without storing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Options, Report, alternate, folder, percentiles, sync_ms

CONNECTIONS = 64
SHARE_MIN = 0.5
BODY = b'{"action": "opened", "number": 7, "title": "' + b"x" * 900 + b'"}'


def measure(options: Options) -> Report:
    count = options.records(20_000)
    report = Report(
        "triggers_web_hooks",
        "Web hooks that are on disk before they are answered: at least half the rate of the server without storing.",
        {
            "requests": f"{count:,} a run, {len(BODY)} bytes each, {CONNECTIONS} connections kept alive; the client is "
            "another process of the same machine",
            "durability": "fsync",
        },
    )
    latencies: dict[str, list[float]] = {"nothing": [], "accepted": [], "handled": []}
    with folder(options) as directory:
        sync = sync_ms(directory)

        def of(mode: str) -> float:
            return _rate(directory, mode, count, latencies[mode])

        nothing, stored, handled = alternate(
            options.runs, lambda: of("nothing"), lambda: of("accepted"), lambda: of("handled")
        )
    base = report.add("answered, nothing stored", nothing, "requests/s", note=percentiles(latencies["nothing"]))
    row = report.add("durable, then 202", stored, "requests/s", reach=f"{SHARE_MIN} of that")
    row.reached = row.median >= SHARE_MIN * base.median
    row.note = f"{row.median / base.median:.2f} of that; {percentiles(latencies['accepted'])}"
    last = report.add("durable, handled, then its answer", handled, "requests/s")
    last.note = f"{last.median / base.median:.2f}; {percentiles(latencies['handled'])}"
    report.findings.append(f"a bare fdatasync takes {sync:.2f} ms here; requests that wait together share one")
    return report


def _rate(directory: Path, mode: str, count: int, latencies: list[float]) -> float:
    name = directory / f"{mode}-{time.monotonic_ns()}.db"
    command = [sys.executable, "-m", "benchmarks.triggers.web_hooks", mode, str(name)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        asyncio.run(_load(port, count // 10, []))
        begun = time.perf_counter()
        asyncio.run(_load(port, count, latencies))
        return count / (time.perf_counter() - begun)
    finally:
        server.communicate("")


async def _load(port: int, count: int, latencies: list[float]) -> None:
    head = f"POST /hook HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    await asyncio.gather(*(_connection(port, head + BODY, count // CONNECTIONS, latencies) for _ in range(CONNECTIONS)))


async def _connection(port: int, request: bytes, count: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 204")):
            raise RuntimeError(head.decode())
        at = head.lower().find(b"content-length: ")
        if at >= 0:
            await reader.readexactly(int(head[at + 16 :].split(b"\r", 1)[0]))
        latencies.append(time.perf_counter() - begun)
    writer.close()


def _serve(mode: str, path: str) -> None:
    from millstream import App, Request, http
    from millstream.records import Position
    from millstream.triggers.http import site

    class Forgetful(site.Endpoint):
        async def _append(self, entries: object) -> list[Position]:
            return [Position(0, 0)]

    if mode == "nothing":
        site.Endpoint = Forgetful  # type: ignore[misc]
    app = App(path, port=0)
    trigger = http.post("/hook", reply="handler" if mode == "handled" else "accepted")

    def handle(request: Request) -> None: ...

    if mode == "handled":
        app.on(trigger)(handle)
    else:
        app._follow(trigger, "queue")  # accepted, and handled some other time
    with app.start():
        print((app.http_url or "").rpartition(":")[2], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
