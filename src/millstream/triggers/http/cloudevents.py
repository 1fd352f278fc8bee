"""CloudEvents 1.0: in by HTTP in its three modes, and out.

| mode | told by | where the attributes are |
|---|---|---|
| structured | `Content-Type: application/cloudevents+json` | in the body, with the data |
| batched | `Content-Type: application/cloudevents-batch+json` | in the body, a list of such |
| binary | a `ce-id` header | in `ce-` headers; the body is the data |

Sources: CloudEvents 1.0.2, "HTTP Protocol Binding" and "JSON Event Format".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote, unquote

import msgspec

from millstream.errors import UsageError
from millstream.records import Record, time_from_us
from millstream.triggers.http.endpoint import Entry, HttpTrigger, Incoming
from millstream.triggers.http.refusal import Refused

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
VERSION: Final = "1.0"

EVENTS_MAX: Final = 1000
"""Of one batched request: they are written in one transaction."""

_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_OWN: Final = frozenset(
    {"id", "source", "type", "specversion", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"}
)


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of CloudEvents 1.0; source and id together say which one it is."""

    id: str
    source: str
    type: str
    time: datetime
    """When it happened; where it does not say, when it came."""
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: dict[str, Any] = {}
    data: Any = None
    """Of JSON and text; None where it is binary."""
    data_bytes: bytes | None = None
    """Of any other content type."""

    def structured(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a request in structured mode."""
        return {"content-type": STRUCTURED}, msgspec.json.encode(self._object())

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a request in binary mode."""
        attributes = {name: value for name, value in self._object().items() if name not in ("data", "data_base64")}
        content_type = attributes.pop("datacontenttype", None)
        headers = {f"ce-{name}": _header(value) for name, value in attributes.items()}
        if self.data_bytes is not None:
            body = self.data_bytes
        elif isinstance(self.data, str) and not _is_json(content_type):
            body = self.data.encode()
        else:
            body = b"" if self.data is None else msgspec.json.encode(self.data)
            content_type = content_type or "application/json"
        return headers | ({} if content_type is None else {"content-type": content_type}), body

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {"specversion": VERSION, "id": self.id, "source": self.source, "type": self.type}
        found["time"] = self.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        for name in ("subject", "datacontenttype", "dataschema"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        found |= self.extensions
        if self.data_bytes is not None:
            found["data_base64"] = base64.b64encode(self.data_bytes).decode()
        elif self.data is not None:
            found["data"] = self.data
        return found


class CloudEventTrigger(HttpTrigger):
    """CloudEvents sent to a path; see `http.cloudevents`."""

    event: ClassVar[type] = CloudEvent

    @property
    def keeps_answers(self) -> bool:
        return True

    def entries(self, incoming: Incoming) -> Sequence[Entry]:
        return [Entry(event, self.id_of(event), True) for event in events_of(incoming)]

    def id_of(self, event: Any) -> str:
        return f"{event.source} {event.id}"

    def digest_of(self, event: Any) -> bytes:
        return b""  # a sender may write one event in two ways


def events_of(incoming: Incoming) -> list[CloudEvent]:
    """Return the events of a request in any of the modes.

    Raises:
        Refused: It has none, or one is not as CloudEvents 1.0 says.
    """
    content_type = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    now = time_from_us(incoming.now_us)
    if content_type == BATCHED:
        found = _json(incoming.body)
        if not isinstance(found, list) or not 0 < len(found) <= EVENTS_MAX:
            raise Refused(400, "bad_event", f"a batch is a list of 1 to {EVENTS_MAX} events")
        return [_event(one, now, f"body[{at}]") for at, one in enumerate(found)]
    if content_type == STRUCTURED:
        return [_event(_json(incoming.body), now, "body")]
    if content_type.startswith("application/cloudevents"):
        raise Refused(415, "wrong_format", f"{content_type} is not read here; send JSON", where="content-type")
    if "ce-id" not in incoming.headers and "ce-specversion" not in incoming.headers:
        message = f"send {STRUCTURED}, {BATCHED}, or the attributes in ce- headers"
        raise Refused(415, "no_event", message, where="content-type")
    return [_of_headers(incoming, now)]


def to_cloudevent(
    record: Record[Any], *, source: str | None = None, type: str | None = None, subject: str | None = None
) -> CloudEvent:
    """Return a record as a CloudEvent, whose id is its place in the log: sent again, it is the same event.

    Args:
        source: A URI reference that says where it happened; None: `/topics/TOPIC`.
        type: None: the name of the value's class, or `record`.
    """
    value = record.value
    is_bytes = isinstance(value, bytes | bytearray | memoryview)
    typed = hasattr(value, "__struct_fields__") or hasattr(value, "__dataclass_fields__")
    return CloudEvent(
        id=f"{record.topic}:{record.partition}:{record.offset}",
        source=source or f"/topics/{record.topic}",
        type=type or (value.__class__.__name__ if typed else "record"),
        time=time_from_us(record.event_time_us),
        subject=subject,
        datacontenttype="application/octet-stream" if is_bytes else "application/json",
        data=None if is_bytes else msgspec.to_builtins(value),
        data_bytes=bytes(value) if is_bytes else None,
    )


def batched(events: Sequence[CloudEvent]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request with several events.

    Raises:
        UsageError: More than most receivers take.
    """
    if len(events) > EVENTS_MAX:
        raise UsageError(f"a batch has at most {EVENTS_MAX} events, not {len(events)}; send several")
    return {"content-type": BATCHED}, msgspec.json.encode([event._object() for event in events])


def _of_headers(incoming: Incoming, now: datetime) -> CloudEvent:
    attributes: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(text) for name, text in incoming.headers.items() if name.startswith("ce-")
    }
    content_type = incoming.headers.get("content-type")
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    data: Any = None
    data_bytes: bytes | None = None
    if incoming.body:
        if content_type is None or _is_json(content_type):
            data = _json(incoming.body)
        elif content_type.startswith("text/"):
            data = incoming.body.decode("utf-8", "replace")
        else:
            data_bytes = incoming.body
    return _checked(attributes, now, "ce- headers", data, data_bytes)


def _event(found: Any, now: datetime, where: str) -> CloudEvent:
    if not isinstance(found, dict):
        raise Refused(400, "bad_event", "an event is a JSON object", where=where)
    data_bytes: bytes | None = None
    if "data_base64" in found:
        try:
            data_bytes = base64.b64decode(found["data_base64"], validate=True)
        except (ValueError, TypeError) as error:
            raise Refused(400, "bad_event", "it is no base64", where=f"{where}.data_base64") from error
    attributes = {name: value for name, value in found.items() if name not in ("data", "data_base64")}
    return _checked(attributes, now, where, found.get("data"), data_bytes)


def _checked(
    attributes: Mapping[str, Any], now: datetime, where: str, data: Any, data_bytes: bytes | None
) -> CloudEvent:
    if attributes.get("specversion") != VERSION:
        message = f"the specversion is {attributes.get('specversion')!r}; {VERSION} is read here"
        raise Refused(400, "bad_event", message, where=f"{where}: specversion")
    for name in ("id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise Refused(400, "bad_event", f"an event has a {name} that is a text", where=f"{where}: {name}")
    for name in ("subject", "datacontenttype", "dataschema", "time"):
        if not isinstance(attributes.get(name), str | None):
            raise Refused(400, "bad_event", f"{name} is a text", where=f"{where}: {name}")
    for name in attributes:
        if not _NAME.fullmatch(name):
            raise Refused(400, "bad_event", "names of attributes are letters a-z and digits", where=f"{where}: {name}")
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=_time(attributes.get("time"), now, where),
        subject=attributes.get("subject"),
        datacontenttype=attributes.get("datacontenttype"),
        dataschema=attributes.get("dataschema"),
        extensions={name: value for name, value in attributes.items() if name not in _OWN},
        data=data,
        data_bytes=data_bytes,
    )


def _time(text: str | None, now: datetime, where: str) -> datetime:
    if text is None:
        return now
    try:
        found = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise Refused(400, "bad_event", "the time is RFC 3339", where=f"{where}: time") from error
    if found.tzinfo is None:
        raise Refused(400, "bad_event", "the time has no zone", where=f"{where}: time")
    return found


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "bad_json", f"the body is not JSON: {error}") from error


def _is_json(content_type: str | None) -> bool:
    name = (content_type or "").partition(";")[0].strip().lower()
    return name in ("application/json", "text/json") or name.endswith("+json")


def _header(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return quote(text, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")
