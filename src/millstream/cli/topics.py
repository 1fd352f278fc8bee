"""`millstream topics`: what the log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from millstream.cli.output import bytes_text, print_json, print_table
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption

if TYPE_CHECKING:
    from millstream.log.log import Log


def topics(
    context: typer.Context,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the topics, and how far behind their readers are."""
    shell = Shell.of(context, url, data, json, debug)
    with shell.open() as log:
        found = [_describe(log, name) for name in log.topics()]
    if shell.json:
        for topic in found:
            print_json(topic)
    elif not found:
        print('no topics yet; `millstream put TOPIC \'{"hello": "world"}\'` makes one')
    else:
        rows = [
            [
                t["topic"],
                t["records"],
                t["partitions"],
                bytes_text(t["size_bytes"] + t["cold_bytes"]),
                _lags(t["groups"]),
            ]
            for t in found
        ]
        print_table(["TOPIC", "RECORDS", "PARTITIONS", "SIZE", "GROUPS (LAG)"], rows)


def _describe(log: Log, name: str) -> dict[str, Any]:
    from millstream.log.cold.files import bytes_of, cold_batches

    info = log.engine.describe_topic(name)
    cold = (batch for part in info.partitions for batch in cold_batches(log.engine, name, part.partition))
    cold_bytes = sum(map(bytes_of, cold))
    groups = [log.engine.describe_group(name, group) for group in log.engine.groups(name)]
    return {
        "topic": name,
        "records": info.records,
        "partitions": len(info.partitions),
        "size_bytes": info.size_bytes,
        "cold_bytes": cold_bytes,
        "start_offsets": [p.start_offset for p in info.partitions],
        "end_offsets": [p.end_offset for p in info.partitions],
        "fields": _fields(info.schemas),
        "groups": [
            {
                "group": group.group,
                "lag": group.lag,
                "ready": group.ledger.ready,
                "leased": group.ledger.leased,
                "waiting": group.ledger.waiting,
                "done": group.ledger.done,
                "dead": group.ledger.dead,
                "expired": group.ledger.expired,
            }
            for group in groups
        ],
    }


def _fields(schemas: Any) -> list[str] | None:
    """Return the field names of the newest schema; None for a raw topic."""
    if not schemas:
        return None
    from millstream.log.schema import Schema

    return list(Schema.decode(schemas[max(schemas)]).names)


def _lags(groups: list[dict[str, Any]]) -> str:
    from millstream.sources.listener_signs import GROUP

    # The group that keeps the positions of sources writes to the topic, and is behind nothing.
    return ", ".join(f"{g['group']} ({g['lag']:,})" for g in groups if g["group"] != GROUP) or "-"
