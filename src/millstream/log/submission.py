"""Appends from asyncio: handed to the engine, awaited without holding up the loop."""

from __future__ import annotations

from millstream.engines.protocol import Append, Bound, Engine
from millstream.records import Position


async def submit(engine: Engine, appends: list[Append], bound: Bound | None = None) -> list[Position]:
    """Return where the appends are, once they are durable."""
    import asyncio  # late: most programs never need it, and it takes 20 ms

    if bound is not None:
        return await asyncio.to_thread(engine.append, appends, bound=bound)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Position]] = loop.create_future()

    def settle(positions: list[Position] | None, error: BaseException | None) -> None:
        if future.done():
            return  # cancelled; the records may have been stored
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(positions or [])

    def done(positions: list[Position] | None, error: BaseException | None) -> None:
        loop.call_soon_threadsafe(settle, positions, error)

    engine.submit(appends, done)
    return await future
