"""`millstream demo`: a small site on this machine with everything at work, and nothing simulated.

run.py        starts it all, serves until Ctrl-C, drains
work.py       the application: its topics, its queue, its stream, its batch
picture.py    what the queue's jobs do: draw a piece of a picture
board.py      what the page shows, kept up to date by followers of the log
feeds.py      the followers
site.py       the addresses of the site
pages/        the page
"""

from __future__ import annotations

from millstream.web.demo.run import run_demo

__all__ = ["run_demo"]
