"""The model in a form: found wherever the pieces are cut, and nowhere but in its own field."""

from __future__ import annotations

import email.parser
import email.policy
import itertools

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.wire import form
from proxy.wire.form import FormScanner, boundary, is_form

Found = tuple[list[tuple[int, int]], str | None, bool]


def scan(raw: bytes, mark: bytes, cuts: list[int] | None = None) -> Found:
    """Spans, model and whether the end was seen, with `raw` fed in pieces cut at `cuts`."""
    scanner = FormScanner(mark)
    edges = [0, *sorted(cuts or []), len(raw)]
    for start, end in itertools.pairwise(edges):
        scanner.feed(raw[start:end])
    return scanner.spans, scanner.model, scanner.ended


def outcome(raw: bytes, mark: bytes, cuts: list[int] | None = None) -> Found | str:
    """The same, or the sentence of the error."""
    try:
        return scan(raw, mark, cuts)
    except BadRequest as error:
        return str(error)


# --- Forms whose spans are known because the test puts them together.

HEADS = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="model"',
        b"Content-Disposition: form-data; name=model",
        b'content-disposition:form-data;name="model"',
        b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain',
        b'CONTENT-DISPOSITION : Form-Data ; NAME="model" ; x=y',
        b'Content-Disposition: form-data; x="; name=\\"other"; name="model"',
        b"Content-Disposition: form-data; x=y; name=model; z=1",
    ]
)
OTHER_HEADS = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav',
        b'Content-Disposition: form-data; name="file"; filename="x; name=model; y"',
        b'Content-Disposition: form-data; name="file"; filename="; name=\\"model\\""',
        b'Content-Disposition: form-data; name="models"',
        b'Content-Disposition: form-data; name="Model"',
        b"Content-Disposition: form-data; name=modeling",
        b'Content-Disposition: form-data; name="my model"',
        b'Content-Disposition: form-data; filename="model"; name="file"',
        b'Content-Disposition: form-data; xname="model"; name="a"',
        b'Content-Disposition: attachment; name="model"',
        b'X-Content-Disposition: form-data; name="model"',
        b'X-Other: a\r\nX-More: content-disposition: form-data; name="model"',
        b"Content-Type: text/plain",
        b"",
    ]
)
MODELS = st.sampled_from(
    [b"whisper-1", b"a", "modèle".encode(), b"gpt-4o-transcribe", b" spaced ", b"a\r\nb", b"--", b"x" * 1024]
)
MARK = st.sampled_from([b"B", b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"a'()+_,-./:=?", b"-", b"--"])
CONTENTS = st.lists(
    st.sampled_from(
        [
            b'name="model"', b"\r\n", b"\r", b"\n", b"--", b"-", b"\r\n-", b"\r\n--", b"\x00\xff", b"data" * 20, b"\r\n\r\n",
            b'Content-Disposition: form-data; name="model"\r\n\r\nfake',
        ]
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, bytes, Found]:
    """A body, its boundary, and what the scanner must find in it."""
    mark = draw(MARK)
    raw = draw(st.sampled_from([b"", b"", b"a preamble\r\n", b"\r\n"]))
    spans: list[tuple[int, int]] = []
    model = None
    for named in draw(st.lists(st.booleans(), max_size=4)):
        raw += b"--" + mark + draw(st.sampled_from([b"", b"", b" ", b"\t  "])) + b"\r\n"
        head = draw(HEADS if named else OTHER_HEADS)
        raw += head + (b"\r\n\r\n" if head else b"\r\n")
        if named:
            value = draw(MODELS)
            model = value.decode().strip()
            spans.append((len(raw), len(raw) + len(value)))
            raw += value + b"\r\n"
        else:
            # Look-alikes: a delimiter that goes on is none, and so is one without its line end before it.
            alike = draw(
                st.sampled_from(
                    [
                        b"",
                        b"\r\n--" + mark + b"X",
                        b"\r\n--" + mark + b"\rX",
                        b"x--" + mark + b"\r\n",
                        b"\r\n--" + mark[:-1],
                    ]
                )
            )
            content = draw(CONTENTS) + alike + b"."
            if b"\r\n--" + mark + b"\r\n" in b"\r\n" + content or b"\r\n--" + mark + b"--" in b"\r\n" + content:
                content = b"plain"
            raw += content + b"\r\n"
    ended = draw(st.booleans())
    if ended:
        raw += b"--" + mark + b"--" + draw(st.sampled_from([b"", b"\r\n", b"\r\nan epilogue --" + mark + b"\r\n"]))
    else:
        raw += b"--" + mark[:-1]
        if spans and raw.endswith(b"--" + mark):  # cannot be: the mark lacks its last character
            raise AssertionError
    # The last value ends where its delimiter begins; a form that ends before it has not said all of its model.
    return raw, mark, (spans, model, ended)


def settled(found: Found, expected: Found) -> bool:
    """Whether `found` is `expected`, or all of it but a last value whose delimiter never came."""
    if expected[2]:
        return found == expected
    return expected[0][: len(found[0])] == found[0] and len(expected[0]) - len(found[0]) <= 1 and not found[2]


@given(forms(), st.data())
def test_the_spans_are_those_of_the_model_fields(built: tuple[bytes, bytes, Found], data: st.DataObject) -> None:
    """Whole, at random cuts: what the test built is what is found."""
    raw, mark, expected = built
    whole = scan(raw, mark)
    assert settled(whole, expected)
    assert scan(raw, mark, data.draw(st.lists(st.integers(0, len(raw)), max_size=12))) == whole
    assert scan(raw, mark, list(range(len(raw)))) == whole


SAMPLE = (
    b'preamble\r\n--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--BX\r\n--\r\nname="model"\r\n'
    b'--B \t\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B\r\n\r\nno head\r\n--B--\r\nepilogue'
)


@pytest.mark.parametrize("cut", range(len(SAMPLE) + 1))
def test_one_cut_anywhere(cut: int) -> None:
    """Every pair of pieces gives what the whole gives."""
    at = SAMPLE.index(b"whisper-1")
    assert scan(SAMPLE, b"B", [cut]) == ([(at, at + 9)], "whisper-1", True)


@given(
    st.text(min_size=1, max_size=20).map(str.strip).filter(bool),
    st.binary(max_size=300),
    st.text('abc"\\;= é\r\n', max_size=12),
    st.booleans(),
    st.lists(st.integers(0, 3000), max_size=5),
)
def test_what_httpx_writes(model: str, file: bytes, filename: str, first: bool, cuts: list[int]) -> None:
    """The encoder under the SDKs, with names and contents of every kind, model before or after the file."""
    try:
        model.encode()
    except UnicodeEncodeError:
        return
    fields: list[tuple[str, tuple[str | None, bytes]]] = [("file", (filename, file)), ("language", (None, b"en"))]
    fields.insert(0 if first else 1, ("model", (None, model.encode())))
    request = httpx2.Request("POST", "http://localhost/", files=fields)
    raw, content_type = request.read(), request.headers["content-type"]
    assert is_form(content_type)
    spans, found, ended = scan(raw, boundary(content_type), [cut for cut in cuts if cut < len(raw)])
    assert (found, ended) == (model, True)
    assert [raw[start:end] for start, end in spans] == [model.encode()]


@given(
    st.lists(
        st.tuples(st.sampled_from(["model", "file", "x"]), st.text("abc", min_size=1, max_size=5)),
        min_size=1,
        max_size=5,
    )
)
def test_python_s_mail_parser_agrees(fields: list[tuple[str, str]]) -> None:
    """Another reader of multipart finds the same values."""
    raw = b"".join(
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields
    )
    raw += b"--B--\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + raw
    )
    theirs = [
        part.get_payload()
        for part in message.iter_parts()
        if part.get_param("name", header="content-disposition") == "model"
    ]
    assert [raw[start:end].decode() for start, end in scan(raw, b"B")[0]] == theirs


def part(value: bytes, head: bytes = b'Content-Disposition: form-data; name="model"') -> bytes:
    """A form with one part."""
    return b"--B\r\n" + head + b"\r\n\r\n" + value + b"\r\n--B--"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (part(b""), "an empty string"),
        (part(b" \t\r\n "), "an empty string"),
        (part(b"\xff\xfe"), "not UTF-8"),
        (part(b"a" * (form.MODEL_MAX + 1)), "longer than 1024 bytes"),
        (part(b"a" * 100_000), "longer than 1024 bytes"),
        (part(b"v", b"X: " + b"a" * (form.PART_HEAD_MAX - 4)), "more than 16 KiB"),
        (part(b"v", b"X: " + b"a" * 100_000), "more than 16 KiB"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_bad_parts_are_refused_however_they_are_cut(raw: bytes, said: str, size: int) -> None:
    """The bounds hold for a piece that brings everything at once as for single bytes."""
    assert said in str(outcome(raw, b"B", list(range(0, len(raw), size)) if size > 1 or len(raw) < 20_000 else None))


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_the_bounds_themselves_are_within(size: int) -> None:
    """The longest model, and the longest head, are taken."""
    raw = part(b"a" * form.MODEL_MAX)
    assert scan(raw, b"B", list(range(0, len(raw), size)))[1] == "a" * form.MODEL_MAX
    head = b'Content-Disposition: form-data; name="model"\r\nX: '
    raw = part(b"v", head + b"a" * (form.PART_HEAD_MAX - len(head) - 2))
    assert scan(raw, b"B", list(range(0, len(raw), size)))[1] == "v"
    assert "16 KiB" in str(outcome(part(b"v", head + b"a" * (form.PART_HEAD_MAX - len(head) - 1)), b"B"))


@pytest.mark.parametrize(
    "endless",
    [b" \t" * 5000, b"x" * 10_000, b"\r\n--aX" * 2000, b"\r\n--a\r\n\r\n" * 1000, b"\r\n" * 5000],
    ids=["padding", "file", "look-alikes", "parts", "line ends"],
)
def test_a_body_of_any_size_is_not_held(endless: bytes) -> None:
    """After each piece the scanner keeps no more than may still become a delimiter or a head."""
    scanner = FormScanner(b"a")
    scanner.feed(b"--a" if endless[:1] == b" " else b"--a\r\n\r\n")
    for _ in range(20):
        scanner.feed(endless)
        assert len(scanner._buffer) <= 16
    assert scanner.spans == [] and not scanner.ended


def test_nothing_is_read_behind_the_end() -> None:
    """An epilogue is no part of the form."""
    scanner = FormScanner(b"B")
    scanner.feed(b"--B--")
    scanner.feed(b"\r\n" + part(b"late"))
    assert (scanner.ended, scanner.spans) == (True, [])


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data; BOUNDARY=abc", b"abc"),
        ('multipart/form-data; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data;boundary=abc; charset=utf-8", b"abc"),
        ("multipart/form-data; charset=utf-8; boundary=--x", b"--x"),
        ("multipart/form-data; boundary=" + "b" * 70, b"b" * 70),
    ],
)
def test_the_boundary(content_type: str, expected: bytes) -> None:
    """Quoted or not, wherever it stands among the parameters."""
    assert is_form(content_type) and boundary(content_type) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "b" * 71,
        'multipart/form-data; boundary="é"',
        'multipart/form-data; boundary="a\x01b"',
    ],
)
def test_no_boundary_that_could_be_used(content_type: str) -> None:
    """The message names the parameter."""
    with pytest.raises(BadRequest, match="`boundary`"):
        boundary(content_type)


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "multipart/mixed; boundary=a", "text/multipart/form-data"]
)
def test_what_is_no_form(content_type: str | None) -> None:
    """Only multipart/form-data is scanned."""
    assert not is_form(content_type)
