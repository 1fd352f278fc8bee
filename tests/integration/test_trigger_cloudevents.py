"""CloudEvents: in and out in all modes, as the SDK of the CloudEvents project writes and reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from millstream import App, http
from millstream.triggers.http import CloudEvent, batched, to_cloudevent

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/shop",
    "type": "order.made",
    "time": "2026-11-24T12:00:00.5Z",
    "subject": "Zoë 100%",
    "traceid": "t1",
    "data": {"order": 7},
}
"""What stands in the specification's own examples: all required attributes, some optional ones, an extension."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "app.db"), port=0) as app:
        yield app


@pytest.fixture
def got(app: App) -> list[CloudEvent]:
    found: list[CloudEvent] = []

    @app.on(http.cloudevents("/ce"))
    def received(event: CloudEvent) -> dict[str, int]:
        found.append(event)
        return {"count": len(found)}

    return found


def post(app: App, headers: dict[str, str], body: bytes) -> httpx.Response:
    return httpx.post(f"{app.http_url}/ce", headers=headers, content=body)


def structured(**changes: Any) -> tuple[dict[str, str], bytes]:
    event = {name: value for name, value in {**EVENT, **changes}.items() if value is not ...}
    return {"content-type": "application/cloudevents+json; charset=utf-8"}, msgspec.json.encode(event)


def test_the_three_modes_say_the_same(app: App, got: list[CloudEvent]) -> None:
    with app.start():
        assert post(app, *structured()).json() == {"count": 1}
        headers = {f"ce-{name}": str(value) for name, value in EVENT.items() if name not in ("data", "subject", "id")}
        headers |= {"ce-id": "e-2", "ce-subject": "Zo%C3%AB%20100%25", "content-type": "application/json"}
        assert post(app, headers, b'{"order": 7}').json() == {"count": 2}
        batch = msgspec.json.encode([{**EVENT, "id": "e-3"}, {**EVENT, "id": "e-4"}])
        answer = post(app, {"content-type": "application/cloudevents-batch+json"}, batch)
        assert answer.status_code == 202
        assert len(answer.json()["accepted"]) == 2
    app.run(until="now")
    assert [event.id for event in got] == ["e-1", "e-2", "e-3", "e-4"]
    plain = [msgspec.structs.replace(event, id="", datacontenttype=None) for event in got]
    assert plain == [plain[0]] * 4
    assert plain[0].time == datetime(2026, 11, 24, 12, 0, 0, 500_000, UTC)
    assert (plain[0].subject, plain[0].extensions, plain[0].data) == ("Zoë 100%", {"traceid": "t1"}, {"order": 7})


def test_an_event_that_comes_again_is_the_same(app: App, got: list[CloudEvent]) -> None:
    with app.start():
        assert [post(app, *structured()).json() for _ in range(3)] == [{"count": 1}] * 3
        assert post(app, *structured(source="/another")).json() == {"count": 2}
    assert len(got) == 2


def test_data_that_is_no_json_is_kept_as_it_is(app: App, got: list[CloudEvent]) -> None:
    required = {"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t"}
    with app.start():
        post(app, {**required, "ce-id": "1", "content-type": "image/png"}, b"\x89PNG\xff")
        post(app, {**required, "ce-id": "2", "content-type": "text/plain"}, b"hello")
        post(app, {**required, "ce-id": "3"}, b"")
        post(app, *structured(id="4", data=..., data_base64="AAH/"))
    assert [(event.data, event.data_bytes) for event in got] == [
        (None, b"\x89PNG\xff"),
        ("hello", None),
        (None, None),
        (None, b"\x00\x01\xff"),
    ]


@pytest.mark.parametrize(
    ("headers", "body", "status", "where"),
    [
        (*structured(id=...), 400, "body: id"),
        (*structured(id=""), 400, "body: id"),
        (*structured(source=7), 400, "body: source"),
        (*structured(specversion="0.3"), 400, "body: specversion"),
        (*structured(time="yesterday"), 400, "body: time"),
        (*structured(time="2026-11-24T12:00:00"), 400, "body: time"),
        (*structured(Bad_Name=1), 400, "body: Bad_Name"),
        (*structured(data=..., data_base64="?"), 400, "body.data_base64"),
        ({"content-type": "application/cloudevents+json"}, b"{", 400, "body"),
        ({"content-type": "application/cloudevents+json"}, b"[]", 400, "body"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", 400, "body"),
        ({"content-type": "application/cloudevents-batch+json"}, b'[{"id": "1"}]', 400, "body[0]: specversion"),
        ({"content-type": "application/cloudevents+avro"}, b"x", 415, "content-type"),
        ({"content-type": "application/json"}, b"{}", 415, "content-type"),
        ({"ce-id": "1", "ce-specversion": "1.0", "ce-source": "s"}, b"", 400, "ce- headers: type"),
        ({"ce-id": "1", "ce-specversion": "1.0", "ce-source": "s", "ce-type": "t"}, b"{", 400, "body"),
    ],
)
def test_what_is_no_event_says_where(
    app: App, got: list[CloudEvent], headers: dict[str, str], body: bytes, status: int, where: str
) -> None:
    with app.start():
        answer = post(app, headers, body)
    assert (answer.status_code, answer.json()["error"]["where"]) == (status, where)
    assert got == []


class Order(msgspec.Struct):
    number: int


def test_a_record_goes_out_and_comes_in_again(app: App, got: list[CloudEvent]) -> None:
    topic = app.topic("orders", Order)
    topic.extend([Order(1), Order(2)])
    events = [to_cloudevent(record, source="/shop") for record in topic.read()]
    app.topic("raw").append(b"\x00")
    [raw] = [to_cloudevent(record) for record in app.topic("raw").read()]
    with app.start():
        post(app, *events[0].structured())
        post(app, *events[1].binary())
        post(app, *batched([*events, raw]))
    app.run(until="now")
    assert [(event.id, event.type, event.data, event.data_bytes) for event in got] == [
        ("orders:0:0", "Order", {"number": 1}, None),
        ("orders:0:1", "Order", {"number": 2}, None),
        ("raw:0:0", "record", None, b"\x00"),
    ]


# --- the CloudEvents project's own SDK ------------------------------------------------------------------------------


def test_the_sdk_reads_what_we_write_and_we_read_what_it_writes(app: App, got: list[CloudEvent]) -> None:
    sdk = pytest.importorskip("cloudevents.core.bindings.http", reason="the SDK is not installed")
    core = pytest.importorskip("cloudevents.core.v1.event")
    attributes = {
        "specversion": "1.0",
        "id": "sdk-1",
        "source": "/sdk",
        "type": "test",
        "time": datetime(2026, 11, 24, 12, tzinfo=UTC),
        "subject": "Zoë",
        "datacontenttype": "application/json",
    }
    theirs = core.CloudEvent(attributes=attributes, data={"n": 1})
    with app.start():
        for mode in (sdk.to_structured_event, sdk.to_binary_event):
            message = mode(theirs)
            assert post(app, dict(message.headers), message.body).status_code == 200
        batch = sdk.to_binary_event(core.CloudEvent(attributes={**attributes, "id": "sdk-2"}, data={"n": 2}))
        assert post(app, dict(batch.headers), batch.body).status_code == 200
    assert [(event.id, event.data, event.subject) for event in got] == [
        ("sdk-1", {"n": 1}, "Zoë"),
        ("sdk-2", {"n": 2}, "Zoë"),
    ]
    for headers, body in (got[0].structured(), got[0].binary()):
        read = sdk.from_http_event(sdk.HTTPMessage(headers=headers, body=body))
        assert (read.get_id(), read.get_source(), read.get_type()) == ("sdk-1", "/sdk", "test")
        assert read.get_data() == {"n": 1}
        assert read.get_subject() == "Zoë"
        assert read.get_time() == attributes["time"]
