"""How to reach Kafka: the URL, and the settings of librdkafka, some of which are secrets.

Every setting of librdkafka passes through: given as `settings={"sasl.username": ...}`, or in the environment as
`MILLSTREAM_KAFKA_SASL_USERNAME` (capitals, `_` for `.`). What was given in the program goes first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from millstream.errors import UsageError
from millstream.extras import import_extra

ENVIRONMENT: Final = "MILLSTREAM_KAFKA_"
_SECRET: Final = re.compile(r"password|secret|key|token|jaas|oauthbearer\.config|pem|username")
"""Settings whose values are in no message."""
_SERVER: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?\Z")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
_DEFAULT_PORT: Final = 9092


def kafka_place(url: str, what: str) -> tuple[str, str | None]:
    """Return servers and topic of `kafka://HOST:PORT,HOST:PORT/TOPIC`; the topic is None where there is none.

    Args:
        what: Who asks, for messages.

    Raises:
        UsageError: It is no such URL, or has a password in it.
    """
    scheme, separator, rest = url.partition("://")
    if "@" in rest:
        raise UsageError(
            f"{what}: an address with a password ends up in logs; give settings={{'sasl.password': ...}} or "
            f"${ENVIRONMENT}SASL_PASSWORD"
        )
    servers, _, topic = rest.partition("/")
    if scheme != "kafka" or not separator or not all(_SERVER.match(server) for server in servers.split(",")):
        raise UsageError(f"{what}: {url!r} is no address; give one such as kafka://127.0.0.1:9092/orders")
    if topic:
        check_topic(topic, what)
    return ",".join(_with_port(server) for server in servers.split(",")), topic or None


def check_topic(topic: str, what: str) -> None:
    """Raise UsageError where Kafka could have no topic of that name."""
    if _TOPIC.match(topic) is None or topic in (".", ".."):
        raise UsageError(f"{what}: {topic!r} is no topic of Kafka; names have letters, digits and ._- only, up to 249")


def kafka_settings(
    given: Mapping[str, Any], ours: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the settings of a client: what is given, then the environment's, then ours.

    Args:
        environment: None: the process's.
    """
    found = os.environ if environment is None else environment
    from_environment = {
        name.removeprefix(ENVIRONMENT).lower().replace("_", "."): value
        for name, value in found.items()
        if name.startswith(ENVIRONMENT)
    }
    return {**ours, **from_environment, **given}


def without_secrets(text: str, settings: Mapping[str, Any]) -> str:
    """Return a message of the client without the values of settings that nobody should see."""
    for name, value in settings.items():
        if _SECRET.search(name) and isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text


def kafka_client() -> Any:
    """Return the module `confluent_kafka`.

    Raises:
        UsageError: It is not installed.
    """
    return import_extra("confluent_kafka", "kafka", "Kafka needs the package confluent-kafka")


def _with_port(server: str) -> str:
    return server if re.search(r":\d+\Z", server) else f"{server}:{_DEFAULT_PORT}"
