"""The templates of some lines, and the parameters of the lines of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from millstream.errors import UsageError
from millstream.parsers.templates.masks import ANY
from millstream.parsers.templates.miner import TemplateMiner

if TYPE_CHECKING:
    import polars as pl


def templates(lines: pl.DataFrame | pl.Series | Sequence[str], *, miner: TemplateMiner | None = None) -> pl.DataFrame:
    """Return the templates of some lines, the most frequent first.

    Args:
        lines: Texts; of a frame, its column `message`.
        miner: What has learned already; it learns from these lines too. None: a new one.

    Shape:
        template_id Int64; template String; count UInt32, of these lines; first UInt32, the row of its first line;
        example String, that line.

    Raises:
        UsageError: A frame has no column `message`.
    """
    import polars as pl

    if isinstance(lines, pl.DataFrame):
        if "message" not in lines.columns:
            raise UsageError(
                f"the frame has no column `message`; it has {', '.join(lines.columns)}; give one as a series"
            )
        lines = lines["message"]
    texts = pl.Series("example", lines, dtype=pl.String)
    miner = miner or TemplateMiner()
    frame = pl.DataFrame([miner.add(texts).alias("template_id"), texts]).with_row_index("first")
    found = frame.group_by("template_id", maintain_order=True).agg(
        pl.len().alias("count"), pl.first("first", "example")
    )
    known = [miner.template(number) for number in found["template_id"].to_list()]
    texts_of = [None if template is None else template.text for template in known]
    return (
        found.with_columns(pl.Series("template", texts_of, dtype=pl.String))
        .select("template_id", "template", "count", "first", "example")
        .sort("count", "first", descending=[True, False])
    )


def parameters(lines: pl.Series | Sequence[str], template: str) -> pl.DataFrame:
    """Return what the parameters of a template are in lines of it: columns p1, p2, ..., null for a line of another.

    A line is null too where its template became more general since.
    """
    import polars as pl

    parts = template.split(ANY)
    spaced = [r"\s+".join(re.escape(word) for word in part.split(" ")) for part in parts]
    groups = (f"(?P<p{number}>.*?)" for number in range(1, len(parts)))
    expression = spaced[0] + "".join(group + part for group, part in zip(groups, spaced[1:], strict=True))
    texts = pl.Series("line", lines, dtype=pl.String)
    if len(parts) == 1:
        return pl.DataFrame(height=len(texts))
    return texts.str.strip_chars().str.extract_groups(rf"(?s)^{expression}$").struct.unnest()
