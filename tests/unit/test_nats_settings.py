"""What an address, a stream and a subject of NATS mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from millstream import UsageError
from millstream.sources import nats


@pytest.mark.parametrize(
    ("url", "named", "said"),
    [
        ("127.0.0.1:4222", {"stream": "s"}, "is no address"),
        ("nats://", {"stream": "s"}, "is no address"),
        ("nats://ann:secret@a", {"stream": "s"}, "ends up in logs"),
        ("nats://a", {}, "give stream="),
        ("nats://a", {"stream": "a.b"}, "no name of a stream"),
        ("nats://a", {"subject": "a..b"}, "is no subject"),
        ("nats://a", {"subject": "a.>.b"}, "is no subject"),
        ("nats://a", {"subject": "a b"}, "is no subject"),
        ("nats://a", {"subject": "a", "start": "latest"}, "start is for a stream"),
        ("nats://a", {"stream": "a", "start": "newest"}, "start is 'newest'"),
    ],
)
def test_what_is_none_is_refused_and_says_what_to_give(url: str, named: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        nats(url, **named)
    assert "secret" not in str(found.value)


def test_a_source_is_called_as_its_stream_or_made_of_its_subject() -> None:
    assert nats("nats://a", stream="ORDERS", subject="o.>").name == "ORDERS"
    assert nats("nats://a,b:1", subject="orders.*.>").name == "orders.any.all"
    source = nats("nats://a,b:1", stream="S", start=datetime(2026, 1, 1, tzinfo=UTC), settings={"password": "hunter2"})
    assert (source.servers, str(source)) == (("nats://a", "nats://b:1"), "nats://a,nats://b:1 stream S")
    assert "hunter2" not in repr(source)
