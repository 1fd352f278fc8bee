"""What `millstream advise --workers` says: how many, with formula, simulation, range and a chart."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from millstream.cli.output import count_text, print_json, print_table
from millstream.errors import UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from millstream.advise.demand import Demand
    from millstream.advise.observing import Observed, QueueFacts
    from millstream.advise.plan import Level, Outcome, Plan, Target
    from millstream.advise.questions import Answers

BAR: Final = 48
"""Characters of the longest bar."""

POINTS: Final = 400
"""Of the curve of the queue's length in a picture."""

SEED: Final = 1
"""The same question gets the same answer."""


class Wishes(NamedTuple):
    """What the command line said."""

    target: Target
    said: Answers
    group: str | None
    spread: float
    growth: float
    backlog: int | None
    svg: Path | None


def advise_workers(observed: Observed | None, wishes: Wishes, *, as_json: bool) -> None:
    """Say how many workers a queue needs.

    Raises:
        UsageError: Arrivals or service times are not known, or a wish is out of range.
    """
    from millstream.advise.demand import demand_of
    from millstream.advise.plan import plan
    from millstream.durations import duration_us

    queue = None if observed is None else _queue(observed, wishes.group)
    said = wishes.said
    mean_s = None if said.service is None else duration_us(said.service) / 1e6
    measured = [] if queue is None else queue.services_s
    if mean_s is None and not measured and queue is not None:
        mean_s = queue.service_s
    demand = demand_of(
        times_us=[] if observed is None else observed.times_us,
        rate_per_s=said.rate,
        growth=wishes.growth,
        services_s=measured,
        service_s=mean_s,
        spread=wishes.spread,
        backlog=_backlog(wishes, queue),
        seed=SEED,
    )
    found = plan(demand, wishes.target, current=0 if queue is None else queue.stats.workers, seed=SEED)
    name = _name(observed, queue, said)
    if wishes.svg is not None:
        _draw(wishes.svg, found, demand, name)
    if as_json:
        print_json(_object(name, found, demand))
    else:
        _print(name, found, demand, queue)


def _queue(observed: Observed, group: str | None) -> QueueFacts | None:
    queues = [queue for queue in observed.queues if group is None or queue.name == group]
    if group is not None and not queues:
        known = ", ".join(queue.name for queue in observed.queues) or "none"
        raise UsageError(f"topic {observed.topic!r} has no queue {group!r}; it has: {known}")
    if len(queues) > 1:
        names = " or ".join(f"--group {queue.name}" for queue in queues)
        raise UsageError(f"topic {observed.topic!r} has several queues; give {names}")
    return queues[0] if queues else None


def _backlog(wishes: Wishes, queue: QueueFacts | None) -> int:
    if wishes.backlog is None:
        return 0 if queue is None else queue.backlog
    if wishes.backlog < 0:
        raise UsageError(f"--backlog {wishes.backlog}: give a number of records, 0 or more")
    return wishes.backlog


def _name(observed: Observed | None, queue: QueueFacts | None, said: Answers) -> str:
    if observed is None:
        return said.topic or "such a queue"
    return observed.topic if queue is None else f"{observed.topic}/{queue.name}"


def _object(name: str, plan: Plan, demand: Demand) -> dict[str, Any]:
    return {
        "queue": name,
        "workers": plan.workers,
        "wanted": plan.wanted,
        "formula": plan.formula,
        "simulation": plan.simulation,
        "range": plan.range,
        "offered": demand.load.offered,
        "load": msgspec.to_builtins(demand.load),
        "backlog": demand.backlog,
        "arrivals_recorded": demand.arrivals_recorded,
        "services_recorded": demand.services_recorded,
        "levels": [_finite({"workers": level.workers, **msgspec.to_builtins(level)}) for level in plan.levels],
        "notes": plan.notes,
    }


def _finite(value: Any) -> Any:
    """Return it with what never ends as null: JSON has no infinity."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(name: str, plan: Plan, demand: Demand, queue: QueueFacts | None) -> None:
    from millstream.advise.wording import number_text, rate_text, time_text

    load = demand.load
    print(f"{name}: {_answer(plan)}")
    print(f"  wanted    {plan.wanted}")
    how = "as recorded" if demand.arrivals_recorded else "at random"
    variation = f"squared variation of the gaps {number_text(load.arrival_cv2)}"
    print(f"  arrivals  {rate_text(load.rate_per_s)}, {how}; {variation}")
    how = f"as measured in {len(demand.services_s)} deliveries" if demand.services_recorded else "as assumed"
    print(f"  work      {time_text(load.service_s)}, {how}; squared variation {number_text(load.service_cv2)}")
    print(f"  load      {number_text(load.offered)} workers busy on average")
    if queue is not None:
        waiting = f"{count_text(demand.backlog, 'record')} waiting"
        print(f"  now       {count_text(queue.stats.workers, 'worker')}, {waiting}")
    print()
    _table(plan, demand)
    print()
    _chart(plan)
    for note in plan.notes:
        print(f"note: {note}")


def _answer(plan: Plan) -> str:
    if plan.workers is None:
        return "no number of workers is enough"
    formula = "none" if plan.formula is None else str(plan.formula)
    text = f"{count_text(plan.workers, 'worker')} by simulation, {formula} by formula"
    if plan.range is not None and plan.range[0] != plan.range[1]:
        text += f"; {plan.range[0]} to {plan.range[1]} in 90% of the courses that chance could take"
    return text


def _table(plan: Plan, demand: Demand) -> None:
    share = f"{plan.target.share:.0%} DONE"
    columns = ["WORKERS", "BUSY", "WAIT", "SIMULATED", "(RANGE)", share, "SIMULATED", "(RANGE)", "WAITING", "AT MOST"]
    if demand.backlog:
        columns.append("BACKLOG DONE")
    print_table(columns, [_row(level, demand) for level in plan.levels])


def _row(level: Level, demand: Demand) -> list[Any]:
    from millstream.advise.wording import number_text, time_text

    played = level.played
    cells = [
        level.workers,
        f"{level.formula.utilisation:.0%}",
        time_text(level.formula.wait_s),
        time_text(played.wait_s),
        " to ".join(map(time_text, level.wait_range_s)),
        time_text(level.formula_latency_s),
        time_text(played.latency_s),
        " to ".join(map(time_text, level.latency_range_s)),
        number_text(played.length),
        played.length_max,
    ]
    return [*cells, time_text(level.drain_s)] if demand.backlog else cells


def _chart(plan: Plan) -> None:
    """Draw how soon the wanted share is done with how many workers: simulated, and up to where the range goes."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    wanted = plan.target.wanted_s
    for level in plan.levels:
        outcome, answer = level.outcome(plan.target), level.workers == plan.workers
        console.print(_bar(level.workers, outcome, plan.axis_s, wanted, answer=answer))
    marks = "█ simulated  ░ range" + ("" if wanted is None else "  ┃ wanted")
    console.print(f"{'':13}{marks}: {plan.target.subject}", style="dim")


def _bar(workers: int, outcome: Outcome, highest: float, wanted: float | None, *, answer: bool) -> Text:
    from rich.text import Text

    from millstream.advise.wording import time_text

    def place(seconds: float) -> int:
        return min(BAR, round(BAR * seconds / highest)) if highest else 0

    simulated, reach = place(outcome.simulated), place(outcome.high)
    cells = ["█"] * simulated + ["░"] * max(0, reach - simulated)
    cells += [" "] * (BAR + 1 - len(cells))
    if outcome.simulated > highest:
        cells[BAR] = "▶"
    if wanted is not None:
        cells[place(wanted)] = "┃"
    within = wanted is None or outcome.simulated <= wanted
    text = Text(f"{count_text(workers, 'worker'):>12} ", style="bold" if answer else "")
    text.append("".join(cells), style="green" if within else "red")
    text.append(f" {time_text(outcome.simulated)}")
    return text


def _draw(path: Path, plan: Plan, demand: Demand, name: str) -> None:
    from millstream.advise.picture import svg_of
    from millstream.advise.simulation import lengths_of

    lengths = lengths_of(demand.work(SEED), plan.workers, POINTS) if plan.workers is not None else []
    path.write_text(svg_of(plan, lengths, f"{name}: {_answer(plan)}"), encoding="utf-8")
