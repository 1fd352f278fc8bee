"""Templates of lines: what is masked, what is one template, what is bounded, what survives a restart."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import UsageError
from millstream.parsers.templates import TemplateMiner, parameters, templates
from millstream.parsers.templates.masks import mask

LOGINS = [
    "Failed password for ann from 203.0.113.9 port 4000 ssh2",
    "Failed password for root from 203.0.113.7 port 22 ssh2",
    "Connection closed by 203.0.113.9 port 4000 [preauth]",
    "Failed password for bob from ::1 port 1 ssh2",
]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("took 7 ms, 1.5 s, 12%, -3, 0x7f, 1,000", "took <*> ms, <*> s, <*>, <*>, <*>, <*>"),
        ("from 203.0.113.9:22 and fe80::1ff:fe23:4567:890a", "from <*> and <*>"),
        ("id 6ba7b810-9dad-11d1-80b4-00c04fd430c8, mac 00:1b:44:11:3a:b7", "id <*>, mac <*>"),
        ("open /var/log/app.log, not / nor a/b", "open <*>, not / nor a/b"),
        ('GET https://example.com/a?b=c "curl, or so"', "GET <*> <*>"),
        ('198.51.100.7 "POST /v2/7 HTTP/1.1" 200', "<*> POST <*> <*>"),
        ("user=root ruser= tty=ssh", "user=<*> ruser=<*> tty=<*>"),
        ("at Sun Mar  1 10:00:00 2026 by ann@example.com", "at <*> <*> <*> by <*>"),
        ("12 bytes sent, 2048 bytes (2.00 KB) received after <1 sec", "<*> sent, <*> received after <*>"),
        ("blk_-1608999687919862906 on node7, org.apache.Foo", "blk_<*> on <*>, org.apache.Foo"),
    ],
)
def test_what_looks_like_a_parameter_is_masked(text: str, masked: str) -> None:
    assert mask(pl.Series([text])).to_list() == [masked]


def test_lines_with_the_same_words_are_of_one_template() -> None:
    found = templates(LOGINS)
    assert found.select("template", "count", "first").rows() == [
        ("Failed password for <*> from <*> port <*> <*>", 3, 0),
        ("Connection closed by <*> port <*> [preauth]", 1, 2),
    ]
    assert found["example"].to_list() == [LOGINS[0], LOGINS[2]]


def test_one_word_of_two_in_common_is_not_enough() -> None:
    assert len(templates(["Connection closed", "Connection opened"])) == 2


def test_one_word_that_differs_is_a_state_until_it_has_many_values() -> None:
    miner = TemplateMiner()
    lines = [f"machine 7 of the second rack was {state} again" for state in ("started", "stopped", "paused", "moved")]
    early = miner.add(lines[:3]).to_list()
    assert len(set(early)) == 3
    assert miner.add(lines).to_list() == [early[0]] * 4, "the fourth value makes it a parameter"
    merged = miner.template(early[2])
    assert merged is not None
    assert (merged.text, merged.count) == ("machine <*> of the second rack was <*> again", 7)
    assert merged == miner.template(early[0])
    again = TemplateMiner.restored(miner.state())
    assert again.template(early[1]) == merged
    assert again.state() == miner.state()


def test_line_of_two_words_has_more_states() -> None:
    names = ["tftp", "time", "echo", "rsync", "ftp", "ntalk", "printer", "telnet", "klogin"]
    miner = TemplateMiner()
    assert len(set(miner.add([f"removing {name}" for name in names[:7]]))) == 7
    assert len(set(miner.add([f"removing {name}" for name in names]))) == 1
    again = TemplateMiner.restored(miner.state())
    assert again.add(["removing", "removing chargen"]).to_list() == [8, 1], "any word fits where many did"


def test_what_follows_a_word_such_as_user_is_a_parameter_at_once() -> None:
    lines = [f"session opened for user {name} by (uid=0)" for name in ("ann", "bob")]
    assert templates(lines)["template"].to_list() == ["session opened for user <*> by (uid=<*>)"]


def test_template_that_became_general_takes_in_those_that_it_covers() -> None:
    lines = [
        "job alpha of the night run ended with success after long work",
        "job alpha of the night run ended with failure after long work",
        "job beta of the night run ended with nothing after long work",
    ]
    miner = TemplateMiner()
    assert [miner.add([line])[0] for line in lines] == [1, 2, 1]
    assert [template.count for template in miner.templates()] == [3], "the oldest stays"
    assert miner.template(2) == miner.template(1)


def test_names_in_capitals_become_a_parameter_too() -> None:
    names = [f"{one}{two}{one}" for one in "ABCDEFGHIJ" for two in "KLMNOPQRST"]
    found = templates([f"machine {name} has joined the domain" for name in names])
    assert found["template"].to_list() == ["machine <*> has joined the domain"]


def test_lines_without_a_word_in_common_never_join() -> None:
    words = [f"{one}{two}{one}" for one in "ABCDEFGHIJ" for two in "KLMNOPQRST"]
    found = templates([*words[:100], *(word * 2 for word in words), *(f"{word} 7" for word in words)])
    assert len(found) == 300


def test_many_templates_at_one_place_are_found_by_their_words() -> None:
    lines = [f"the {one}{two} of {two}{one} was lost" for one in "abcdefghij" for two in "klmnopqrst"]
    lines = [line.replace("lost", " ".join(line[4:6] * 4)) for line in lines]
    miner = TemplateMiner()
    first = miner.add(lines).to_list()
    assert len(set(first)) > 16
    assert miner.add(lines[::-1]).to_list() == first[::-1]


def test_words_in_capitals_are_states_and_tell_templates_apart() -> None:
    lines = [
        "task 7 moved from NEW to RUNNING",
        "task 8 moved from RUNNING to DONE",
        "task 9 moved from NEW to RUNNING",
    ]
    assert [row[1] for row in templates(lines).select("template", "count").rows()] == [2, 1]


def test_unit_that_a_program_chooses_is_part_of_the_value() -> None:
    lines = ["cache a7 full (size 5.2 KB, free 14.0 MB)", "cache b8 full (size 93.0 B, free 1.5 GB)"]
    [row] = templates(lines).select("template", "count").rows()
    assert row == ("cache <*> full (size <*> <*> free <*> <*>", 2)
    same = templates(["it took 7 ms", "it took 9 ms"])["template"].to_list()
    assert same == ["it took <*> ms"], "a unit that is always the same is told"


def test_parameters_are_what_stands_in_their_places() -> None:
    frame = parameters(LOGINS, "Failed password for <*> from <*> port <*> <*>")
    assert frame.rows() == [
        ("ann", "203.0.113.9", "4000", "ssh2"),
        ("root", "203.0.113.7", "22", "ssh2"),
        (None, None, None, None),
        ("bob", "::1", "1", "ssh2"),
    ]


def test_miner_goes_on_where_its_state_was_taken() -> None:
    whole, first = TemplateMiner(), TemplateMiner()
    expected = [*whole.add(LOGINS), *whole.add(LOGINS[::-1])]
    found = [*first.add(LOGINS)]
    second = TemplateMiner.restored(first.state())
    found.extend(second.add(LOGINS[::-1]))
    assert found == expected
    assert second.templates() == whole.templates()
    assert second.state() == whole.state()


@pytest.mark.parametrize("state", [b"", b"\xff", b"nonsense"])
def test_state_that_is_none_is_an_error_that_says_so(state: bytes) -> None:
    with pytest.raises(UsageError, match="no state of a TemplateMiner"):
        TemplateMiner.restored(state)


def test_template_that_was_not_seen_for_longest_is_forgotten() -> None:
    miner = TemplateMiner(templates_max=2, shapes_max=3)
    miner.add(["alpha beta", "gamma delta"])
    miner.add(["alpha beta", "epsilon zeta"])
    assert {template.text for template in miner.templates()} == {"alpha beta", "epsilon zeta"}
    [again] = miner.add(["gamma delta"])
    assert again == 4, "an id is never given to another template"
    assert miner.template(2) is None


@pytest.mark.parametrize("arguments", [{"similarity": 0}, {"similarity": 1.5}, {"templates_max": 0}, {"shapes_max": 0}])
def test_argument_out_of_its_range_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        TemplateMiner(**arguments)  # type: ignore[arg-type]


def test_frame_is_read_by_its_messages() -> None:
    assert templates(pl.DataFrame({"message": LOGINS}))["count"].to_list() == [3, 1]
    with pytest.raises(UsageError, match="no column `message`; it has text"):
        templates(pl.DataFrame({"text": LOGINS}))


words = st.text(st.sampled_from('ab1 <*>="/:.\t\nä'), max_size=30)


@given(st.lists(st.lists(words | st.text(max_size=20), max_size=6), max_size=4))
def test_each_line_has_a_template_that_its_masked_words_fit(batches: list[list[str]]) -> None:
    miner = TemplateMiner(templates_max=5, shapes_max=3)
    total = 0
    for batch in batches:
        ids = miner.add(batch)
        total += len(batch)
        assert len(ids) == len(batch)
        for number, shape in list(zip(ids, mask(pl.Series(batch, dtype=pl.String)), strict=True))[-1:]:
            template = miner.template(number)
            assert template is not None
            assert all(one in ("<*>", other) for one, other in zip(template.text.split(), shape.split(), strict=True))
        assert len(miner.templates()) <= 5
        assert TemplateMiner.restored(miner.state(), templates_max=5, shapes_max=3).state() == miner.state()
    assert sum(template.count for template in miner.templates()) <= total


vocabulary = st.sampled_from(
    ["job", "user", "is", "up", "down", "lost", "ann", "bob", "eve", "UP", "RUN", "7", "5 KB", "(x)", "a=b"]
)


@given(st.lists(st.lists(st.lists(vocabulary, min_size=1, max_size=5).map(" ".join), max_size=12), max_size=5))
def test_each_line_fits_its_template_ever_after(batches: list[list[str]]) -> None:
    miner = TemplateMiner()
    told: list[tuple[int, str]] = []
    for batch in batches:
        told.extend(zip(miner.add(batch), mask(pl.Series(batch, dtype=pl.String)), strict=True))
        miner = TemplateMiner.restored(miner.state())
    for number, shape in told:
        template = miner.template(number)
        assert template is not None
        assert all(one in ("<*>", other) for one, other in zip(template.text.split(), shape.split(), strict=True))
    assert sum(template.count for template in miner.templates()) == len(told)
    assert {template.id for template in miner.templates()} <= {number for number, _ in told}
