"""Names of months: English ones, and what programs write where the machine speaks another language."""

from __future__ import annotations

import functools
import unicodedata
from typing import Final

_NAMES: Final = (
    # English, French, German, Spanish, Italian, Portuguese, Dutch; without accents, as `month_number` compares them.
    "january janvier januar januari janner jan enero gennaio janeiro janv ene gen",
    "february fevrier februar febrero febbraio fevereiro februari feb fevr fev",
    "march mars marz maerz marzo marco maart mar mrz mrt maa",
    "april avril abril aprile apr avr abr",
    "may mai mayo maggio maio mei mag",
    "june juin juni junio giugno junho jun giu",
    "july juillet juli julio luglio julho jul juil lug",
    "august aout agosto augustus aug ago aou",
    "september septembre septiembre settembre setembro sep sept set",
    "october octobre oktober octubre ottobre outubro oct okt ott out",
    "november novembre noviembre novembro nov",
    "december decembre dezember diciembre dicembre dezembro dec dez dic",
)
_NUMBERS: Final = {name: number for number, names in enumerate(_NAMES, 1) for name in names.split()}


@functools.lru_cache(maxsize=256)
def month_number(name: str) -> int:
    """Return 1 to 12 for a month in any case, with or without its accents and a dot behind; 0 for no month."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().rstrip(".")
    return _NUMBERS.get(plain, 0)
