"""Use one peer: python -m benchmarks.queue.peers MODULE ACTION [NUMBER ...]; prints JSON.

commands PROCESSES      the commands of its workers
fill JOBS PRODUCERS     enqueue one by one, from so many threads or tasks; several pairs: in turn; prints seconds
done                    how many jobs were acknowledged (ours)
fill_many JOBS          enqueue many a call, where there is such a call; prints seconds
pace JOBS PER_SECOND    enqueue at a steady rate
take JOBS               receive and acknowledge one by one (libraries without workers); prints seconds
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

now_ns = time.monotonic_ns


def fill(module: Any, jobs: int, producers: int) -> float:
    share = jobs // producers
    gate = threading.Barrier(producers + 1)
    errors: list[BaseException] = []

    def produce(send: Callable[[int], Any]) -> None:
        try:
            send(now_ns())  # opens the connection; not counted
            gate.wait()
            for _ in range(share - 1):
                send(now_ns())
        except BaseException as error:
            errors.append(error)
            gate.abort()
            raise

    if producers == 1:
        send = module.sender()
        send(now_ns())
        started = time.perf_counter()
        for _ in range(jobs - 1):
            send(now_ns())
        return time.perf_counter() - started
    send = module.sender()
    threads = [threading.Thread(target=produce, args=(send,)) for _ in range(producers)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.perf_counter() - started


async def fill_async(module: Any, jobs: int, producers: int) -> float:
    send = module.sender()

    async def produce(count: int) -> None:
        for _ in range(count):
            await send(now_ns())

    await asyncio.gather(*(produce(1) for _ in range(producers)))
    started = time.perf_counter()
    await asyncio.gather(*(produce(jobs // producers - 1) for _ in range(producers)))
    return time.perf_counter() - started


def pace(module: Any, jobs: int, per_second: int) -> None:
    send = module.sender()
    started = now_ns()
    for number in range(jobs):
        while (left_ns := started + number * 1_000_000_000 // per_second - now_ns()) > 0:
            time.sleep(left_ns / 1e9)
        send(now_ns())


async def pace_async(module: Any, jobs: int, per_second: int) -> None:
    send = module.sender()
    started = now_ns()
    for number in range(jobs):
        left_ns = started + number * 1_000_000_000 // per_second - now_ns()
        await asyncio.sleep(max(0, left_ns / 1e9))
        await send(now_ns())


def fill_many(module: Any, jobs: int) -> float:
    started = time.perf_counter()
    module.send_many([now_ns()] * jobs)
    return time.perf_counter() - started


def take(module: Any, jobs: int) -> float:
    receive = module.receiver()
    started = time.perf_counter()
    for _ in range(jobs):
        receive()
    return time.perf_counter() - started


def fill_each(module: Any, *numbers: int) -> list[float]:
    return [fill(module, *pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


async def fill_each_async(module: Any, *numbers: int) -> list[float]:
    return [await fill_async(module, *pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


async def awaited(module: Any, action: Callable[..., Any], *numbers: int) -> Any:
    await module.start()
    try:
        return await action(module, *numbers)
    finally:
        await module.stop()


def main() -> None:
    name, action, *rest = sys.argv[1:]
    numbers = [int(number) for number in rest]
    module: Any = importlib.import_module(f"benchmarks.queue.peers.{name}")
    if action == "commands":
        result: Any = module.workers(*numbers)
    elif action == "done":
        result = module.done()
    elif inspect.iscoroutinefunction(getattr(module, "start", None)):
        result = asyncio.run(awaited(module, {"fill": fill_each_async, "pace": pace_async}[action], *numbers))
    else:
        result = {"fill": fill_each, "fill_many": fill_many, "pace": pace, "take": take}[action](module, *numbers)
    sys.stdout.flush()
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
