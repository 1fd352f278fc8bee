"""Sums of floats that do not depend on the order of the numbers or on where they were cut into parts.

A stream must give the same answer whatever its batch boundaries were. Adding floats rounds at every step, so the
running total is kept as a few floats whose exact sum is the exact total, and rounded once when it is asked for.

Source: Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997, as used by `math.fsum`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def add(total: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return an exact total with values added; the empty list is zero.

    Infinities, NaN and an overflow make a total of one float, as plain addition would.
    """
    numbers = [*total, *values]
    if not all(map(math.isfinite, numbers)):
        return [sum(number for number in numbers if not math.isfinite(number))]
    parts: list[float] = []
    while True:
        # fsum rounds the exact remainder once; each part takes away all but the last bits of what is left.
        try:
            part = math.fsum(numbers)
        except OverflowError:
            return [sum(numbers)]
        if part == 0:
            return parts
        parts.append(part)
        numbers.append(-part)


def value(total: Sequence[float]) -> float:
    """Return a total rounded to the nearest float."""
    return math.fsum(total) if all(map(math.isfinite, total)) else sum(total)
