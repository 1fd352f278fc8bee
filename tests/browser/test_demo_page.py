"""A person at the demo: a real browser clicks through it, and the log must hold what was clicked, once and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_broker import free_port

from millstream import App

pytestmark = pytest.mark.browser

GOODS = ("buy-rye", "buy-spelt", "buy-crust", "buy-rye", "buy-rye", "buy-crust")
StartDemo = Callable[..., Any]


def clicks_of(log: Path) -> list[dict[str, Any]]:
    with App(str(log)) as app:
        return [record.value for record in app.topic("clicks").read(0, records_max=10_000)]


def wait_for_clicks(log: Path, count: int) -> list[dict[str, Any]]:
    """Wait on the log itself, from this process, until it holds this many clicks."""
    with App(str(log)) as app:
        topic = app.topic("clicks")
        for _ in range(200):
            if topic.end_offsets()[0] >= count:
                break
            topic.wait(topic.end_offsets(), 0.5)
    return clicks_of(log)


def press(page: Any, *names: str) -> None:
    for name in names:
        page.click(f'[data-click="{name}"]')


def test_every_click_arrives_once_and_in_order_and_nothing_is_red(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    assert page.inner_text("#tape") == "The log is empty. Click something."
    names = (*GOODS, "go-rolls", "buy-poppy", "buy-milk", "buy-poppy", "go-cakes", "buy-nut", "go-bread", *GOODS)
    press(page, *names)
    page.click("h1")
    clicks = wait_for_clicks(demo.log, len(names) + 1)
    assert [click["element"] for click in clicks] == [*names, "h1"]
    assert [click["seq"] for click in clicks] == list(range(1, len(names) + 2))
    assert len({click["load"] for click in clicks}) == 1
    assert {click["page"] for click in clicks} == {"/", "/bread", "/rolls", "/cakes"}
    assert clicks[0]["label"] == "Rye bread"

    end = str(len(clicks))
    page.wait_for_function("end => document.querySelector('#clicks-end').value === end", arg=end)
    assert page.eval_on_selector_all("#tape li", "cells => cells.at(-1).dataset.offset") == str(len(clicks) - 1)
    assert tab.red == []


def test_the_live_numbers_are_those_of_the_log(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    press(page, *GOODS, "go-rolls", "buy-milk", "go-cakes", *("buy-plum",) * 5)
    clicks = wait_for_clicks(demo.log, 14)
    expected = dict(Counter(click["page"] for click in clicks))
    page.wait_for_function(
        """expected => {
            const rows = [...document.querySelectorAll("[data-rate]")];
            return rows.length === Object.keys(expected).length
                && rows.every((row) => Number(row.dataset.count) === expected[row.dataset.rate]);
        }""",
        arg=expected,
    )
    assert page.eval_on_selector("#minute-total", "o => o.value") == "14"
    # Seen by the stream: every record on the tape carries its mark.
    page.wait_for_function("() => document.querySelectorAll('.marks .stream[data-read=true]').length === 14")
    # The last click was followed to its window.
    page.wait_for_selector('[data-step="stream"][data-state="done"]')
    assert "for /cakes" in page.inner_text('[data-step="stream"]')
    with App(str(demo.log)) as app:
        windows = [record.value for record in app.topic("clicks_per_second").read(0, records_max=1000)]
    counted: Counter[str] = Counter()
    for window in windows:
        counted[window["page"]] += window["clicks"]
    assert dict(counted) == expected
    assert tab.red == []


REMEMBERS_STATES = """() => {
    window.statesSeen = { workers: [], picture: [] };
    for (const [id, seen] of Object.entries(window.statesSeen))
        new MutationObserver((changes) => {
            for (const change of changes)
                for (const item of change.addedNodes)
                    seen.push(`${item.dataset.piece ?? ""} ${item.dataset.state}`);
        }).observe(document.getElementById(id), { childList: true });
}"""


def test_ten_jobs_become_nine_pieces_and_one_that_is_set_aside(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    page.evaluate(REMEMBERS_STATES)
    press(page, "ten-jobs")
    page.wait_for_selector('#put-jobs[data-answered="jobs 0 to 9 are on the queue"]')
    page.wait_for_selector('#picture [data-piece="7"][data-state="dead"]')
    # These pass, and may have passed before anybody looks.
    seen = page.evaluate("() => window.statesSeen")
    assert " busy" in seen["workers"]
    assert "7 retry" in seen["picture"]
    assert "set aside after 3 tries" in page.inner_text('#picture [data-piece="7"]')
    page.wait_for_function("() => document.querySelectorAll('#picture [data-state=done] img').length === 9")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#picture img')].every((image) => image.naturalWidth === 80)"
    )
    page.wait_for_selector('#ledger[data-accepted="10"][data-done="9"][data-dead="1"][data-waiting="0"]')
    page.wait_for_function("() => document.querySelectorAll('#workers [data-state=idle]').length === 3")
    with App(str(demo.log)) as app:
        assert {record.key for record in app.topic("pieces").read(0)} == {
            str(job).encode() for job in range(10) if job != 6
        }
        (letter,) = app.topic("jobs.dead").read(0)
    assert (letter.value["offset"], letter.value["attempts"]) == (6, 3)
    assert "on purpose" in letter.value["message"]
    assert tab.red == []


def test_the_report_is_what_the_log_says(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    press(page, *GOODS, "go-rolls", "buy-milk")
    for number in (1, 2):
        press(page, "report")
        page.wait_for_selector(f'#report[data-number="{number}"]')
        page.wait_for_selector(f'#run-report[data-answered="report {number} is ready"]')
    clicks = clicks_of(demo.log)
    assert len(clicks) == 10
    expected = [
        [name, str(count), "1"]
        for name, count in sorted(
            Counter(click["page"] for click in clicks).items(), key=lambda item: (-item[1], item[0])
        )
    ]
    rows = page.eval_on_selector_all(
        "#report tbody tr", "rows => rows.map((row) => [...row.cells].slice(0, 3).map((cell) => cell.textContent))"
    )
    assert rows == expected
    assert "Report 2: offsets 0 up to 10, 10 clicks" in page.inner_text("#report caption")
    most = page.inner_text("#report tbody tr:first-child td:last-child")
    assert most == "Rye bread"
    assert tab.red == []


@pytest.mark.parametrize("timers", ["", "window.setTimeout = () => 0"], ids=["as it is", "before any timer fires"])
def test_leaving_the_page_in_the_middle_of_a_click_loses_no_click(
    start_demo: StartDemo, tab: Any, context: Any, timers: str
) -> None:
    context.add_init_script(timers)
    demo = start_demo()
    address = demo.address()
    page = tab.open(address)
    press(page, "buy-rye", "ten-jobs")
    page.goto(f"{address}about")  # at once: the answer of the button never arrives
    page.click("h1")
    page.click('[data-click="back"]')
    page.wait_for_selector("#line[data-state=live]")
    press(page, "buy-spelt", "report")
    page.close()
    clicks = wait_for_clicks(demo.log, 6)
    by_load: dict[str, list[str]] = {}
    for click in clicks:
        by_load.setdefault(click["load"], []).append(click["element"])
    assert sorted(by_load.values()) == sorted([["buy-rye", "ten-jobs"], ["h1", "back"], ["buy-spelt", "report"]])
    assert [click["page"] for click in clicks if click["element"] in ("h1", "back")] == ["/about", "/about"]


def test_clicks_while_the_server_is_away_are_sent_when_it_is_back(start_demo: StartDemo, tab: Any) -> None:
    port = str(free_port())
    demo = start_demo("--port", port)
    page = tab.open(demo.address())
    press(page, "buy-rye")
    wait_for_clicks(demo.log, 1)
    assert demo.interrupt()[0] == 0
    page.wait_for_selector("#line[data-state=away]")
    press(page, "buy-spelt", "buy-crust", "ten-jobs", "buy-rye")

    again = start_demo("--port", port)
    again.address()
    page.wait_for_selector("#line[data-state=live]")
    press(page, "buy-crust")
    clicks = wait_for_clicks(again.log, 6)
    assert [click["seq"] for click in clicks] == [1, 2, 3, 4, 5, 6]
    elements = [click["element"] for click in clicks]
    assert elements == ["buy-rye", "buy-spelt", "buy-crust", "ten-jobs", "buy-rye", "buy-crust"]
    page.wait_for_selector('#put-jobs[data-answered="jobs 0 to 9 are on the queue"]')
    page.wait_for_function("() => document.querySelector('#clicks-end').value === '6'")
    assert [text for text in tab.red if "ERR_CONNECTION_REFUSED" not in text and "/events" not in text] == []


@pytest.mark.parametrize(
    "beacon",
    ["undefined", "() => false", "() => true"],
    ids=["without beacons", "with a full beacon quota", "with beacons that get lost"],
)
def test_clicks_arrive_once_and_in_order(start_demo: StartDemo, tab: Any, context: Any, beacon: str) -> None:
    context.add_init_script(f"navigator.sendBeacon = {beacon}")
    demo = start_demo()
    page = tab.open(demo.address())
    press(page, *GOODS, "report", *GOODS)
    clicks = wait_for_clicks(demo.log, 13)
    assert [click["element"] for click in clicks] == [*GOODS, "report", *GOODS]
    assert [click["seq"] for click in clicks] == list(range(1, 14))
    page.wait_for_selector('#run-report[data-answered="report 1 is ready"]')
    assert tab.red == []


def test_two_pages_see_the_same_numbers(start_demo: StartDemo, tab: Any, context: Any) -> None:
    demo = start_demo()
    address = demo.address()
    page = tab.open(address)
    press(page, *GOODS)
    second = context.new_page()
    second.goto(address)
    for seen in (page, second):
        seen.wait_for_function("() => document.querySelector('#minute-total').value === '6'")
        seen.wait_for_function("() => document.querySelector('#clicks-end').value === '6'")
    assert tab.red == []


def test_the_machines_own_log_is_followed_or_said_to_be_missing(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    page.wait_for_function("() => document.querySelector('#following').textContent !== ''")
    following = page.inner_text("#following")
    notes = page.eval_on_selector_all("#notes li", "notes => notes.map((note) => note.textContent)")
    assert following.startswith("Following ") or notes
    assert len(notes) == len(set(notes))
    with App(str(demo.log)) as app:
        lines = app.topic("system").end_offsets()[0]
    if lines:
        page.wait_for_selector("#lines li")
    assert tab.red == []


def test_behind_a_token_the_page_works_from_the_printed_address(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo("--host", "0.0.0.0")
    page = tab.open(demo.address())
    assert "token" not in page.url
    press(page, *GOODS)
    assert [click["element"] for click in wait_for_clicks(demo.log, 6)] == list(GOODS)
    assert tab.red == []


def test_the_page_works_with_the_keyboard_alone(start_demo: StartDemo, tab: Any) -> None:
    demo = start_demo()
    page = tab.open(demo.address())
    page.focus("#tab-bread")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#page-rolls:not([hidden])")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    clicks = wait_for_clicks(demo.log, 2)
    assert [click["element"] for click in clicks] == ["go-rolls", "buy-poppy"]
    names = page.eval_on_selector_all(
        "button, a, [tabindex]", "all => all.map((one) => one.textContent.trim() || one.ariaLabel)"
    )
    assert all(names)


def test_the_page_fits_a_phone(start_demo: StartDemo, chromium: Any) -> None:
    demo = start_demo()
    context = chromium.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    page.goto(demo.address())
    page.wait_for_selector("#line[data-state=live]")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_many_tabs_at_once_lose_and_double_nothing(start_demo: StartDemo, context: Any) -> None:
    demo = start_demo()
    address = demo.address()
    pages = []
    for _ in range(4):
        page = context.new_page()
        page.goto(address)
        pages.append(page)
    for name in GOODS:
        for page in pages:
            page.click(f'[data-click="{name}"]')
    clicks = wait_for_clicks(demo.log, 4 * len(GOODS))
    by_load: dict[str, list[tuple[int, str]]] = {}
    for click in clicks:
        by_load.setdefault(click["load"], []).append((click["seq"], click["element"]))
    assert list(by_load.values()) == [list(enumerate(GOODS, 1))] * 4
