"""What an address and settings of Kafka mean, and what is refused."""

from __future__ import annotations

from datetime import datetime

import pytest

from millstream import App, UsageError
from millstream.sources import kafka
from millstream.sources.kafka_settings import kafka_place, kafka_settings, without_secrets


def test_an_address_has_servers_and_a_topic() -> None:
    assert kafka_place("kafka://a:1,b/orders", "x") == ("a:1,b:9092", "orders")
    assert kafka_place("kafka://[::1]:9092", "x") == ("[::1]:9092", None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:9092/orders", "is no address"),
        ("http://a/orders", "is no address"),
        ("kafka://", "is no address"),
        ("kafka://a:b/orders", "is no address"),
        ("kafka://a/", "names no topic"),
        ("kafka://a/or ders", "is no topic"),
        ("kafka://ann:secret@a/orders", "ends up in logs"),
    ],
)
def test_an_address_that_is_none_is_refused_and_says_what_to_give(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        kafka(url)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("start", ["newest", datetime(2026, 1, 1), 7])  # noqa: DTZ001 - that is the point
def test_a_start_that_is_none_is_refused(start: object) -> None:
    with pytest.raises(UsageError, match="start"):
        kafka("kafka://a/orders", start=start)  # type: ignore[arg-type]


def test_what_the_program_gives_goes_before_the_environment_and_that_before_ours() -> None:
    environment = {"MILLSTREAM_KAFKA_SASL_USERNAME": "ann", "MILLSTREAM_KAFKA_CLIENT_ID": "e", "OTHER": "x"}
    found = kafka_settings({"client.id": "p"}, {"client.id": "o", "group.id": "o"}, environment)
    assert found == {"client.id": "p", "group.id": "o", "sasl.username": "ann"}


def test_secrets_are_in_no_message() -> None:
    assert without_secrets("no hunter2 here, x", {"sasl.password": "hunter2", "client.id": "x"}) == "no *** here, x"


def test_two_sources_of_one_name_are_refused() -> None:
    with App("memory://") as app:
        app.source(kafka("kafka://a/orders"), into=app.topic("orders"))
        with pytest.raises(UsageError, match="a source 'orders' already"):
            app.source(kafka("kafka://b/orders"), into=app.topic("others"))
