"""Chunks of frames: cut as another frame is, and one by one."""

from __future__ import annotations

import polars as pl

from millstream.stream.chunks import chunks_of, cut_as
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.piece import Piece
from millstream.stream.steps import Explode


def of_chunks(*parts: list[int]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame({"a": part}, schema={"a": pl.Int64}) for part in parts], rechunk=False)


def test_a_frame_is_cut_as_another_is() -> None:
    like = of_chunks([1, 2, 3], [4], [5, 6])
    beside = pl.DataFrame({"b": [10, 20, 30, 40, 50, 60], "c": list("uvwxyz")})

    cut = cut_as(beside, like)

    assert cut.equals(beside)
    assert [column.chunk_lengths() for column in cut] == [[3, 1, 2], [3, 1, 2]]


def test_beside_a_frame_in_one_chunk_nothing_is_cut() -> None:
    beside = pl.DataFrame({"b": [10, 20]})

    assert cut_as(beside, of_chunks([1, 2])) is beside


def test_the_chunks_of_a_frame_are_all_of_it() -> None:
    frame = of_chunks([1, 2, 3], [4], [5, 6])

    chunks = chunks_of(frame)

    assert [chunk.height for chunk in chunks] == [3, 1, 2]
    assert pl.concat(chunks).equals(frame)
    assert [chunk.height for chunk in chunks_of(of_chunks([]))] == [0]


def test_lists_in_several_chunks_are_exploded_in_order() -> None:
    parts = [[["a", "b"], ["c"]], [["d"], None]]
    columns = pl.concat([pl.DataFrame({"word": part}, schema={"word": pl.List(pl.String)}) for part in parts])
    height = columns.height
    carried = pl.DataFrame(
        {"_key": [str(i).encode() for i in range(height)], "_event_time": range(height), "_watermark": range(height)},
        schema={"_key": pl.Binary, "_event_time": pl.Datetime("us", "UTC"), "_watermark": pl.Int64},
    )
    piece = Piece(cut_as(carried, columns), columns=columns)

    made = Explode(("word",)).run(piece, Guard(OnError.of("stop")))

    assert made.columns().to_series().to_list() == ["a", "b", "c", "d", None]
    assert made.carried.get_column("_watermark").to_list() == [0, 0, 1, 2, 3]
