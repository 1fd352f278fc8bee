"""Logs made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

AGENTS: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Examplebot/2.1; +http://example.com/bot.html)",
    "curl/8.14.1",
)
ODD: Final = 0.002
"""Share of lines with escapes: half of them TLS bytes sent to a plain port, half escaped quotes."""


def write_access(path: Path, count: int) -> None:
    """Write a combined access log, 20 requests a second."""
    dice = random.Random(6)

    def line(number: int) -> str:
        second = number // 20
        day, rest = divmod(second, 86_400)
        at = f"{1 + day % 28:02}/May/2026:{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02} +0200"
        who = f"10.{dice.randrange(4)}.{dice.randrange(256)}.{dice.randrange(256)} - - [{at}]"
        kind = dice.random()
        if kind < ODD / 2:
            return rf'{who} "\x16\x03\x01\x02" 400 226 "-" "-"'
        if kind < ODD:
            return rf'{who} "GET /search?q=\"tea\" HTTP/1.1" 200 1024 "-" "a \"quoted\" agent"'
        status = dice.choice((200, 200, 200, 304, 404))
        page = f"/page/{dice.randrange(1000)}?session={dice.randrange(10**6)}"
        referrer = f"https://example.com/{dice.randrange(100)}"
        return f'{who} "GET {page} HTTP/1.1" {status} {dice.randrange(100_000)} "{referrer}" "{dice.choice(AGENTS)}"'

    _write(path, count, line)


def write_sshd(path: Path, count: int) -> None:
    """Write what sshd logs while somebody guesses passwords, ten lines a second."""
    dice = random.Random(7)

    def line(number: int) -> str:
        second = number // 10
        day, rest = divmod(second, 86_400)
        at = f"May {1 + day % 28:2} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        head = f"{at} web sshd[{dice.randrange(30_000)}]: "
        address = f"203.0.{dice.randrange(256)}.{dice.randrange(256)}"
        end = f"from {address} port {dice.randrange(1024, 65_536)}"
        kind = dice.random()
        if kind < 0.25:
            return f"{head}Failed password for invalid user user{dice.randrange(1000)} {end} ssh2"
        if kind < 0.45:
            return f"{head}Failed password for root {end} ssh2"
        if kind < 0.6:
            return (
                f"{head}pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
                f"rhost={address}  user=root"
            )
        if kind < 0.75:
            return f"{head}Received disconnect {end}:11: Bye Bye [preauth]"
        if kind < 0.9:
            return f"{head}Invalid user user{dice.randrange(1000)} {end}"
        if kind < 0.98:
            return f"{head}Connection closed by authenticating user root {address} port 22 [preauth]"
        return f"{head}Accepted publickey for ann {end} ssh2: ED25519 SHA256:Zm9vYmFyYmF6"

    _write(path, count, line)


def write_words(path: Path, count: int) -> None:
    """Write lines of 300 templates of 9 to 14 words, one to three of them parameters: numbers, addresses, or words."""
    dice = random.Random(8)
    vocabulary = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randrange(3, 10))) for _ in range(2000)]
    templates = []
    for _ in range(300):
        words = dice.choices(vocabulary, k=dice.randrange(9, 15))
        for place in dice.sample(range(1, len(words)), dice.randrange(1, 4)):
            words[place] = dice.choice(("{number}", "{address}", "{word}", "{word}"))
        templates.append(" ".join(words))

    def line(number: int) -> str:
        return dice.choice(templates).format(
            number=dice.randrange(10**6),
            address=f"10.0.{dice.randrange(256)}.7:{number % 9999}",
            word=dice.choice(vocabulary),
        )

    _write(path, count, line)


def _write(path: Path, count: int, line: Callable[[int], str]) -> None:
    with path.open("w") as file:
        file.writelines(f"{line(number)}\n" for number in range(count))
