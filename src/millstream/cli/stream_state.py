"""What the steps of a stream keep, written out for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from millstream.cli.output import print_json, print_table
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.stream.info import Found
    from millstream.stream.keyed.kept import Kept

COLUMNS: Final = ("STEP", "PARTITION", "KEY", "STATE", "TIMERS")

BY_KEY: Final = ("stateful_map(", "stateful_flat_map(")
"""How the steps begin whose state is by key, in the words of `explain`."""


def print_key(log: Log, found: Found, text: str, *, as_json: bool) -> None:
    """Write what the steps keep of a key.

    Raises:
        UsageError: Nothing is.
    """
    from millstream.stream.keyed.kept import kept_of

    group = log.topic(found.topic).group(found.name)
    rows = [
        (step, partition, kept)
        for step, partition, prefix in _steps(log, found)
        if (kept := kept_of(group, partition, prefix, _key(text))) is not None
    ]
    if not rows:
        raise UsageError(f"no step of {found.full_name} keeps anything of key {text!r}")
    _print(rows, as_json=as_json)


def print_steps(log: Log, found: Found, number: int, *, as_json: bool) -> None:
    """Write what each step keeps of its first keys."""
    from millstream.stream.keyed.kept import some_kept

    group = log.topic(found.topic).group(found.name)
    rows = [
        (step, partition, kept)
        for step, partition, prefix in _steps(log, found)
        for kept in some_kept(group, partition, prefix, number)
    ]
    if rows or as_json:
        _print(rows, as_json=as_json)
    else:
        print(f"no step of {found.full_name} keeps anything by key; `millstream stream show` says what they hold")


def _steps(log: Log, found: Found) -> Iterator[tuple[str, int, bytes]]:
    """Yield step, partition and prefix of the state that is kept by key."""
    from millstream.stream.manifest import stored_steps

    group = log.topic(found.topic).group(found.name)
    for partition in range(group.topic.partitions):
        for prefix, step in stored_steps(group, partition).items():
            if step.text.startswith(BY_KEY):
                yield step.text, partition, prefix


def _key(text: str) -> bytes:
    """Return a key as streams have it: of several columns a JSON array without spaces."""
    import msgspec

    if text.startswith("["):
        try:
            return msgspec.json.encode(msgspec.json.decode(text))
        except msgspec.DecodeError:
            pass
    return text.encode()


def _print(rows: list[tuple[str, int, Kept]], *, as_json: bool) -> None:
    if as_json:
        for step, partition, kept in rows:
            print_json({"step": step, "partition": partition, **kept.to_object()})
        return
    print_table(COLUMNS, [[step, partition, kept.key, kept.state, _timers(kept)] for step, partition, kept in rows])


def _timers(kept: Kept) -> Any:
    found = kept.to_object()
    return {**found["timers"], **found["clock_timers"]} or None
