"""wtmp is rotated and written while its follower is killed at any moment: each record is stored once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.login_records import LAYOUTS, LoginRecord, encode

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


def write(wtmp: Path, finished: threading.Event) -> None:
    """Write logins, a few at a time, sometimes half of one, and rotate now and then."""
    chance, pause = random.Random(7), threading.Event()
    number = 0
    while number < RECORDS:
        count = min(chance.randint(1, 40), RECORDS - number)
        data = b"".join(
            encode(
                LoginRecord(
                    type=7, pid=1 + one, line=b"pts/%d" % (one % 50), user=b"user%d" % one, seconds=1772359200 + one
                ),
                LAYOUTS["narrow"],
            )
            for one in range(number, number + count)
        )
        number += count
        half = chance.randint(0, len(data))
        with wtmp.open("ab") as file:
            file.write(data[:half])
            file.flush()
            pause.wait(0.005)
            file.write(data[half:])
        if chance.random() < 0.06:
            # Rotations are hours apart; here at least so far that a follower comes to know the file between two.
            pause.wait(0.5)
            rotate(wtmp)
        pause.wait(0.01)
    finished.set()


def test_each_login_is_stored_once(tmp_path: Path) -> None:
    wtmp, url = tmp_path / "wtmp", f"sqlite:///{tmp_path / 'log.db'}"
    wtmp.touch()
    finished, chance = threading.Event(), random.Random(11)
    writer = threading.Thread(target=write, args=(wtmp, finished))
    kills = 0
    while not finished.is_set() or kills == 0:
        with subprocess.Popen([sys.executable, "-c", FOLLOWER, str(wtmp), url], stdout=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            follower.stdout.readline()
            if not kills:
                writer.start()
            finished.wait(chance.uniform(0.05, 0.8))
            follower.send_signal(signal.SIGKILL)
            kills += 1
    writer.join()
    from millstream.sources.logins import LoginSource
    from millstream.sources.system import follow_system

    pause = threading.Event()
    with App(url) as app:
        with follow_system(app, sources=[LoginSource(wtmp=[wtmp], btmp=[], utmp=None)]):
            topic = app.topic("system", LogEvent, time="time")
            for _ in range(300):
                users = [user for user in topic.frame().collect()["user"] if user is not None]
                if len(users) >= RECORDS:
                    break
                pause.wait(0.1)
    assert kills > 2
    assert sorted(users) == sorted(f"user{number}" for number in range(RECORDS))
