"""A process that follows a broker into a topic, and a stream of that topic back into the broker, until it is killed.

Usage: python broker_process.py LOG kafka URL | LOG nats URL
"""

from __future__ import annotations

import sys

import msgspec

from millstream import App, sinks
from millstream.sources import kafka, nats


class Order(msgspec.Struct, frozen=True):
    number: int


def declare(app: App, broker: str, url: str) -> None:
    """From `orders` of the broker into `orders` of the log, and from there into `results` of the broker."""
    orders = app.topic("orders", Order)
    app.source(kafka(f"{url}/orders") if broker == "kafka" else nats(url, stream="orders"), into=orders)
    sink = sinks.kafka(f"{url}/results") if broker == "kafka" else sinks.nats(url, "results.all")
    app.stream(orders, name="back")(lambda s: s.to(sink))


if __name__ == "__main__":
    log, broker, url = sys.argv[1:]
    with App(log) as app:
        declare(app, broker, url)
        app.run()
