"""Objects as triggers: each version once, however often a prefix is listed and whoever lists it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kafka_broker import free_port

from millstream import App, StorageError, StoredObject, UsageError, objects
from millstream.triggers.objects import EVENTS_MAX, ObjectSource

pytest.importorskip("obstore", reason="the extra `objects` is not installed")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(tmp_path / "log.db", durability="relaxed") as app:
        yield app


def test_each_version_of_an_object_is_one_event(app: App, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    seen: list[tuple[str, bytes]] = []

    @app.on(objects(f"file://{inbox}/*.csv"))
    def load(one: StoredObject) -> None:
        seen.append((one.path, one.bytes()))
        assert one.size == len(seen[-1][1])

    (inbox / "a.csv").write_text("1")
    (inbox / "b.txt").write_text("no")
    (inbox / "below").mkdir()
    (inbox / "below" / "c.csv").write_text("no")
    app.run(until="now")
    app.run(until="now")
    assert seen == [("a.csv", b"1")]
    (inbox / "a.csv").write_text("22")
    (inbox / "d.csv").write_text("3")
    app.run(until="now")
    assert sorted(seen) == [("a.csv", b"1"), ("a.csv", b"22"), ("d.csv", b"3")]
    (inbox / "d.csv").unlink()
    app.run(until="now")
    (inbox / "d.csv").write_text("4")
    app.run(until="now")
    assert seen[-1] == ("d.csv", b"4")


def test_many_objects_and_two_processes_that_look_at_once(app: App, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "deep" / "er").mkdir(parents=True)
    count = EVENTS_MAX + 20
    for number in range(count):
        (inbox / "deep" / "er" / f"{number}.csv").write_text("x")
    trigger = objects(f"file://{inbox}/*.csv", recursive=True, name="all")

    @app.on(trigger)
    def count_them(one: StoredObject) -> None: ...

    one, two = ObjectSource(app.log, trigger), ObjectSource(app.log, trigger)
    listed = list(two._listed())
    assert one.look() == count
    two._listed = lambda: iter(listed)  # type: ignore[method-assign] # as it was before the other wrote
    assert two.look() == 0
    assert trigger.events(app.log).info().records == count


@pytest.mark.parametrize(
    ("url", "word"), [("inbox/*.csv", "s3://"), ("s3://b/*/x.csv", "recursive=True"), ("file:///x", "s3://")]
)
def test_url_that_is_none_is_said(url: str, word: str) -> None:
    if url == "file:///x":
        with pytest.raises(UsageError, match="at most every"):
            objects(url, every=0)
        return
    with pytest.raises(UsageError, match=word):
        objects(url)


def test_store_that_does_not_answer_is_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    trigger = objects("s3://bucket/inbox/*.csv")
    monkeypatch.setattr("millstream.triggers.objects.open_objects", _impatient)
    with pytest.raises(StorageError, match="s3://bucket/inbox cannot be listed"):
        ObjectSource(app.log, trigger).look()


def _impatient(url: str) -> object:
    from obstore.store import from_url

    return from_url(url, client_options={"allow_http": True}, retry_config={"max_retries": 0})


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3-compatible server with a bucket."""
    pytest.importorskip("moto", reason="moto[server] is not installed: there is no S3 server to test with")
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    values = {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ) as process:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
                    break
                except urllib.error.HTTPError as error:
                    error.close()
                    raise
                except OSError:
                    assert time.monotonic() < until, "the server did not start"
                    time.sleep(0.05)
            yield url
        finally:
            process.kill()


def test_objects_of_a_bucket_are_taken(app: App, bucket: str) -> None:
    seen: list[tuple[str, bytes]] = []

    @app.on(objects("s3://bucket/inbox/*.csv", every="100ms"))
    def load(one: StoredObject) -> None:
        seen.append((one.url, one.bytes()))

    from obstore.store import from_url

    store = from_url("s3://bucket", client_options={"allow_http": True})
    with app.start():
        store.put("inbox/a.csv", b"tea")
        store.put("other/b.csv", b"no")
        until = time.monotonic() + 60
        while not seen:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert seen == [("s3://bucket/inbox/a.csv", b"tea")]
