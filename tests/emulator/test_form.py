"""The emulator's form reader: it must find out a form that a relay damaged."""

from __future__ import annotations

import pytest

from proxy.dev.demo_stage import Refused
from tests.emulator.form import Form, Part, parse_form

TYPE = 'multipart/form-data; boundary="b1"'
GOOD = (
    b'--b1\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: x/y\r\n\r\n\r\n--b2\r\n\r\n'
    b"--b1--\r\n"
)


def test_good_form_is_read_byte_for_byte() -> None:
    """Values, file names and contents come out as they stand, line ends at the edges of a content included."""
    form = parse_form(TYPE, GOOD)
    assert form == Form((Part("model", None, b"m"), Part("file", "a.bin", b"\r\n--b2\r\n")))
    assert (form.value("model"), form.value("other", "o"), form.file("file").filename) == ("m", "o", "a.bin")
    assert parse_form("multipart/form-data; boundary=b1", GOOD.removesuffix(b"\r\n")) == form


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", GOOD),
        ("multipart/form-data", GOOD),
        (TYPE, b""),
        (TYPE, GOOD[1:]),
        (TYPE, b"preamble" + GOOD),
        (TYPE, GOOD[:-3]),
        (TYPE, GOOD + b"more"),
        (TYPE, GOOD.replace(b"\r\n\r\nm", b"\r\nm")),
        (TYPE, GOOD.replace(b"form-data", b"attachment", 1)),
        (TYPE, GOOD.replace(b"--b1\r\nContent", b"--b1\nContent", 1)),
    ],
)
def test_damaged_form_is_refused(kind: str, body: bytes) -> None:
    """A missing boundary, a byte too many or too few, a part without its head: 400."""
    with pytest.raises(Refused) as caught:
        parse_form(kind, body)
    assert caught.value.status == 400


def test_missing_field_is_refused_by_name() -> None:
    """A value or a file that is not there is a 400 that names it; a file is no value and a value no file."""
    form = parse_form(TYPE, GOOD)
    for ask in (form.value, form.file):
        with pytest.raises(Refused, match="'prompt'"):
            ask("prompt")
    with pytest.raises(Refused, match="'file'"):
        form.value("file")
    with pytest.raises(Refused, match="'model'"):
        form.file("model")
