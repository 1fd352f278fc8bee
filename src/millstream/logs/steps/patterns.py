"""How secrets and personal data look in a line.

Each has a regular expression for Python, which decides, and a wider one for Polars, which finds the few lines that are
worth a look: it must let everything through that the other finds.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

SECRET_KEYS: Final = (
    r"(?:[a-z0-9_.-]{0,40}(?:passwd|password|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|"
    r"auth[_-]?token|access[_-]?token|refresh[_-]?token|session[_-]?token|id[_-]?token|credentials?)|pwd|pass|token)"
)
"""Names of fields, options and parameters whose value is a secret."""


@dataclass(frozen=True)
class Pattern:
    """One kind of thing to be redacted."""

    name: str
    find: re.Pattern[str]
    """The group that has a name and took part is replaced, else the whole match."""
    hint: str
    """For Polars (Rust's syntax); finds at least what `find` does."""
    is_one: Callable[[str], bool] = lambda value: True
    """Looks at what was found."""
    parts: Callable[[str], Sequence[tuple[int, int]]] | None = None
    """Finds in what was found what is to be replaced: start and end of each, in order."""
    of_keys: re.Pattern[str] | None = None
    """Keys of `fields` whose value is replaced whole."""

    of_ascii: str = ""
    """For Polars: finds what `find` does in ASCII, where one text replaces all; what is before and after the value are
    its groups 1 and 2."""

    @property
    def looked_for(self) -> str:
        """For Polars: the hint, and what only Python takes for an `i` of another case."""
        if not self.hint or not self.find.flags & re.IGNORECASE:
            return self.hint
        return f"{self.hint}|[\u0130\u0131]"


def luhn(value: str) -> bool:
    """Return whether digits are a card's number. Source: ISO/IEC 7812-1, annex B."""
    digits = [int(char) for char in value if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def cards(run: str) -> Sequence[tuple[int, int]]:
    """Return where in a run of groups of digits the numbers of cards are: other numbers may stand beside them."""
    groups = [group.span() for group in re.finditer(r"\d+", run)]
    # As cards are written; where nothing is, in whatever groups: better too much than a card.
    return _cards_among(run, groups, _TIDY) or _cards_among(run, groups, range(1, 20))


def _cards_among(run: str, groups: Sequence[tuple[int, int]], sizes: range) -> Sequence[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    first = 0
    while first < len(groups):
        last = _last_of_card(run, groups, first, sizes)
        if last is not None:
            found.append((groups[first][0], groups[last][1]))
        first = first + 1 if last is None else last + 1
    return found


def _last_of_card(run: str, groups: Sequence[tuple[int, int]], first: int, sizes: range) -> int | None:
    """Return the last group of the card's number that begins with a group; None where there is none."""
    for last in range(first, min(first + 19, len(groups))):
        if last > first and not all(end - start in sizes for start, end in groups[first : last + 1]):
            return None
        if luhn(run[groups[first][0] : groups[last][1]]):
            return last
    return None


def iban(value: str) -> bool:
    """Return whether a text is an account's number. Source: ISO 13616-1, check digits as in ISO/IEC 7064 (97-10)."""
    text = "".join(value.split()).upper()
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


_TIDY: Final = range(3, 8)
"""Digits of a group of a card's number: 4-4-4-4, 4-6-5, 4-4-4-4-3."""
_V4: Final = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)"
_V6: Final = (
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{0,39}[0-9A-Fa-f:])"
    r"(?:[0-9A-Fa-f:]{2,39}:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{3,39}(?!\.\d))(?![\w:])"
)
_V4_HINT: Final = r"\d\.\d{1,3}\.\d{1,3}\.\d"
_V6_HINT: Final = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:"
_VALUE: Final = (
    r"(?:"
    r"(?P<q>\\+)\"(?P<inner>.*?)(?=(?<!\\)(?P=q)\"|\Z)"  # a text in JSON that is a text in JSON
    r"|\"(?P<double>(?:[^\"\\]|\\.)*)"
    r"|'(?P<single>[^']*)"
    r"|(?P<bare>(?:[^\s&,}\"']|,(?!\\*\")|\}(?![,}\]\"]|\s*\Z)|(?<=[^=:\s])[\"'](?![,}\]\s]|\Z))+)"
    r")"
)

_ALL: Final = (
    Pattern(
        "private-key",
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|.*)", re.DOTALL),
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
    ),
    Pattern(
        "jwt",
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"),
        r"eyJ[A-Za-z0-9_-]{5,}\.eyJ",
    ),
    Pattern(
        "authorization",
        re.compile(r"(?i)\b(?:bearer|basic|digest|negotiate|token)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})"),
        r"(?i)(?:bearer|basic|digest|negotiate|token)[\s\x1c-\x1f]+[A-Za-z0-9._~+/=-]{8,}|authorization|cookie",
        of_ascii=r"(?i)(\b(?:bearer|basic|digest|negotiate|token)\s+)[A-Za-z0-9._~+/=-]{8,}",
        of_keys=re.compile(r"(?i)(?:proxy[_-]?)?authorization|(?:set-)?cookie"),
    ),
    Pattern(
        "aws-key",
        re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
        r"A[KSBC][IC]A[A-Z0-9]{16}",
    ),
    Pattern(
        "url-password",
        re.compile(r"(?i)\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]*:(?P<value>[^\s/@]+)@"),
        r"://[^\s/:@]*:[^\s/@]+@",
        of_ascii=r"(?i)(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]*:)[^\s/@]+(@)",
    ),
    Pattern(
        "query",
        re.compile(
            r"(?i)[?&](?:[a-z0-9_.-]*(?:token|key|secret|password|passwd|pwd|sig|signature|auth|session|code))"
            r"=(?P<value>[^&\s\"'#]+)"
        ),
        r"(?i)[?&][a-z0-9_.-]*(?:token|key|secret|password|passwd|pwd|sig|signature|auth|session|code)=",
        of_ascii=r"(?i)([?&](?:[a-z0-9_.-]*(?:token|key|secret|password|passwd|pwd|sig|signature|auth|session|code))=)"
        r"[^&\s\"'#]+",
    ),
    Pattern(
        "password",
        re.compile(
            rf"(?is)(?<![a-z0-9]){SECRET_KEYS}(?:\\*[\"']?\s*(?:=>|[=:])\s*|(?<=--password)\s+|"
            rf"(?<=--passwd)\s+|(?<=--token)\s+|(?<=--secret)\s+){_VALUE}"
        ),
        r"(?i)(?:passwd|password|passphrase|secret|key|token|credentials?|pwd|pass)\\*[\"']?[\s\x1c-\x1f]*[=:]"
        r"|(?i)--(?:password|passwd|token|secret)[\s\x1c-\x1f]",
        of_keys=re.compile(rf"(?i){SECRET_KEYS}"),
    ),
    Pattern(
        "email",
        re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"),
        r"@[A-Za-z0-9-]+\.",
        of_ascii=r"(^|[^A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b",
    ),
    Pattern(
        "iban",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
        r"[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}",
        iban,
    ),
    Pattern(
        "card",
        re.compile(r"(?<!\d)\d(?:[ -]?\d){12,120}"),
        r"\d(?:[ -]?\d){12}",
        parts=cards,
    ),
    Pattern("ipv4", re.compile(_V4), _V4_HINT, is_ip),
    Pattern("ipv6", re.compile(_V6), _V6_HINT, is_ip),
)

PATTERNS: Final = {pattern.name: pattern for pattern in _ALL}
"""By name; in this order they are looked for: what is part of another comes after it."""

GROUPS: Final = {
    "ip": ("ipv4", "ipv6"),
    "secrets": ("private-key", "jwt", "authorization", "aws-key", "url-password", "query", "password"),
    "personal": ("email", "iban", "card", "ipv4", "ipv6"),
}
"""Names for several of them."""
