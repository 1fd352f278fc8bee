"""What is JSON in a topic (dicts, any values) is JSON in what sinks write, and not a text in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl
import pytest

from millstream import App, SchemaError, sinks, table
from millstream.log.schema import FieldType, Kind
from millstream.sinks.mail_digest import Digest
from millstream.sinks.otlp_records import records_of
from millstream.sinks.rows import Rows
from millstream.sinks.syslog_message import messages_of
from millstream.stream import Stream
from millstream.testing import StreamTest


class Part(msgspec.Struct):
    number: int
    more: dict[str, Any]


class Noted(msgspec.Struct):
    host: str
    fields: dict[str, Any] | None
    parts: list[Part] = []
    any: Any = None
    data: str = '{"text": 1}'
    """Looks like JSON, and is text."""


SOME = Noted("web", {"port": 22, "said": 'a "b"', "deep": {"é": [None, 1.5]}}, any=[1, "a"])
NOTHING = Noted("db", None)


def written(folder: Path, describe: Callable[[Stream], Stream], *values: Any, **files: Any) -> list[dict[str, Any]]:
    """Return the lines that a stream of values writes, in the order of the files."""
    with App("memory://") as app:
        topic = app.topic("noted", type(values[0]))
        app.stream(topic, name="writing")(lambda s: describe(s).to(sinks.files(folder, "ndjson", **files)))
        topic.extend(list(values))
        app.run(until="now")
    lines = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.ndjson"))).splitlines()
    return [msgspec.json.decode(line) for line in lines]


def same(s: Stream) -> Stream:
    return s


@pytest.mark.parametrize("times", [1, 200])
def test_dict_is_an_object_and_null_is_null(tmp_path: Path, times: int) -> None:
    found = written(tmp_path, same, *[SOME, NOTHING] * times)
    assert found == [msgspec.to_builtins(one) for one in (SOME, NOTHING)] * times


def test_json_inside_structs_of_lists_is_json_too(tmp_path: Path) -> None:
    parts = [Part(1, {"a": [1]}), Part(2, {})]
    [row] = written(tmp_path, same, Noted("web", None, parts))
    assert row["parts"] == [{"number": 1, "more": {"a": [1]}}, {"number": 2, "more": {}}]


@pytest.mark.parametrize("times", [1, 200])
def test_folders_leave_json_as_it_is(tmp_path: Path, times: int) -> None:
    found = written(tmp_path, same, *[SOME, NOTHING] * times, by="host", every="day")
    assert [row["fields"] for row in found] == [None] * times + [SOME.fields] * times


class TestSteps:
    def test_filter_and_key_keep_it(self, tmp_path: Path) -> None:
        found = written(tmp_path, lambda s: s.filter(pl.col("host") == "web").key_by("host"), SOME, NOTHING)
        assert [row["fields"] for row in found] == [SOME.fields]

    def test_filter_by_a_function_keeps_it(self, tmp_path: Path) -> None:
        found = written(tmp_path, lambda s: s.filter(lambda one: one.host == "web"), SOME, NOTHING)
        assert [row["fields"] for row in found] == [SOME.fields]

    def test_map_to_a_type_keeps_it(self, tmp_path: Path) -> None:
        def marked(one: Noted) -> Noted:
            return Noted(one.host, {"was": one.fields}, [Part(1, {"a": 1})])

        [row] = written(tmp_path, lambda s: s.map(marked), SOME)
        assert row["fields"] == {"was": SOME.fields}
        assert row["parts"] == [{"number": 1, "more": {"a": 1}}]
        assert row["any"] is None

    @pytest.mark.parametrize(
        "chosen",
        [("fields",), (pl.col("fields"), pl.col("host").str.len_bytes()), (pl.all(),), (pl.col("host", "fields"),)],
    )
    def test_select_keeps_it(self, tmp_path: Path, chosen: Any) -> None:
        [row] = written(tmp_path, lambda s: s.select(*chosen), SOME)
        assert row["fields"] == SOME.fields

    def test_select_under_another_name_keeps_it(self, tmp_path: Path) -> None:
        chosen = (pl.col("fields").alias("more"), pl.col("host").alias("fields"))
        found = written(tmp_path, lambda s: s.select(*chosen, other=pl.col("any")), SOME)
        assert found == [{"more": SOME.fields, "fields": "web", "other": SOME.any}]

    def test_other_columns_may_be_made_anew(self, tmp_path: Path) -> None:
        [row] = written(tmp_path, lambda s: s.with_columns(pl.col("host") + "1", long=pl.col("data") + "1"), SOME)
        assert (row["host"], row["fields"], row["any"]) == ("web1", SOME.fields, SOME.any)

    @pytest.mark.parametrize(
        "made", [pl.col("fields") + "}", pl.lit("}").alias("fields"), pl.col("host", "fields") + "}"]
    )
    def test_column_that_is_made_anew_is_text(self, tmp_path: Path, made: pl.Expr) -> None:
        [row] = written(tmp_path, lambda s: s.with_columns(made), SOME)
        assert row["fields"].endswith("}")
        assert row["any"] == SOME.any

    def test_selected_expression_is_text(self, tmp_path: Path) -> None:
        [row] = written(tmp_path, lambda s: s.select(pl.col("fields").str.to_uppercase()), SOME)
        assert row["fields"].startswith('{"PORT":22')

    def test_map_batches_gives_text(self, tmp_path: Path) -> None:
        changed = pl.col("fields").str.replace("22", "twenty-two")  # No JSON any more.
        [row] = written(tmp_path, lambda s: s.map_batches(lambda frame: frame.with_columns(changed)), SOME)
        assert row["fields"].startswith('{"port":twenty-two,')

    def test_items_of_an_exploded_list_keep_it(self, tmp_path: Path) -> None:
        noted = Noted("web", {"a": 1}, [Part(1, {"b": 1}), Part(2, {})])
        found = written(tmp_path, lambda s: s.explode("parts"), noted)
        assert [(row["fields"], row["parts"]) for row in found] == [
            ({"a": 1}, {"number": 1, "more": {"b": 1}}),
            ({"a": 1}, {"number": 2, "more": {}}),
        ]


class Owner(msgspec.Struct):
    host: str
    owner: str | None
    fields: dict[str, Any]


@pytest.mark.parametrize("how", ["left", "inner"])
def test_join_with_a_table_keeps_that_of_the_record(tmp_path: Path, how: Literal["left", "inner"]) -> None:
    with App("memory://") as app:
        noted, owners = app.topic("noted", Noted), app.topic("owners", Owner, key="host")
        owners.append(Owner("web", "ann", {"a": 1}))
        noted.extend([SOME, NOTHING])

        @app.stream(noted, table(owners), name="joining")
        def joining(s: Stream, t: Stream) -> None:
            s.join(t, on="host", how=how).to(sinks.files(tmp_path, "ndjson"))

        app.run(until="now")
    found = [msgspec.json.decode(line) for path in tmp_path.glob("*.ndjson") for line in path.read_bytes().splitlines()]
    assert [(row["host"], row["owner"], row["fields"]) for row in found] == [
        ("web", "ann", SOME.fields),
        ("db", None, None),
    ][: 1 if how == "inner" else 2]


def test_objects_of_any_fields_have_json_where_their_columns_do(tmp_path: Path) -> None:
    values = [{"n": 1, "mixed": [1, "a"]}, {"n": 2, "mixed": {"b": 1}}, {"n": 3, "mixed": "text"}]
    found = written(tmp_path, lambda s: s.with_columns(pl.col("n") * 2), *values)
    assert [row["mixed"] for row in found] == [[1, "a"], {"b": 1}, "text"]


def test_program_gets_objects(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    sink = sinks.command([sys.executable, "-S", "-c", code, str(tmp_path / "seen")])
    with App("memory://") as app:
        topic = app.topic("noted", Noted)
        app.stream(topic, name="telling")(lambda s: s.to(sink))
        topic.append(SOME)
        app.run(until="now")
    assert msgspec.json.decode((tmp_path / "seen").read_bytes(), type=Noted) == SOME


def test_kit_shows_what_json_says() -> None:
    with App("memory://") as app:
        stream = app.stream(app.topic("noted", Noted), name="s")(lambda s: s.select("fields").to(sinks.stdout()))
        with StreamTest(stream) as test:
            test.push(SOME, NOTHING)
            assert test.sink() == [{"fields": SOME.fields}, {"fields": None}]


def test_values_without_fields_are_refused_with_the_name_of_the_sink(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="int cannot be") as caught:
        written(tmp_path, lambda s: s.map(lambda one: len(one.host)), SOME)
    assert caught.value.__notes__[0].startswith("Sink ndjson files in")


def test_frames_and_columns_of_files_have_text(tmp_path: Path) -> None:
    frames: list[pl.DataFrame] = []
    with App("memory://") as app:
        topic = app.topic("noted", Noted)
        app.stream(topic, name="calling")(lambda s: s.to(sinks.function(frames.append)))
        app.stream(topic, name="keeping")(lambda s: s.to(sinks.files(tmp_path, "parquet")))
        topic.append(SOME)
        app.run(until="now")
    for frame in (*frames, *(pl.read_parquet(path) for path in tmp_path.glob("*.parquet"))):
        assert msgspec.json.decode(frame["fields"][0]) == SOME.fields


def rows_of(**columns: Any) -> Rows:
    nothing = pl.DataFrame(schema={"_key": pl.Binary(), "_event_time": pl.Datetime("us", "UTC")}).clear(1)
    frame = pl.DataFrame({name: [value] for name, value in columns.items()})
    return Rows(nothing, lambda: frame, json={"by": FieldType(Kind.JSON)})


def test_attribute_of_opentelemetry_is_a_map() -> None:
    [(_, record)] = records_of(rows_of(message="3 failures", by='{"source_ip":"203.0.113.9"}'))
    [by] = record["attributes"]
    assert by["value"] == {"kvlistValue": {"values": [{"key": "source_ip", "value": {"stringValue": "203.0.113.9"}}]}}


def test_message_of_syslog_and_line_of_a_mail_have_it_as_it_is() -> None:
    rows = rows_of(rule="sshd", by='{"source_ip":"203.0.113.9"}')
    whole = '{"rule":"sshd","by":{"source_ip":"203.0.113.9"}}'
    assert messages_of(rows, 1, "millstream")[0].decode().endswith(whole)
    assert Digest().with_rows(rows, 10).lines == (whole,)
    [named] = messages_of(rows_of(message="3 failures", by='{"source_ip":"203.0.113.9"}'), 1, "millstream")
    assert b'by="{\\"source_ip\\":\\"203.0.113.9\\"}"' in named
