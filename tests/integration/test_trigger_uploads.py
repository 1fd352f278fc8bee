"""Uploads: streamed to disk with bounded memory, complete before anybody hears of them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from millstream import App, http
from millstream.triggers.http import Upload


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "app.db"), port=0) as app:
        yield app


def url_of(app: App) -> str:
    assert app.http_url is not None
    return app.http_url


def uploads(app: App) -> list[Upload]:
    return [record.value for record in app.topic("upload-files.events", Upload).read()]


def test_a_form_and_a_raw_body_become_files_and_events(app: App, tmp_path: Path) -> None:
    folder = tmp_path / "up"

    @app.on(http.upload("/files", to=folder))
    def received(upload: Upload) -> dict[str, object]:
        assert upload.bytes() == b"content"
        return {"name": upload.name, "fields": upload.fields, "as": Path(upload.path).name}

    with app.start():
        form = httpx.post(
            url_of(app) + "/files", files={"doc": ("../a.txt", b"content", "text/plain")}, data={"note": "hello"}
        )
        raw = httpx.put(url_of(app) + "/files?name=a.txt", content=b"content")
        named = httpx.post(
            url_of(app) + "/files",
            content=b"content",
            headers={"Content-Disposition": "attachment; filename*=UTF-8''%C3%BC.txt"},
        )
    assert form.json() == {"name": "a.txt", "fields": {"note": "hello"}, "as": "a.txt"}
    assert raw.json() == {"name": "a.txt", "fields": {}, "as": "a-1.txt"}
    assert named.json()["name"] == "ü.txt"
    first = uploads(app)[0]
    assert (first.field, first.content_type, first.size) == ("doc", "text/plain", 7)
    assert first.sha256 == hashlib.sha256(b"content").hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == ["a-1.txt", "a.txt", "ü.txt"]


def test_several_files_of_a_request_come_together(app: App, tmp_path: Path) -> None:
    @app.on(http.upload("/files", to=tmp_path / "up"))
    def received(upload: Upload) -> None: ...

    with app.start():
        answer = httpx.post(url_of(app) + "/files", files=[("f", (f"{n}.txt", b"x" * n)) for n in range(1, 4)])
    assert answer.status_code == 202
    assert len(answer.json()["accepted"]) == 3
    assert [upload.size for upload in uploads(app)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "status", "code"),
    [
        ({"content": b"x" * 2001}, 413, "too_large"),
        ({"content": (piece for piece in [b"x" * 1000] * 3)}, 413, "too_large"),
        ({"data": {"only": "fields"}, "files": {"f": ("", b"")}}, 400, "no_file"),
        ({"content": b"--b\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "cut_off"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_form"),
        ({"content": b"x", "headers": {"Host": "evil.example"}}, 403, "wrong_host"),
    ],
)
def test_what_is_refused_leaves_neither_a_file_nor_an_event(
    app: App, tmp_path: Path, settings: dict[str, object], status: int, code: str
) -> None:
    @app.on(http.upload("/files", to=tmp_path / "up", size_max=2000))
    def received(upload: Upload) -> None: ...

    with app.start():
        answer = httpx.post(url_of(app) + "/files", **settings)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert uploads(app) == []
    assert not (tmp_path / "up").exists() or list((tmp_path / "up").iterdir()) == []


def test_an_upload_that_is_cut_off_leaves_nothing(app: App, tmp_path: Path) -> None:
    folder = tmp_path / "up"

    @app.on(http.upload("/files", to=folder))
    def received(upload: Upload) -> None: ...

    with app.start():
        port = int(url_of(app).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"POST /files HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9000000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 3_000_000)
            until = time.monotonic() + 60
            while not (folder.exists() and list(folder.iterdir())):
                assert time.monotonic() < until
                time.sleep(0.01)
        while list(folder.iterdir()):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert uploads(app) == []


def test_unfinished_files_of_a_process_that_died_are_swept(app: App, tmp_path: Path) -> None:
    folder = tmp_path / "up"
    folder.mkdir()
    for name, age in (("old", 90_000), ("new", 10)):
        path = folder / f".{name}.millstream-part"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))

    @app.on(http.upload("/files/{name}", to=folder, name="files"))
    def received(upload: Upload) -> str:
        return upload.name

    with app.start():
        assert httpx.put(url_of(app) + "/files/b.bin", content=b"b").text == "b.bin"
    assert sorted(path.name for path in folder.iterdir()) == [".new.millstream-part", "b.bin"]


SERVER = """
import sys, threading, resource
from millstream import App, http
app = App(sys.argv[1], port=0)
@app.on(http.upload("/files", to=sys.argv[2]))
def received(upload):
    return {"size": upload.size, "sha256": upload.sha256, "rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
with app.start():
    print(app.http_url, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(
    shutil.which("curl") is None or sys.platform != "linux", reason="needs curl, and Linux's memory figures"
)
@pytest.mark.parametrize("kind", ["form", "raw"])
def test_curl_sends_a_large_file_under_a_memory_ceiling(tmp_path: Path, kind: str) -> None:
    size = int(os.environ.get("MILLSTREAM_TEST_UPLOAD_BYTES", "60000000"))
    source = tmp_path / "large.bin"
    block = random.Random(7).randbytes(1_000_000)
    with source.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    server = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "a.db"), str(tmp_path / "up")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip() + "/files"
        small = subprocess.run(["curl", "-sS", "--data-binary", "x", url], capture_output=True, text=True, check=True)
        how = ["-F", f"file=@{source}"] if kind == "form" else ["-T", str(source)]
        large = subprocess.run(["curl", "-sS", *how, url], capture_output=True, text=True, check=True, timeout=280)
    finally:
        server.communicate("")
    before, after = json.loads(small.stdout), json.loads(large.stdout)
    assert after["size"] == source.stat().st_size
    with source.open("rb") as file:
        assert after["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert after["rss_kb"] - before["rss_kb"] < 30_000
    print(f"{kind}: {size:,} bytes took {after['rss_kb'] - before['rss_kb']:,} kB more memory")
