"""How long a queue gets and how long its records wait: formulas, and nothing but.

| asked | answer | source |
|---|---|---|
| offered load | arrival rate x service time | Erlang 1917 |
| share that must wait, M/M/c | Erlang C | Erlang 1917; Gross, Harris, "Fundamentals of Queueing Theory", section 2.3 |
| mean wait, M/M/c | C x service time / (workers - load) | the same |
| mean wait, G/G/c | that of M/M/c x (Ca^2 + Cs^2) / 2 | Allen, "Probability, Statistics, and Queueing Theory", 1990 |
| length | rate x time | Little, "A Proof for the Queuing Formula L = lambda W", Operations Research 9, 1961 |

Ca^2 and Cs^2 are squared coefficients of variation: variance / mean^2 of the gaps between arrivals and of the service
times; 1 for exponential ones (then the formula is exact), 0 for regular ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from millstream.errors import UsageError

WORKERS_MAX: Final = 10_000
"""More than this is no number of workers, but a slip in a unit."""


class Load(msgspec.Struct, frozen=True):
    """What a queue has to do, in two numbers each for arrivals and for service."""

    rate_per_s: float
    """Arrivals, records a second."""
    service_s: float
    """Mean time of work on one record."""
    arrival_cv2: float = 1.0
    """Ca^2 of the gaps between arrivals."""
    service_cv2: float = 1.0
    """Cs^2 of the service times."""

    @property
    def offered(self) -> float:
        """Workers that are busy on average: the offered load in Erlang."""
        return self.rate_per_s * self.service_s

    @property
    def workers_min(self) -> int:
        """The fewest workers with which the queue does not grow for ever."""
        return math.floor(self.offered + 1e-9) + 1


class Prediction(msgspec.Struct, frozen=True):
    """A queue in its steady state. Infinite where it grows for ever."""

    workers: int
    utilisation: float
    """Share of their time that the workers are busy."""
    waits: float
    """Share of the records that find no idle worker, 0 to 1."""
    wait_s: float
    """Mean time from append to the start of work, of all records."""
    length: float
    """Mean number of records that wait."""


def erlang_b(workers: int, offered: float) -> float:
    """Return the share of arrivals that find all workers busy and are turned away (no queue).

    By the recursion B(n) = aB(n-1) / (n + aB(n-1)), which neither overflows nor cancels.

    Source: Erlang's loss formula; Jagerman, "Some Properties of the Erlang Loss Function", Bell System Technical
    Journal 53, 1974.
    """
    _check(workers, offered)
    blocked = 1.0
    for servers in range(1, workers + 1):
        blocked = offered * blocked / (servers + offered * blocked)
    return blocked


def erlang_c(workers: int, offered: float) -> float:
    """Return the share of arrivals that must wait in M/M/c; 1 where the queue grows for ever.

    Args:
        workers: c, 1 or more.
        offered: Arrival rate x mean service time.

    Raises:
        UsageError: An argument is out of range.
    """
    blocked = erlang_b(workers, offered)
    utilisation = offered / workers
    return 1.0 if utilisation >= 1 else blocked / (1 - utilisation * (1 - blocked))


def predict(load: Load, workers: int) -> Prediction:
    """Return how a queue of that load fares with so many workers: Allen-Cunneen's G/G/c, exact for M/M/c and M/G/1.

    Raises:
        UsageError: An argument is out of range.
    """
    waits = erlang_c(workers, load.offered)
    utilisation = load.offered / workers
    if utilisation >= 1:
        return Prediction(workers, 1.0, 1.0, math.inf, math.inf)
    variability = (load.arrival_cv2 + load.service_cv2) / 2
    wait_s = waits * load.service_s / (workers - load.offered) * variability
    return Prediction(workers, utilisation, waits, wait_s, load.rate_per_s * wait_s)


def later_than(prediction: Prediction, seconds: float) -> float:
    """Return the share of records that wait longer than this.

    Those that wait at all do so exponentially: exact for M/M/c, the usual approximation for others.
    """
    if math.isinf(prediction.wait_s):
        return 1.0
    if seconds < 0:
        return 1.0
    if prediction.waits <= 0 or prediction.wait_s <= 0:
        return 0.0
    return prediction.waits * math.exp(-seconds * prediction.waits / prediction.wait_s)


def done_later_than(prediction: Prediction, seconds: float, services_s: Sequence[float]) -> float:
    """Return the share of records that are done later than this after their append.

    Wait and work of one record are independent where the first come is the first served, so that this is the mean of
    `later_than` over what the service times leave.

    Args:
        services_s: Service times that stand for all, seconds.
    """
    return sum(later_than(prediction, seconds - service_s) for service_s in services_s) / len(services_s)


def latency_s(prediction: Prediction, share: float, services_s: Sequence[float]) -> float:
    """Return the time within which this share of the records is done after its append; infinite where it never is."""
    if math.isinf(prediction.wait_s):
        return math.inf
    low, high = 0.0, max(services_s)
    while done_later_than(prediction, high, services_s) > 1 - share:
        low, high = high, high * 2 or 1e-6
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if done_later_than(prediction, middle, services_s) > 1 - share:
            low = middle
        else:
            high = middle
    return high


def _check(workers: int, offered: float) -> None:
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"{workers} workers: give 1 to {WORKERS_MAX:,}")
    if not (math.isfinite(offered) and offered >= 0):
        raise UsageError(f"an offered load of {offered} is none; give arrivals a second times seconds each, 0 or more")
