"""All tables, and how a message finds its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.accounts import SHADOW
from millstream.parsers.messages.become import DOAS, PKEXEC, SU, SUDO
from millstream.parsers.messages.kernel import KERNEL
from millstream.parsers.messages.mail import DOVECOT, EXIM, POSTFIX, POSTFIX_QUEUE
from millstream.parsers.messages.network import DHCP, DNS, DROPBEAR, FAIL2BAN, NETWORK_MANAGER, OPENVPN, WPA
from millstream.parsers.messages.services import CRON, SYSTEMD
from millstream.parsers.messages.sessions import DISPLAY_MANAGERS, LOGIN_PROGRAM, LOGIND
from millstream.parsers.messages.shape import NUMBERS, Shape, Table
from millstream.parsers.messages.sshd import SSHD
from millstream.parsers.messages.transfer import PROFTPD, PURE_FTPD, RSYNCD, SAMBA, VSFTPD
from millstream.parsers.pattern import MATCHED

if TYPE_CHECKING:
    import polars as pl

TABLES: Final[Sequence[Table]] = (
    SSHD, SUDO, SU, PKEXEC, DOAS, LOGIN_PROGRAM, DISPLAY_MANAGERS, LOGIND, SYSTEMD, CRON, KERNEL, SHADOW,
    POSTFIX, POSTFIX_QUEUE, EXIM, DOVECOT, VSFTPD, PROFTPD, PURE_FTPD, RSYNCD, SAMBA, OPENVPN, DROPBEAR,
    FAIL2BAN, DHCP, DNS, NETWORK_MANAGER, WPA,
)  # fmt: skip

_OF: Final = {program: table.shapes for table in TABLES for program in table.programs}

FIELDS: Final = (
    "kind", "action", "success", "user", "target_user", "source_ip", "source_port", "source_name", "method", "session",
    "terminal", "command", "service", "device", "device_vendor", "device_product", "device_serial",
)  # fmt: skip
"""What a table can say."""


def read_message(program: str | None, message: str) -> dict[str, Any]:
    """Return the fields of a `LogEvent` that a program's message says; none for one that is not known."""
    for one in _OF.get(program or "", ()):
        fields = one.read(message)
        if fields is not None:
            return fields
    return {}


def read_messages(programs: pl.Series, messages: pl.Series) -> pl.DataFrame:
    """Return what `read_message` says of each row, as columns: all of `FIELDS`, null where nothing is said."""
    import polars as pl

    types = field_types()
    parts: list[pl.DataFrame] = []
    rest: list[pl.Series] = [programs.is_null().arg_true()]
    for program in programs.unique().drop_nulls():
        rows = (programs == program).arg_true()
        rest.append(_read_all(rows, messages.gather(rows), _OF.get(program, ()), parts))
    nothing = pl.concat(rest).cast(pl.UInt32).alias("_row").to_frame()
    empty = pl.DataFrame(schema={"_row": pl.UInt32, **types})
    return pl.concat([empty, *parts, nothing], how="diagonal").sort("_row").drop("_row")


def field_types() -> dict[str, pl.DataType]:
    """Return the types of the columns of `read_messages`."""
    import polars as pl

    return {
        name: pl.Boolean() if name == "success" else pl.Int64() if name in NUMBERS else pl.String() for name in FIELDS
    }


def _read_all(rows: pl.Series, messages: pl.Series, shapes: Sequence[Shape], parts: list[pl.DataFrame]) -> pl.Series:
    """Add what the shapes of one table say to `parts`: row numbers and fields; return the rows that are left."""
    for one in shapes:
        begins = messages.str.starts_with(one.start)
        if not begins.any():
            continue
        places = begins.arg_true()
        found = one.pattern.extract(messages.gather(places))
        matched = found[MATCHED].is_not_null()
        taken = places.filter(matched)
        if not len(taken):
            continue
        parts.append(_fields(rows.gather(taken), found.filter(matched), one))
        left = ~_mask(len(rows), taken)
        rows, messages = rows.filter(left), messages.filter(left)
    return rows


def _mask(count: int, places: pl.Series) -> pl.Series:
    import polars as pl

    return pl.repeat(False, count, dtype=pl.Boolean, eager=True).scatter(places, True)


def _fields(rows: pl.Series, found: pl.DataFrame, one: Shape) -> pl.DataFrame:
    import polars as pl

    texts = (pl.when(pl.col(name) != "").then(name).alias(name) for name in one.pattern.names)
    return found.select(
        rows.cast(pl.UInt32).alias("_row"),
        *(
            text.cast(pl.Int64) if name in NUMBERS else text
            for name, text in zip(one.pattern.names, texts, strict=True)
        ),
        *(pl.lit(value.value if isinstance(value, Kind) else value).alias(name) for name, value in one.meaning.items()),
    )
