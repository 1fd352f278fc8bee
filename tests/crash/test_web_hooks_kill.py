"""A server of web hooks is killed while requests come: what was answered is in the log."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx

from millstream import App, Request

PROCESS = Path(__file__).with_name("web_hooks_process.py")
ROUNDS = 3
ANSWERS = 150
CLIENTS = 6


def test_what_was_answered_is_in_the_log_after_a_kill(tmp_path: Path) -> None:
    answered: list[str] = []
    for number in range(ROUNDS):
        kill_at = len(answered) + ANSWERS
        server = subprocess.Popen(
            [sys.executable, str(PROCESS), str(tmp_path / "log.db")], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()

        def send(client: int, url: str = url, number: int = number) -> None:
            with httpx.Client(base_url=url, timeout=30) as session:
                for at in range(1000):
                    body = f"{number}-{client}-{at}"
                    try:
                        answer = session.post("/hook", content=body)
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200 and answer.text == body:
                        answered.append(body)

        threads = [threading.Thread(target=send, args=(client,)) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while len(answered) < kill_at and any(thread.is_alive() for thread in threads):
            threads[0].join(0.001)
        server.kill()
        for thread in threads:
            thread.join(30)
        server.communicate()
    with App(str(tmp_path / "log.db")) as app:
        kept = Counter(
            record.value.text() for record in app.topic("post-hook.events", Request).read(records_max=100_000)
        )
    assert len(answered) >= ROUNDS * ANSWERS
    assert set(answered) <= kept.keys()
    assert max(kept.values()) == 1
