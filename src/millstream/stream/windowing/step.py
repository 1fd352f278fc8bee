"""What is asked of a window: the step of a description, as an operator gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from millstream.durations import span_text
from millstream.stream.aggregates import Aggregate
from millstream.stream.needs import Needs, union
from millstream.stream.windows import Window

if TYPE_CHECKING:
    import polars as pl


class WindowStep(msgspec.Struct, frozen=True):
    """Records grouped by windows and keys, and what is computed of each group."""

    window: Window
    by: tuple[str, ...]
    aggregates: dict[str, Aggregate]
    lateness_us: int = 0
    """How much later windows close, and how much later than their end records still count."""
    corrections: bool = False
    """Results at the end of a window, and again when late records change them until the lateness has passed."""
    early_us: int | None = None
    """Results of open windows that changed, every so much event time."""
    name: str = ""

    @property
    def revised(self) -> bool:
        """Whether a window can have several results, told apart by `revision` and `final`."""
        return self.corrections or self.early_us is not None

    def needs(self, port: int, out: Needs, schema: pl.Schema | None) -> Needs:
        """Return the columns it needs: the keys, and those that the aggregates read."""
        wanted: Needs = frozenset(self.by)
        for aggregate in self.aggregates.values():
            wanted = union(wanted, aggregate.needs())
        return wanted

    def __str__(self) -> str:
        kind = str(self.window).partition("(")[0]
        sizes = [
            span_text(value) if name.endswith("_us") else f"{value} records"
            for name, value in msgspec.structs.asdict(self.window).items()
            if value is not None
        ]
        by = f", by {', '.join(self.by)}" if self.by else ""
        parts = ", ".join(f"{name}={aggregate}" for name, aggregate in self.aggregates.items())
        return f"window({kind}({', '.join(sizes)}){by}): {parts}"

    def fingerprint(self) -> str:
        """Return what its state depends on: windows, keys, aggregates; not the lateness nor when results come."""
        parts = ", ".join(f"{name}={aggregate}" for name, aggregate in self.aggregates.items())
        return f"{self.window} by {list(self.by)}: {parts}"
