"""Who waits in another process is found by those who append, without a look at the disk after every commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millstream.engines.sqlite.push import Listener, Sender
from millstream.engines.sqlite.roll import Roll, change

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix datagram sockets: readers poll")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "log.db-wake")


@pytest.fixture
def roll(tmp_path: Path) -> str:
    return str(tmp_path / "log.db-lock")


def test_a_change_of_the_roll_is_seen_once_by_everyone(roll: str) -> None:
    first, second = Roll(roll), Roll(roll)
    assert [first.changed(), first.changed(), second.changed(), second.changed()] == [True, False, True, False]
    code = "import sys; from millstream.engines.sqlite.roll import change; change(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, roll], check=True, timeout=60)
    assert [first.changed(), first.changed(), second.changed(), second.changed()] == [True, False, True, False]
    first.forget()
    assert [first.changed(), first.changed()] == [True, False]
    first.close()
    second.close()


def test_a_roll_that_cannot_be_opened_may_have_changed_each_time(tmp_path: Path) -> None:
    roll = Roll(str(tmp_path / "missing" / "log.db-lock"))
    assert roll.changed()
    assert roll.changed()
    roll.close()


def test_a_listener_gets_the_very_next_message_however_soon_after_another(folder: str, roll: str) -> None:
    sender = Sender(folder, roll)
    sender.send([1])  # nobody listens, and the folder is not there
    listeners = []
    for number in range(50):
        listeners.append(Listener(folder, roll))
        sender.send([number])
        assert [listener.receive(30) for listener in listeners] == [[{number}]] * len(listeners)
    for listener in listeners:
        listener.close()
        listener.release()
    sender.close()


def test_a_sender_leaves_out_itself_and_forgets_who_has_gone(folder: str, roll: str) -> None:
    sender = Sender(folder, roll)
    own, other = Listener(folder, roll), Listener(folder, roll)
    sender.send([7], but=own.name)
    assert other.receive(30) == [{7}]
    assert own.receive(0) == []
    other.close()
    other.release()
    sender.send([8])
    assert own.receive(30) == [{8}]
    assert [path.name for path in Path(folder).iterdir()] == [own.name]
    own.close()
    own.release()
    sender.close()


def test_who_cannot_be_announced_does_not_listen(folder: str, tmp_path: Path) -> None:
    with pytest.raises(OSError):  # the caller polls
        Listener(folder, str(tmp_path / "missing" / "log.db-lock"))
    assert list(Path(folder).iterdir()) == []


def test_the_roll_does_not_disturb_a_lock_on_its_file(roll: str) -> None:
    from millstream.engines.sqlite.file_lock import FileLock

    lock, other = FileLock(roll), FileLock(roll)
    with lock:
        watching = Roll(roll)
        assert watching.changed()
        change(roll)
        assert watching.changed()
        watching.close()
        code = (
            "import fcntl, sys\n"
            "try: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "except BlockingIOError: sys.exit(7)"
        )
        assert subprocess.run([sys.executable, "-c", code, roll], check=False, timeout=60).returncode == 7
    with other:
        pass
    lock.close()
    other.close()
