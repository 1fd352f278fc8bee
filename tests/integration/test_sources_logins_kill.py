"""wtmp is rotated and written while its follower is killed at any moment: each record is stored once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.login_records import LAYOUTS, LoginRecord, encode
from millstream.sources.logins import LoginSource
from millstream.sources.system import follow_system

RECORDS = 1500
FOLLOWER = """
import sys, threading
from pathlib import Path
from millstream import App
from millstream.sources.logins import LoginSource
from millstream.sources.system import follow_system

source = LoginSource(wtmp=[Path(sys.argv[1])], btmp=[], utmp=None)
with App(sys.argv[2]) as app, follow_system(app, sources=[source]):
    print("following", flush=True)
    threading.Event().wait()
"""


def rotate(wtmp: Path) -> None:
    for number in range(8, 0, -1):
        old = wtmp.with_name(f"wtmp.{number}")
        if old.exists():
            old.rename(wtmp.with_name(f"wtmp.{number + 1}"))
    wtmp.rename(wtmp.with_name("wtmp.1"))
    wtmp.touch()


def login(number: int) -> bytes:
    user, line = b"user%d" % number, b"pts/%d" % (number % 50)
    record = LoginRecord(type=7, pid=1 + number, line=line, user=user, seconds=1772359200 + number)
    return encode(record, LAYOUTS["narrow"])


def write(wtmp: Path, finished: threading.Event, is_stored: Callable[[int], bool]) -> None:
    """Write logins, a few at a time, sometimes half of one, and rotate now and then."""
    chance, pause = random.Random(7), threading.Event()
    number, first = 1, 0
    while number < RECORDS:
        count = min(chance.randint(1, 40), RECORDS - number)
        data = b"".join(map(login, range(number, number + count)))
        number += count
        half = chance.randint(0, len(data))
        with wtmp.open("ab") as file:
            file.write(data[:half])
            file.flush()
            pause.wait(0.005)
            file.write(data[half:])
        if chance.random() < 0.06:
            # Rotations are hours apart; here at least so far that a follower comes to know the file between two.
            while not is_stored(first):
                pause.wait(0.02)
            rotate(wtmp)
            first = number
        pause.wait(0.01)
    finished.set()


def test_each_login_is_stored_once(tmp_path: Path) -> None:
    wtmp, url = tmp_path / "wtmp", f"sqlite:///{tmp_path / 'log.db'}"
    wtmp.write_bytes(login(0))
    finished, pause, chance = threading.Event(), threading.Event(), random.Random(11)
    with App(url) as app:
        topic = app.topic("system", LogEvent, time="time")

        def users() -> list[str]:
            return [user for user in topic.frame().collect()["user"] if user is not None]

        writer = threading.Thread(target=write, args=(wtmp, finished, lambda number: f"user{number}" in users()))
        kills = 0
        while not finished.is_set() or kills < 3:
            with subprocess.Popen([sys.executable, "-c", FOLLOWER, str(wtmp), url], stdout=subprocess.PIPE) as follower:
                assert follower.stdout is not None
                follower.stdout.readline()
                if not kills:
                    while not users():  # from then on there is a position
                        pause.wait(0.02)
                    writer.start()
                # Some live long enough to leave a rotated file for the next one, on a slow machine later ones.
                finished.wait(0.05 + chance.choice([0.3, 0.8, 4.0]) * chance.random() * (1 + kills / 10))
                follower.send_signal(signal.SIGKILL)
                kills += 1
        writer.join()
        with follow_system(app, sources=[LoginSource(wtmp=[wtmp], btmp=[], utmp=None)]):
            for _ in range(600):
                if len(users()) >= RECORDS:
                    break
                pause.wait(0.1)
        assert sorted(users()) == sorted(f"user{number}" for number in range(RECORDS))
