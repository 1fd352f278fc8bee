"""Windows at work, until the columnar ones take over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.stream.aggregates import Aggregate
from millstream.stream.operators import OperatorStatus, StateWrite
from millstream.stream.piece import Piece
from millstream.stream.record_keys import key_series
from millstream.stream.state import OpenWindows

if TYPE_CHECKING:
    import polars as pl


class WindowStep(msgspec.Struct, frozen=True):
    window: Any
    by: tuple[str, ...]
    aggregates: dict[str, Aggregate]
    lateness_us: int
    corrections: bool = False
    early_us: int | None = None

    def fingerprint(self) -> str:
        parts = ", ".join(f"{name}={aggregate}" for name, aggregate in self.aggregates.items())
        return f"tumbling({self.window.size_us}) by {list(self.by)}: {parts}"


class WindowOperator:
    def __init__(self, step: WindowStep, prefix: bytes) -> None:
        self._windows = OpenWindows(step, prefix)
        self._step = step
        self.prefix = prefix

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        self._windows.bind(schema)
        return self._windows.close(None).schema

    def process(self, port: int, piece: Piece) -> list[Piece]:
        self._windows.add(piece)
        return []

    def advance(self, watermark_us: int) -> list[Piece]:
        import polars as pl

        frame = self._windows.close(watermark_us)
        if not frame.height:
            return []
        carried = pl.DataFrame([key_series(frame, self._step.by), frame["window_start"].alias("_event_time")])
        return [Piece.of(frame.hstack(carried))]

    def due_us(self) -> int | None:
        return self._windows.due_us()

    def end_us(self) -> int | None:
        return self._windows.end_us()

    def out_us(self, watermark_us: int) -> int:
        return watermark_us - self._step.window.size_us - self._step.lateness_us + 1

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._windows.load(state)

    def changes(self) -> list[StateWrite]:
        return [(change.key, change.value) for change in self._windows.changes()]

    def status(self) -> OperatorStatus:
        return OperatorStatus(late=self._windows.late, open=self._windows.count)
