"""A plan as a picture: how long records take with how many workers, and how long the queue gets. SVG, no dependency."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from millstream.advise.plan import Level, Plan
from millstream.advise.wording import number_text, time_text

WIDTH: Final = 760
PANEL: Final = 260
"""Height of one of the two drawings."""
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 44, 40

INK: Final = "#1f2933"
SIMULATED: Final = "#2563eb"
BAND: Final = "#bfd4fb"
FORMULA: Final = "#d97706"
WANTED: Final = "#b91c1c"


def svg_of(plan: Plan, lengths: Sequence[tuple[float, int]], title: str) -> str:
    """Return the picture of a plan.

    Args:
        lengths: (seconds, records that wait) of the simulation with the answer's workers, ascending; may be empty.
        title: Above it.
    """
    height = TOP + (PANEL if not lengths else 2 * PANEL)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 22, title, size=15, weight="bold"),
        *_levels(plan, TOP),
        *(_queue(lengths, TOP + PANEL) if lengths else ()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _levels(plan: Plan, top: float) -> Iterator[str]:
    """Draw latency over workers: band of the simulation, its course, the formula, what is wanted."""
    levels, wanted = plan.levels, plan.target.wanted_s
    outcomes = [level.outcome(plan.target) for level in levels]
    highest = _nice(plan.axis_s or 1.0)
    across = _across(len(levels))

    def x(place: int) -> float:
        return LEFT + across * (place + 0.5)

    def y(seconds: float) -> float:
        return top + PANEL - BOTTOM - (PANEL - BOTTOM - 20) * min(1.0, seconds / highest)

    yield _text(LEFT, top + 12, plan.target.subject)
    for step in range(5):
        yield _rule(y(highest * step / 4), time_text(highest * step / 4))
    low = [(x(place), y(outcome.low)) for place, outcome in enumerate(outcomes)]
    high = [(x(place), y(outcome.high)) for place, outcome in enumerate(outcomes)]
    yield f'<polygon points="{_points([*low, *reversed(high)])}" fill="{BAND}" opacity="0.7"/>'
    yield _line([(x(place), y(outcome.simulated)) for place, outcome in enumerate(outcomes)], SIMULATED)
    yield _line([(x(place), y(outcome.formula)) for place, outcome in enumerate(outcomes)], FORMULA, dashes="6 4")
    if wanted is not None:
        yield _line([(LEFT, y(wanted)), (WIDTH - RIGHT, y(wanted))], WANTED, dashes="2 3")
        yield _text(WIDTH - RIGHT, y(wanted) - 4, f"wanted: {time_text(wanted)}", anchor="end", fill=WANTED)
    for place, (level, outcome) in enumerate(zip(levels, outcomes, strict=True)):
        yield from _mark(
            level, outcome.simulated, x(place), y(outcome.simulated), top, answer=level.workers == plan.workers
        )
    yield _text(WIDTH - RIGHT, top + 12, "simulation, with its range", anchor="end", fill=SIMULATED)
    yield _text(WIDTH - RIGHT - 190, top + 12, "formula", anchor="end", fill=FORMULA)


def _mark(level: Level, seconds: float, x: float, y: float, top: float, *, answer: bool) -> Iterator[str]:
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if answer else 3}" fill="{SIMULATED}"/>'
    yield _text(x + 8, y + 14, time_text(seconds), fill=SIMULATED, size=10)
    word = "worker" if level.workers == 1 else "workers"
    weight = "bold" if answer else "normal"
    yield _text(x, top + PANEL - BOTTOM + 16, f"{level.workers} {word}", anchor="middle", weight=weight)
    busy = f"{level.formula.utilisation:.0%} busy"
    yield _text(x, top + PANEL - BOTTOM + 30, busy, anchor="middle", size=10)


def _queue(lengths: Sequence[tuple[float, int]], top: float) -> Iterator[str]:
    """Draw how many records wait over time."""
    highest = _nice(max(waiting for _, waiting in lengths) or 1)
    span = lengths[-1][0] or 1.0

    def y(waiting: float) -> float:
        return top + PANEL - BOTTOM - (PANEL - BOTTOM - 30) * waiting / highest

    yield _text(LEFT, top + 18, "records that wait, as simulated with the workers of the answer")
    for step in range(5):
        yield _rule(y(highest * step / 4), number_text(highest * step / 4))
    points = [(LEFT + (WIDTH - LEFT - RIGHT) * at / span, y(waiting)) for at, waiting in lengths]
    yield _line(points, SIMULATED)
    for step in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / 4
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        yield _text(x, top + PANEL - BOTTOM + 16, time_text(span * step / 4), anchor=anchor)


def _across(count: int) -> float:
    return (WIDTH - LEFT - RIGHT) / count


def _rule(y: float, label: str) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d9dee4"/>'
    return line + _text(LEFT - 8, y + 4, label, anchor="end")


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashes: str = "") -> str:
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _nice(value: float) -> float:
    """Return the next number whose four parts are short ones: they are what an axis says."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= value * 0.9999)
