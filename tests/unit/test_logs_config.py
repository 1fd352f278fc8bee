"""What a configuration of `millstream logs` may say, and what it is told where it is wrong."""

from __future__ import annotations

import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from millstream import UsageError
from millstream.logs.config import Config, parse_config, read_config
from millstream.logs.listeners import FilesListener, ListenerTable, SyslogListener, address_of
from millstream.logs.outputs import TopicOutput, WebhookOutput
from millstream.logs.rules import DEFAULT
from millstream.sources.evtx import EvtxSource
from millstream.sources.files import FileSource
from millstream.sources.macos import MacosSource
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.windows import WindowsSource

RULE = """
[[rule]]
name = "r"
message = ""
[rule.threshold]
count = 3
within = "1m"
"""


def test_configuration_has_sources_rules_outputs_and_examples_in_their_order() -> None:
    found = parse_config(
        """
        [[source]]
        kind = "files"
        paths = ["/var/log/app.log"]

        [[source]]
        kind = "syslog"
        udp = "5514"

        [[output]]
        name = "kept"
        kind = "topic"
        topic = "kept"
        where = "kind = 'login'"

        [[output]]
        name = "told"
        kind = "webhook"
        url = "http://127.0.0.1/hook"
        of = "alerts"
        where = "level = 'high' AND count > 3"

        [[example]]
        lines = ["a line"]
        events = [{ message = "a line" }]
        alerts = 0
        """
        + RULE,
        "test.toml",
    )
    files, syslog = found.sources
    assert isinstance(files, FilesListener)
    assert isinstance(syslog, SyslogListener)
    kept, told = found.outputs
    assert isinstance(kept, TopicOutput)
    assert isinstance(told, WebhookOutput)
    assert (kept.sink(), told.of) == ("kept", "alerts")
    assert [rule.name for rule in found.rules] == ["r"]
    assert found.examples[0].events == [{"message": "a line"}]


def test_rules_file_is_a_configuration() -> None:
    assert len(read_config(DEFAULT).rules) > 5
    assert parse_config("", "empty") == Config(origin="empty")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[sources]]", ["'sources'", "[[source]]", "[[output]]"]),
        ("[source]\nkind = 'files'", ["source", "[[source]]"]),
        ("\n\n[[source]]", ["source 1 (line 3)", "kind", "journal"]),
        ("[[source]]\nkind = 'file'", ["source 1 (line 1)", "'file'", "files, journal"]),
        ("[[source]]\nkind = 'files'", ["source 1", "`paths`", "missing"]),
        ("[[source]]\nkind = 'files'\npaths = 'x'", ["source 1", "paths", "a list"]),
        ("[[source]]\nkind = 'files'\npath = ['x']\npaths = []", ["source 1", "`path`", "kind, paths, lines_first"]),
        (RULE + "[[rule]]\nname = 'two'\nmessage = ''\ncolour = 'red'", ["rule 2 (line 8)", "`colour`", "threshold"]),
        (RULE + "every = 3", ["rule 1", "threshold", "every"]),
        (RULE.replace("3", "'x'"), ["rule 1", "threshold.count", "a whole number"]),
        ("[[output]]\nname = 'a'\nkind = 'topic'\ntopic = 'x'\n" * 2, ["output 2 (line 5)", "'a' is taken"]),
        ("[[output]]\nname = 'rules'\nkind = 'stdout'", ["output 1", "'rules' is taken"]),
        ("[[output]]\nname = 'A B'\nkind = 'stdout'", ["output 1", "small letters"]),
        ("[[output]]\nname = 'a'\nkind = 'stdout'\nwhere = 'who = 1'", ["output 1", "where", "'who'"]),
        ("[[output]]\nname = 'a'\nkind = 'stdout'\nof = 'alert'", ["of: there is no 'alert'", "events", "alerts"]),
        (RULE.replace("[rule.threshold]", "level = 'hi'\n[rule.threshold]"), ["level: there is no 'hi'", "critical"]),
        ("[[example]]\nlines = ['x']", ["give events, alerts, or both"]),
        ("[[output]]\nname = 'a'\nkind = 'stdout'\nof = 'alerts'\nwhere = 'user = 1'", ["alerts have no field 'user'"]),
        ("[[output]]\nname = 'a'\nkind = 'webhook'\nurl = 'ftp://x'", ["output 1", "https://"]),
        ("[[output]]\nname = 'a'\nkind = 'files'\nfolder = 'x'\nevery = 'week'", ["output 1", "every", "week"]),
        ("[[output]]\nname = 'a'\nkind = 'webhook'\nurl = '${NOWHERE}'", ["output 1", "url", "NOWHERE"]),
        ("[[example]]\nlines = 1", ["example 1", "lines"]),
        ("[[source", ["test.toml"]),
    ],
)
def test_wrong_configuration_says_which_table_which_key_and_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_config(text, "test.toml", {})
    for word in ["test.toml", *words]:
        assert word in str(raised.value)


def test_secrets_come_from_the_environment_and_a_check_does_without() -> None:
    text = "[[output]]\nname = 'a'\nkind = 'webhook'\nurl = 'https://${HOST}/x'\nsecret = '${HOOK_SECRET}'"
    [output] = parse_config(text, "test.toml", {"HOST": "example.com", "HOOK_SECRET": "hidden"}).outputs
    assert isinstance(output, WebhookOutput)
    assert (output.url, output.secret) == ("https://example.com/x", "hidden")
    assert "hidden" not in str(output.sink()) + repr(output.sink())
    [output] = parse_config(text, "test.toml").outputs
    assert isinstance(output, WebhookOutput)
    assert output.secret == "${HOOK_SECRET}"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("514", ("127.0.0.1", 514)), ("0.0.0.0:601", ("0.0.0.0", 601)), ("[::1]:6514", ("::1", 6514))],
)
def test_address_is_a_port_with_or_without_a_host(text: str, wanted: tuple[str, int]) -> None:
    assert address_of(text, "udp") == wanted


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "1:70000"])
def test_no_address_is_told_what_one_is(text: str) -> None:
    with pytest.raises(UsageError, match="tcp is"):
        address_of(text, "tcp")


def opened_sources(text: str) -> list[object]:
    [listener] = parse_config("[[source]]\n" + text, "test.toml").sources
    assert isinstance(listener, ListenerTable)
    return list(listener.open(follow=False))


def test_sources_open(tmp_path: Path) -> None:
    [source] = opened_sources(f"kind = 'files'\npaths = ['{tmp_path / 'a.log'}']")
    assert isinstance(source, FileSource)
    [server] = opened_sources("kind = 'syslog'\nudp = '0'\ntcp = '127.0.0.1:0'")
    assert isinstance(server, SyslogServer)
    with closing(server):
        assert set(server.ports) == {"udp", "tcp"}
    assert opened_sources("kind = 'system'\nlines_first = 5") is not None
    [receiver] = opened_sources("kind = 'otlp'\nlisten = '0'")
    assert isinstance(receiver, OtlpServer)
    with closing(receiver):
        assert receiver.port > 0


def test_sources_of_windows_and_macos_open(tmp_path: Path) -> None:
    [windows] = opened_sources("kind = 'windows'\nchannels = ['System']\nevents_first = 5")
    assert isinstance(windows, WindowsSource)
    [mac] = opened_sources("kind = 'macos'\npredicate = ''")
    assert isinstance(mac, MacosSource)
    pytest.importorskip("evtx", reason='pip install "millstream[evtx]"')
    [files] = opened_sources(f"kind = 'evtx'\npaths = ['{tmp_path}/*.evtx']")
    assert isinstance(files, EvtxSource)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind = 'files'\npaths = []", "paths"),
        ("kind = 'windows'\nchannels = []", "wevtutil enum-logs"),
        ("kind = 'evtx'\npaths = []", "paths"),
        ("kind = 'syslog'", "udp, tcp or tls"),
        ("kind = 'syslog'\ntls = '0'", "certificate"),
        ("kind = 'syslog'\ntls = '0'\ncertificate = '/nowhere/cert.pem'", "certificate"),
        ("kind = 'otlp'\nlisten = '0.0.0.0:0'", "give a token"),
        ("kind = 'otlp'\nlisten = '0'\ntoken = 'short'", "16"),
        ("kind = 'otlp'\nlisten = '0'\nkey = 'x'", "certificate"),
    ],
)
def test_source_that_cannot_be_opened_says_what_to_give(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        opened_sources(text)


def test_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="port"):
            opened_sources(f"kind = 'syslog'\ntcp = '{taken.getsockname()[1]}'")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind = 'otlp'\nurl = 'http://a:4318'\nheaders = {X-Token = 't'}", "OTLP http://a:4318"),
        ("kind = 'syslog'\nurl = 'tcp://a'\nframing = 'lines'\nfacility = 'auth'", "syslog tcp://a:601"),
        ("kind = 'mail'\nurl = 'smtps://a'\nto = ['b@c.example']\nevery = '1h'\nsender = 'd@e.example'",
         "mail to b@c.example by smtps://a:465"),
        ("kind = 'webhook'\nurl = 'https://a/'\nsecret = 's'\nsignature = 'stripe'", "web hook https://a"),
    ],
)  # fmt: skip
def test_outputs_of_the_network_are_read(text: str, wanted: str) -> None:
    [output] = parse_config("[[output]]\nname = 'out'\nof = 'alerts'\n" + text, "test.toml").outputs
    assert str(output.sink()).startswith(wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind = 'mail'\nurl = 'smtp://a'\nto = []", "at least one address"),
        ("kind = 'syslog'\nurl = 'tls://a'\nauthorities = '/nowhere/ca.pem'", "authorities"),
        ("kind = 'webhook'\nurl = 'https://a/'\nsignature = 'md5'", "signature"),
    ],
)
def test_output_of_the_network_that_cannot_be_meant_says_what_to_give(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_config("[[output]]\nname = 'out'\n" + text, "test.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[step]]\nkind = "filter"\nwhere = "true"\n[[step]]\nkind = "dedupe"\nwithin = 5',
            'step 2 (line 4), kind dedupe, within: there is 5, which is to be a text in quotes, such as within = "5s"',
        ),
        (
            RULE.replace("count = 3", 'count = "3"'),
            'rule 1 (line 2), threshold.count: there is "3", which is to be a whole number, such as count = 3',
        ),
        (
            RULE.replace("[rule.threshold]", "level = 3\n[rule.threshold]"),
            "rule 1 (line 2), level: there is no 3; there is informational, low, medium, high, critical",
        ),
        (
            '[[source]]\nkind = "files"\npaths = "/var/log/a.log"',
            'source 1 (line 1), kind files, paths: there is "/var/log/a.log", which is to be a list in brackets, '
            'such as paths = ["/var/log/a.log"]',
        ),
        (
            '[[source]]\nkind = "files"\npaths = ["a", 3]',
            'source 1 (line 1), kind files, paths[1]: there is 3, which is to be a text in quotes, such as "3"',
        ),
        (
            '[[source]]\nkind = "files"\npaths = ["a"]\nlines_first = "all"',
            'lines_first: there is "all", which is to be a whole number, such as lines_first = 10000',
        ),
        (
            '[[output]]\nkind = "webhook"\nname = "o"\nurl = "http://127.0.0.1/"\nheaders = { a = "x", b = 3 }',
            'output 1 (line 1), kind webhook, headers[...]: there is 3, which is to be a text in quotes, such as "3"',
        ),
        ('[logs]\nsealed = "no"', 'sealed: there is "no", which is to be true or false, such as sealed = false'),
        (RULE.replace("[rule.threshold]", "threshold = 3\n[x]"), "threshold: there is 3, which is to be a table"),
    ],
)
def test_value_of_another_type_is_told_with_what_is_there_what_is_wanted_and_an_example(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_config(text.replace('\n[x]\ncount = 3\nwithin = "1m"', ""), "c.toml")
    assert str(raised.value).startswith("c.toml, ")
    assert said in str(raised.value)


def test_sigma_table_without_the_extra_says_file_table_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigma.collection", None)  # as where it is not installed
    with pytest.raises(UsageError) as raised:
        parse_config(RULE + '[[sigma]]\npath = "rules"', "c.toml")
    for words in ("c.toml, sigma 1 (line 8), path 'rules'", "pip install 'millstream[sigma]'"):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("text", "module", "words"),
    [
        (
            '[[source]]\nkind = "kafka"\nurl = "kafka://127.0.0.1:1/t"',
            "confluent_kafka",
            "source 1 (line 1): .*[kafka]",
        ),
        ('[[source]]\nkind = "nats"\nurl = "nats://127.0.0.1:1"\nstream = "s"', "nats", "source 1 (line 1): .*[nats]"),
        ('[[source]]\nkind = "evtx"\npaths = ["a.evtx"]', "evtx", "source 1 (line 1): .*[evtx]"),
        (
            '[[output]]\nkind = "table"\nname = "a"\nurl = "postgresql://u@127.0.0.1/d"\ntable = "t"',
            "psycopg",
            "output 1 (line 1): .*[postgres]",
        ),
        (
            '[[output]]\nkind = "kafka"\nname = "a"\nurl = "kafka://127.0.0.1:1/t"',
            "confluent_kafka",
            "output 1 (line 1): .*[kafka]",
        ),
    ],
)
def test_package_that_is_missing_is_told_of_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, text: str, module: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    parse_config(text, "c.toml")  # a check may run elsewhere
    front, _, extra = words.partition(".*")
    with pytest.raises(UsageError) as raised:
        parse_config(text, "c.toml", {})
    assert str(raised.value).startswith(f"c.toml, {front}")
    assert str(raised.value).endswith(f"pip install 'millstream{extra}'")


def test_packages_that_are_not_needed_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    parse_config('[[output]]\nkind = "table"\nname = "a"\nurl = "a.db"\ntable = "t"', "c.toml", {})
