"""Which steps have state in the log: so that a changed description keeps what still fits, and says what does not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import UsageError
from millstream.log.group import Group
from millstream.stream.flow import Flow
from millstream.stream.operators import OPERATORS, Lazy, StateWrite
from millstream.stream.sinking import check_gone
from millstream.stream.turns import TURN, claim

_log = logging.getLogger("millstream.stream")

_KEY: Final = b"p"
_DELETED_AT_ONCE: Final = 10_000


class Step(msgspec.Struct, frozen=True, array_like=True):
    """A step with state, as it was described when it was last stored."""

    text: str
    open: bool
    """Whether something waits in it: open windows, records without their match, keys."""


class Manifest:
    """The steps with state of one stream, as the log and as the description have them."""

    def __init__(self, stream: str, flow: Flow) -> None:
        self._stream = stream
        self._flow = flow
        self._stored: dict[bytes, Step] = {}

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Take over what was stored."""
        decode = msgspec.msgpack.Decoder(Step).decode
        self._stored = {key[len(_KEY) :]: decode(value) for key, value in state.items() if key.startswith(_KEY)}

    def gone(self) -> dict[bytes, Step]:
        """Return the steps that the log has and the description has not, by prefix."""
        known = {operator.prefix for operator in self._flow.operators.values()}
        return {prefix: step for prefix, step in self._stored.items() if prefix not in known}

    def check(self, *, drop: bool) -> None:
        """Look whether the state that is there may go, where it is of steps that are gone.

        Raises:
            UsageError: A step that is described no more holds something, and it was not said that it may go.
        """
        held = [step.text for step in self.gone().values() if step.open]
        if held and not drop:
            raise UsageError(
                f"stream {self._stream!r}: the log holds state of steps that are not described any more: "
                f"{'; '.join(held)}. Describe them as before until they hold nothing, give up what they hold "
                'with @app.stream(..., changed="drop"), or give the new stream a new name. The state of a stream with '
                "share=True is other state than that of one without"
            )

    def tell(self) -> None:
        """Log what became of the steps."""
        gone = self.gone()
        if not self._stored:
            return
        for node, operator in self._flow.operators.items():
            if operator.prefix not in self._stored:
                _log.info("stream %s: %s is new and begins with nothing", self._stream, node.step)
        for step in gone.values():
            what = "what it held is dropped" if step.open else "it held nothing"
            _log.info("stream %s: %s is described no more; %s", self._stream, step.text, what)
        if gone:
            kept = sum(operator.prefix in self._stored for operator in self._flow.operators.values())
            _log.info("stream %s: %d of the steps go on with what they hold", self._stream, kept)

    def forget(self, group: Group[Any], partition: int, expect: Sequence[StateChange]) -> None:
        """Delete the state of steps that are gone, some of it at a time."""
        for prefix in self.gone():
            while keys := group.state(partition, within=StateRange(prefix, past(prefix), _DELETED_AT_ONCE)):
                group.commit([], state=[StateChange(partition, key, None) for key in keys], expect=expect)
            group.commit([], state=[StateChange(partition, _KEY + prefix, None)], expect=expect)
            del self._stored[prefix]

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call."""
        writes: list[StateWrite] = []
        for node, operator in self._flow.operators.items():
            stored = self._stored.get(operator.prefix)
            status = operator.status()
            # What reads its state when it needs it cannot tell that there is none any more.
            held = isinstance(operator, Lazy) and (status.rows > 0 or (stored is not None and stored.open))
            step = Step(str(node.step), status.open > 0 or held)
            if stored != step:
                self._stored[operator.prefix] = step
                writes.append((_KEY + operator.prefix, msgspec.msgpack.encode(step)))
        return writes


def stored_steps(group: Group[Any], partition: int) -> dict[bytes, Step]:
    """Return the steps with state that the log has of a partition, by prefix."""
    found = group.state(partition, within=StateRange.of_prefix(_KEY))
    return {key[len(_KEY) :]: msgspec.msgpack.decode(value, type=Step) for key, value in found.items()}


def check_partitions(stream: str, flow: Flow, group: Group[Any], *, drop: bool) -> None:
    """Look at the state of all partitions before any of them is run; raises as `Manifest.check` does."""
    for partition in range(group.topic.partitions):
        manifest = Manifest(stream, flow)
        manifest.load(group.state(partition, within=StateRange.of_prefix(_KEY)))
        manifest.check(drop=drop)


def give_up(stream: str, flow: Flow, group: Group[Any], partitions: Iterable[int], *, drop: bool) -> None:
    """Take over partitions that were runs of their own, and delete what is stored with them.

    Raises:
        UsageError: A step there holds something, and it was not said that it may go.
        CommitConflictError: Another process has taken over.
    """
    found: list[tuple[int, Manifest, dict[bytes, bytes]]] = []
    for partition in partitions:
        state = group.state(partition, within=StateRange(b"", OPERATORS))
        if state.keys() - {TURN}:
            manifest = Manifest(stream, flow)
            manifest.load(state)
            manifest.check(drop=drop)
            check_gone(stream, state, drop=drop)
            found.append((partition, manifest, state))
    for partition, manifest, state in found:
        turn = claim(group, partition, state.pop(TURN, None))
        manifest.forget(group, partition, [turn])
        group.commit([], state=[StateChange(partition, key, None) for key in state], expect=[turn])


def past(prefix: bytes) -> bytes:
    """Return the end of the range of keys that begin with a prefix."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
