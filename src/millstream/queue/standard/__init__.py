"""Queue, LifoQueue, PriorityQueue: the standard library's interface, on disk.

Whoever gets an item has it for good, as with the standard library's: nobody else gets it, also if its process is killed
a moment later. `get(ack=True)` and `receiving()` leave it leased instead: it comes back if its holder dies.

Source: the interface is that of CPython 3.13's `queue` module (docs.python.org/3.13/library/queue.html).

General layout:

    queue.py            Queue; shut_down.py: the exception of its end, also where Python has none
    ordered_queues.py   LifoQueue, PriorityQueue; order.py: items as bytes in Python's order
    room.py             waiting for room in a bounded queue
    taker.py            how items leave the file in runs; what is at hand, what is leased
    hand.py             a run of items, handed out one by one; how long the next run is
    keeper.py           the thread that gives back what lies too long at hand
    open_queues.py      what a process has open: names, the end, a fork
    store.py            the topic, the group, and the marks beside them
    items.py            items as data, and back
"""

from __future__ import annotations

from queue import Empty, Full

from millstream.queue.standard.ordered_queues import LifoQueue, PriorityQueue
from millstream.queue.standard.queue import Queue
from millstream.queue.standard.shut_down import ShutDown

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown"]
