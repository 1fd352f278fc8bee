"""Queue, stream or batch: the reasons, the answers to questions, the plan, its picture; without a log."""

from __future__ import annotations

import itertools
import random
import statistics
import xml.etree.ElementTree as ET
from itertools import accumulate
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.advise.arrivals import Pattern, generated_s, pattern_of
from millstream.advise.choice import choose
from millstream.advise.demand import RECORDED_MIN, demand_of
from millstream.advise.facts import Approach, Facts, Order, ReaderFacts, Use
from millstream.advise.picture import svg_of
from millstream.advise.plan import Target, fewest, plan
from millstream.advise.questions import QUESTIONS, Answers, answer_of, answers_of
from millstream.advise.simulation import lengths_of
from millstream.advise.starting import code_for, variable_of
from millstream.advise.wording import bytes_text, number_text, percent_text, rate_text, time_text
from millstream.errors import UsageError

DAY_S = 86_400.0

# --- choice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "approach"),
    [
        # mails: each is work of its own
        (Facts(use=Use.EACH, latency_s=2.0, service_s=0.3, rate_per_s=5.0), Approach.QUEUE),
        # the same, with the order of each customer kept
        (Facts(use=Use.EACH, latency_s=2.0, service_s=0.3, rate_per_s=5.0, order=Order.KEY), Approach.QUEUE),
        # thumbnails that may be ready by tomorrow are still work, one by one
        (Facts(use=Use.EACH, latency_s=DAY_S, service_s=1.0), Approach.QUEUE),
        # live counts
        (Facts(use=Use.COMBINE, latency_s=5.0, rate_per_s=2000.0), Approach.STREAM),
        # the same numbers, wanted tomorrow
        (Facts(use=Use.COMBINE, latency_s=DAY_S), Approach.BATCH),
        # a report every night
        (Facts(use=Use.WHOLE, latency_s=DAY_S), Approach.BATCH),
        # a report that is to be there when it is looked at
        (Facts(use=Use.WHOLE, latency_s=1.0), Approach.STREAM),
        # an audit trail applied in order
        (Facts(use=Use.EACH, order=Order.ALL, service_s=0.001), Approach.STREAM),
        # files that are loaded
        (Facts(records_per_append=50_000.0), Approach.BATCH),
        (Facts(raw=True), Approach.QUEUE),
        (Facts(time_field="at"), Approach.STREAM),
        (Facts(readers=(ReaderFacts(Approach.BATCH, "report"),)), Approach.BATCH),
    ],
)
def test_the_answer_is_that_of_a_person_who_knows(facts: Facts, approach: Approach) -> None:
    assert choose(facts).approach is approach


def test_an_answer_that_hangs_on_little_says_so() -> None:
    assert not choose(Facts()).sure
    assert not choose(Facts(raw=True)).sure
    assert choose(Facts(use=Use.EACH, service_s=0.3)).sure


def test_reasons_have_their_numbers() -> None:
    choice = choose(Facts(use=Use.EACH, latency_s=2.0, service_s=0.3, rate_per_s=5.0, record_bytes=250_000.0))
    text = " ".join(reason.text for reason in choice.reasons)
    for number in ("2 s", "300 ms", "1.5 workers", "250 kB"):
        assert number in text, text


def test_waves_of_work_are_a_reason_for_a_queue() -> None:
    facts = Facts(use=Use.EACH, dispersion=40.0, peak_ratio=12.0, window_s=10.0)
    assert any("12 times the mean within 10 s" in reason.text for reason in choose(facts).supporting)


def test_a_key_that_has_too_much_of_the_work_is_told() -> None:
    facts = Facts(use=Use.EACH, order=Order.KEY, key_share=0.6, service_s=0.5, rate_per_s=4.0)
    assert any("60%" in reason.text and "1.2 of a worker" in reason.text for reason in choose(facts).against)


def test_supporting_reasons_and_others_are_all_of_them() -> None:
    choice = choose(Facts(use=Use.EACH, latency_s=2.0, order=Order.KEY, service_s=0.3))
    assert sorted(map(str, (*choice.supporting, *choice.against))) == sorted(map(str, choice.reasons))
    assert [reason.approach for reason in choice.against] == [Approach.STREAM]


@given(
    st.builds(
        Facts,
        use=st.sampled_from([None, *Use]),
        latency_s=st.sampled_from([None, 0.5, 10.0, 600.0, DAY_S]),
        order=st.sampled_from([None, *Order]),
        service_s=st.sampled_from([None, 0.0001, 0.01, 0.2, 30.0]),
        rate_per_s=st.sampled_from([None, 0.01, 3.0, 20_000.0]),
    )
)
def test_what_would_change_the_answer_does(facts: Facts) -> None:
    """Each condition names an option; with it, the answer is the other one."""
    choice = choose(facts)
    for change in choice.changes:
        option, value = change.condition.rpartition("(")[2].rstrip(")").split()
        name = option.removeprefix("--")
        answers = msgspec.convert({name: float(value) if name == "rate" else value}, Answers)
        assert choose(answers.applied_to(facts)).approach is change.approach != choice.approach


def test_no_reason_is_the_same_for_all_three() -> None:
    """Points for everyone decide nothing; a rule that gives them is noise."""
    facts = Facts(use=Use.EACH, latency_s=1.0, order=Order.ALL, service_s=0.3, rate_per_s=9000.0, raw=True)
    by_text: dict[str, set[Approach]] = {}
    for reason in choose(facts).reasons:
        by_text.setdefault(reason.text, set()).add(reason.approach)
    assert all(len(approaches) < 3 for approaches in by_text.values())


# --- questions --------------------------------------------------------------------------------------------------------


def test_each_question_takes_its_own_example() -> None:
    for question in QUESTIONS:
        assert answer_of(question, question.example) is not None
        assert answer_of(question, "  \n") is None
    assert [question.name for question in QUESTIONS] == [name for name in Answers.__struct_fields__ if name != "topic"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("use", "x", "each, combine, whole"),
        ("rate", "many", "such as 5"),
        ("rate", "-1", "more than 0"),
        ("latency", "soon", "duration"),
    ],
)
def test_an_answer_to_another_question_is_refused_with_what_would_do(name: str, text: str, says: str) -> None:
    question = next(one for one in QUESTIONS if one.name == name)
    with pytest.raises(UsageError, match=says):
        answer_of(question, text)


def test_the_first_letters_of_a_choice_are_enough() -> None:
    assert answer_of(QUESTIONS[0], "Comb") == "combine"


def test_answers_are_read_from_json_and_toml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"use": "each", "latency": "2s", "rate": 5}')
    (tmp_path / "a.toml").write_text('use = "each"\nlatency = "2s"\nrate = 5\n')
    expected = Answers(use=Use.EACH, latency="2s", rate=5)
    assert answers_of(tmp_path / "a.json") == answers_of(tmp_path / "a.toml") == expected


@pytest.mark.parametrize("text", ["{", '{"use": "sometimes"}', '{"speed": 3}', "\xff"])
def test_answers_that_are_none_name_the_file_and_the_fields(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"a\.json.*latency"):
        answers_of(path)
    with pytest.raises(UsageError, match="cannot be read"):
        answers_of(tmp_path / "none.json")


def test_what_was_said_goes_before_what_was_measured() -> None:
    facts = Facts(rate_per_s=3.0, service_s=1.0)
    said = Answers(service="20ms", order=Order.KEY).over(Answers(service="5s", latency="1m"))
    assert said.applied_to(facts) == Facts(rate_per_s=3.0, service_s=0.02, latency_s=60.0, order=Order.KEY)
    with pytest.raises(UsageError, match="service is 0"):
        Answers(service="0s").applied_to(facts)


# --- arrivals ---------------------------------------------------------------------------------------------------------


def pattern(seconds: list[float]) -> Pattern:
    found = pattern_of([round(moment * 1e6) for moment in seconds])
    assert found is not None
    return found


def test_regular_arrivals_have_no_dispersion() -> None:
    found = pattern([float(number) for number in range(2000)])
    assert found.rate_per_s == pytest.approx(1.0)
    assert (found.gap_cv2, found.dispersion, found.window_s) == (0.0, 0.0, 60.0)
    assert found.peak_ratio == 1.0


def test_arrivals_at_random_have_a_dispersion_of_one() -> None:
    found = pattern(generated_s(5.0, 50_000, seed=2))
    assert found.rate_per_s == pytest.approx(5.0, rel=0.02)
    assert found.gap_cv2 == pytest.approx(1.0, abs=0.05)
    assert found.dispersion == pytest.approx(1.0, abs=0.1)


def test_waves_are_seen_in_the_counts_and_not_in_the_gaps_alone() -> None:
    """Ten minutes fast, ten minutes slow."""
    draw = random.Random(3)
    gaps = [draw.expovariate(5.0 if (number // 3000) % 2 else 1.0) for number in range(60_000)]
    found = pattern(list(accumulate(gaps)))
    assert found.gap_cv2 < 3
    assert found.dispersion > 10


def test_records_of_one_append_come_at_once() -> None:
    found = pattern([float(number // 10) for number in range(1000)])
    assert (found.records, found.appends, found.records_per_append) == (1000, 100, 10.0)


def test_one_moment_makes_no_rate_nor_do_a_few_seconds() -> None:
    assert pattern_of([number * 1000 for number in range(4000)]) is None
    assert pattern_of([]) is None
    assert pattern_of([5]) is None
    assert pattern_of([5, 5, 5]) is None


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_meets_its_target_and_one_worker_fewer_does_not() -> None:
    demand = demand_of(rate_per_s=50.0, service_s=0.2)
    found = plan(demand, Target(latency_s=1.0))
    assert found.formula is not None
    assert found.simulation is not None
    assert abs(found.formula - found.simulation) <= 1
    by_workers = {level.workers: level for level in found.levels}
    assert by_workers[found.simulation].played.latency_s <= 1.0
    fewer = by_workers.get(found.simulation - 1)
    assert fewer is None or fewer.played.latency_s > 1.0
    assert found.range is not None
    assert found.range[0] <= found.simulation <= found.range[1]
    for level in found.levels:
        assert level.wait_range_s[0] <= level.wait_range_s[1]


@pytest.mark.parametrize("seed", [1, 2])
def test_arrivals_and_work_are_drawn_apart(seed: int) -> None:
    """Drawn with the same numbers, long gaps would go with long work, and nobody would ever wait."""
    demand = demand_of(rate_per_s=0.6, service_s=1.0, seed=seed)
    found = plan(demand, Target(), seed=seed)
    level = next(level for level in found.levels if level.workers == 2)
    assert level.played.wait_s == pytest.approx(level.formula.wait_s, rel=0.25)
    gaps = [later - earlier for earlier, later in itertools.pairwise(demand.arrivals_s)]
    assert abs(statistics.correlation(gaps, demand.work(seed).services_s[1:])) < 0.05


def test_workers_that_are_always_busy_are_not_planned_with() -> None:
    found = plan(demand_of(rate_per_s=500.0, service_s=0.1), Target())
    assert found.workers is not None
    assert found.workers >= 53  # of 50 that are busy on average


def test_more_workers_than_anybody_has_are_a_slip_in_a_unit() -> None:
    with pytest.raises(UsageError, match=r"20,000 workers busy.*--service"):
        plan(demand_of(rate_per_s=20_000.0, service_s=1.0), Target())


def test_the_same_question_gets_the_same_answer() -> None:
    demand = demand_of(rate_per_s=5.0, service_s=0.2)
    assert plan(demand, Target(latency_s=1.0)) == plan(demand, Target(latency_s=1.0))


def test_waves_need_more_workers_than_the_formula_says() -> None:
    draw = random.Random(4)
    gaps = [draw.expovariate(20.0 if (number // 1000) % 2 else 1.0) for number in range(10_000)]
    times_us = [round(moment * 1e6) for moment in accumulate(gaps)]
    found = plan(demand_of(times_us=times_us, service_s=0.5), Target(latency_s=3.0))
    assert found.simulation is not None
    assert found.formula is not None
    assert found.simulation > found.formula
    assert any("waves" in note for note in found.notes)


def test_a_deadline_is_met_by_the_backlog_shared_out() -> None:
    """6,000 records of exactly 0.1 s: 600 s of work within a minute."""
    demand = demand_of(rate_per_s=1.0, service_s=0.1, spread=0.0, backlog=6000)
    found = plan(demand, Target(deadline_s=60.0))
    assert (found.formula, found.simulation) == (10, 10)
    level = next(level for level in found.levels if level.workers == 10)
    assert level.drain_s == pytest.approx(60.0)
    assert level.outcome(found.target).formula == pytest.approx(60.0)


def test_work_that_is_too_long_by_itself_is_no_question_of_workers() -> None:
    found = plan(demand_of(rate_per_s=1.0, service_s=5.0, spread=0.0), Target(latency_s=1.0))
    assert found.workers is None
    assert any("no number of workers" in note and "5 s" in note for note in found.notes)


def test_without_a_target_a_record_waits_no_longer_than_its_work_takes() -> None:
    found = plan(demand_of(rate_per_s=8.0, service_s=0.25), Target())
    assert found.formula == 3  # load 2: with three workers a wait of 4/9 of a service time
    assert "no longer" in found.wanted


def test_growth_plays_the_same_course_faster() -> None:
    times_us = [number * 100_000 for number in range(RECORDED_MIN + 1)]
    once, twice = (demand_of(times_us=times_us, service_s=0.1, growth=growth) for growth in (1.0, 2.0))
    assert once.arrivals_recorded
    assert (once.load.rate_per_s, twice.load.rate_per_s) == (pytest.approx(10.0), pytest.approx(20.0))
    assert plan(twice, Target(latency_s=1.0)).levels[0].workers >= 2


def test_measured_service_times_are_used_where_there_are_enough() -> None:
    measured = [0.1, 0.3] * RECORDED_MIN
    found = demand_of(rate_per_s=1.0, services_s=measured)
    assert found.services_recorded
    assert found.load.service_cv2 == pytest.approx(0.25)
    few = demand_of(rate_per_s=1.0, services_s=measured[:10])
    assert not few.services_recorded
    assert few.load.service_s == pytest.approx(0.2)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 2.0])
def test_assumed_service_times_have_the_stated_mean_and_spread(spread: float) -> None:
    load = demand_of(rate_per_s=1.0, service_s=0.2, spread=spread).load
    assert load.service_s == pytest.approx(0.2)
    # The longest of a distribution with a long tail are beyond a sample of it.
    assert load.service_cv2 == pytest.approx(spread**2, rel=0.3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"service_s": 0.1}, "--rate"),
        ({"rate_per_s": 1.0}, "--service"),
        ({"rate_per_s": 0.0, "service_s": 0.1}, "above 0"),
        ({"rate_per_s": 1.0, "service_s": 0.0}, "above 0"),
        ({"rate_per_s": 1.0, "service_s": 0.1, "growth": 0.0}, "--growth"),
        ({"rate_per_s": 1.0, "service_s": 0.1, "spread": -1.0}, "--spread"),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_its_option(given: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        demand_of(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "says"),
    [(Target(share=1.0), "--share"), (Target(latency_s=0.0), "--latency"), (Target(deadline_s=0.0), "--deadline")],
)
def test_a_target_out_of_range_is_named_with_its_option(target: Target, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        plan(demand_of(rate_per_s=1.0, service_s=0.1), target)


@given(st.integers(1, 50), st.integers(0, 300), st.integers(1, 300))
def test_the_fewest_are_found_in_few_looks(least: int, answer: int, most: int) -> None:
    looks = itertools.count()

    def enough(workers: int) -> bool:
        next(looks)
        return workers >= answer

    expected = max(least, answer) if max(least, answer) <= max(least, most) else None
    assert fewest(enough, least, max(least, most)) == expected
    assert next(looks) <= 20


@pytest.mark.parametrize("target", [Target(latency_s=1.0), Target(deadline_s=60.0), Target()])
def test_the_picture_is_xml_with_every_level(target: Target) -> None:
    demand = demand_of(rate_per_s=5.0, service_s=0.2, backlog=1000)
    found = plan(demand, target)
    assert found.workers is not None
    picture = svg_of(found, lengths_of(demand.work(1), found.workers, 50), "mails <& more>")
    root = ET.fromstring(picture)
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "mails <& more>" in texts
    for level in found.levels:
        assert any(text.startswith(f"{level.workers} worker") for text in texts)
    assert "nan" not in picture
    assert "inf" not in picture
    ET.fromstring(svg_of(found, [], "without the queue's length"))


# --- code and words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("approach", list(Approach))
@pytest.mark.parametrize("topic", ["clicks", "clicks.dead", "7-up", "class", "count", "app"])
def test_the_code_to_start_from_is_python(approach: Approach, topic: str) -> None:
    for order in Order:
        code = code_for(
            approach,
            Facts(topic=topic, order=order, key_field='odd"name', fields=('odd"name',), latency_s=7200.0),
            workers=3,
        )
        compile(code, "app.py", "exec")
    assert variable_of(topic).isidentifier()


@pytest.mark.parametrize(
    ("latency_s", "due"), [(None, 'cron="5 0 * * *"'), (DAY_S, 'cron="5 0 * * *"'), (3600.0, 'every="30m"')]
)
def test_a_batch_is_due_often_enough(latency_s: float | None, due: str) -> None:
    assert due in code_for(Approach.BATCH, Facts(latency_s=latency_s))


def test_numbers_read_as_people_say_them() -> None:
    assert [time_text(value) for value in (0, 0.000_25, 0.0123, 0.9999, 2.0, 75.0)] == [
        "0 s", "250 us", "12.3 ms", "1 s", "2 s", "1 min 15 s",
    ]  # fmt: skip
    assert [rate_text(value) for value in (1234.0, 2.5, 0.1, 0.001, 0.000_02)] == [
        "1,234 a second", "2.5 a second", "6 a minute", "3.6 an hour", "1.7 a day",
    ]  # fmt: skip
    assert (number_text(0.042), percent_text(0.034), percent_text(0.5)) == ("0.042", "3.4%", "50%")
    assert [bytes_text(value) for value in (12.0, 1500.0, 2e6, 3e9)] == ["12 B", "1.5 kB", "2 MB", "3 GB"]
    assert time_text(float("inf")) == "for ever"
