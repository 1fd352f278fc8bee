"""Forms with files, taken apart however they come; names of files that are safe everywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream.triggers.http.multipart import MultipartParser, PartBegins, PartData, boundary_of
from millstream.triggers.http.refusal import Refused
from millstream.triggers.http.safe_name import NAME_BYTES_MAX, safe_name

BOUNDARY = b"----bound"


def form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    pieces = []
    for name, filename, data in parts:
        disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        pieces.append(b"--%b\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (BOUNDARY, disposition.encode(), data))
    return b"".join(pieces) + b"--" + BOUNDARY + b"--\r\n"


def parse(body: bytes, cuts: list[int]) -> list[tuple[str, str | None, bytes]]:
    parser = MultipartParser(BOUNDARY)
    found: list[tuple[str, str | None, bytes]] = []
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        for piece in parser.feed(body[start:end]):
            if isinstance(piece, PartBegins):
                found.append((piece.name, piece.filename, b""))
            elif isinstance(piece, PartData):
                name, filename, data = found[-1]
                found[-1] = (name, filename, data + piece.data)
    parser.close()
    return found


PIECES = [b"\r\n", b"--", BOUNDARY, b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"x", b"\r", b"\0"]
DATA = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES)).map(b"".join)
PARTS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "f.txt"]), DATA), max_size=4)


@given(PARTS, st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=300, deadline=None)
@example([("a", None, b""), ("b", "f.txt", b"")], [])
def test_a_form_is_the_same_however_it_is_cut(parts: list[tuple[str, str | None, bytes]], cuts: list[int]) -> None:
    parts = [part for part in parts if b"\r\n--" + BOUNDARY not in b"\r\n" + part[2]]
    assert parse(form(parts), cuts) == parts


def test_memory_is_bounded_whatever_comes() -> None:
    parser = MultipartParser(BOUNDARY)
    list(parser.feed(form([("a", "f", b"")])[:-17]))
    for _ in range(100):
        list(parser.feed(b"x" * 65536))
        assert len(parser._buffer) < 65536


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no form at all", "cut_off"),
        (form([("a", "f", b"x")])[:-6], "cut_off"),
        (b"--" + BOUNDARY + b"\r\nX: y\r\n\r\nz", "bad_form"),
        (b"--" + BOUNDARY + b"junk\r\n", "bad_form"),
        (b"--" + BOUNDARY + b"\r\n" + b"h" * 9000, "bad_form"),
        (form([("a", None, b"")] * 1001), "too_large"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(body, [])
    assert refused.value.code == code


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 71])
def test_a_form_without_a_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(Refused, match="boundary"):
        boundary_of("multipart/form-data" + boundary)


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.dll", "x.dll"),
        ("/", "upload"),
        ("", "upload"),
        ("..", "upload"),
        (".bashrc", "bashrc"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1 .txt", "_com1 .txt"),
        ("a:stream", "a_stream"),
        ("trailing. . ", "trailing"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("Übung 1.pdf", "Übung 1.pdf"),
    ],
)
def test_a_name_is_made_safe(given: str, safe: str) -> None:
    assert safe_name(given) == safe


@given(st.text(max_size=400))
def test_a_safe_name_is_safe_and_stays_so(given: str) -> None:
    name = safe_name(given)
    assert name
    assert not set(name) & set('/\\\0<>:"|?*\n')
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert len(name.encode()) <= NAME_BYTES_MAX + 1
    assert safe_name(name) == name
