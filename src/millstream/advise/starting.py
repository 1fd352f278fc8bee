"""The code to start from: a program that runs as it stands, in the words of the topic it is for."""

from __future__ import annotations

import json
import keyword
import re
from typing import Final

from millstream.advise.facts import Approach, Facts, Order
from millstream.durations import span_text

DAY_S: Final = 86_400.0

_HEAD: Final = """\
{imports}

app = App()
{variable} = app.topic({topic}{type})


"""

_TAIL: Final = """

if __name__ == "__main__":
    app.run()
"""


def code_for(approach: Approach, facts: Facts, *, workers: int | None = None) -> str:
    """Return a program for `millstream run app.py` that reads the topic in this way.

    Args:
        workers: Of a queue; None: as many as the load needs, up to 8.
    """
    variable = variable_of(facts.topic)
    # What exists is read as what it holds; what does not yet is a topic of JSON objects.
    type = "" if facts.records else ", dict"
    match approach:
        case Approach.QUEUE:
            imports, body = "from millstream import App, Retry", _queue(variable, facts, workers)
        case Approach.STREAM:
            imports, body = "from millstream import App, count, tumbling", _stream(variable, facts)
        case Approach.BATCH:
            imports, body = "import polars as pl\n\nfrom millstream import App", _batch(variable, facts)
    head = _HEAD.format(imports=imports, variable=variable, topic=_quoted(facts.topic), type=type)
    return head + body + _TAIL


def variable_of(topic: str) -> str:
    """Return a name for a topic that Python takes."""
    name = re.sub(r"\W+", "_", topic).strip("_").lower()
    if not name or name[0].isdigit() or keyword.iskeyword(name) or name in ("app", "count", "tumbling", "pl"):
        name = f"topic_{name}".rstrip("_")
    return name


def _half(seconds: float) -> str:
    return span_text(max(1, int(seconds / 2)) * 1_000_000)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _queue(variable: str, facts: Facts, workers: int | None) -> str:
    options = [f"workers={workers if workers is not None else '(1, 8)'}", "retry=Retry(attempts=5)"]
    if facts.order is Order.ALL:
        options[0] = "workers=1"
    elif facts.order is Order.KEY:
        # Without a key field the records' own keys count, of each of which one is handled at a time.
        options.append(f"order_by={_quoted(facts.key_field)}" if facts.key_field else "concurrency=1")
    value = "value: bytes" if facts.raw else "value: dict"
    return f"""\
@app.queue({variable}, {", ".join(options)})
def work({value}) -> None:
    print("working on", value)  # what raises is tried again, and set aside after five attempts
"""


def _stream(variable: str, facts: Facts) -> str:
    key = facts.key_field if facts.key_field in facts.fields else None
    by = f", by={_quoted(key)}" if key else ""
    return f"""\
@app.stream({variable})
def per_minute(s):
    return s.window(tumbling(minutes=1){by}).agg(records=count()).to({_quoted(facts.topic + "_per_minute")})
"""


def _batch(variable: str, facts: Facts) -> str:
    latency_s = facts.latency_s
    # A result is as late as its run is long away: half of what is allowed leaves room for the run itself.
    due = 'cron="5 0 * * *"' if latency_s is None or latency_s >= DAY_S else f'every="{_half(latency_s)}"'
    return f"""\
@app.batch({variable}, {due})
def report(frame: pl.LazyFrame) -> None:
    print(frame.select(pl.len()).collect().item(), "records since the last run")
"""
