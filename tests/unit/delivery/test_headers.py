"""What a browser is told about content, and that no name or type can add a header of its own."""

import pytest

from mediastore.delivery.headers import SANDBOX, content_disposition, render


def lines(content_type: str, filename: str | None = "a.bin") -> dict[str, str]:
    rendered = render(
        blob=b"\x01" * 32,
        size=5,
        modified=784111777,
        content_type=content_type,
        filename=filename,
        cache_control="public",
    )
    fields = rendered.content.decode("ascii").split("\r\n")
    assert fields.pop() == ""
    return dict(field.split(": ", 1) for field in fields)


@pytest.mark.parametrize("content_type", ["image/png", "video/mp4", "IMAGE/JPEG", "audio/ogg; x=1"])
def test_what_only_draws_or_plays_is_inline(content_type: str) -> None:
    found = lines(content_type)
    assert found["Content-Disposition"].startswith("inline")
    assert "Content-Security-Policy" not in found
    assert found["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "application/xml", "text/plain", "image/png+xml", "video/x", ""],
)
def test_what_could_run_is_an_attachment_in_a_sandbox(content_type: str) -> None:
    found = lines(content_type)
    assert found["Content-Disposition"].startswith("attachment")
    assert found["Content-Security-Policy"] == SANDBOX
    assert found["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content_type",
    ["image/png\r\nSet-Cookie: a=b", "image/png\n", "no type", "image/пнг", "a/b;\x00"],
)
def test_a_type_that_is_none_is_served_as_unknown(content_type: str) -> None:
    found = lines(content_type)
    assert found["Content-Type"] == "application/octet-stream"
    assert "Set-Cookie" not in found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "inline"),
        ("", "inline"),
        ("photo.jpg", 'inline; filename="photo.jpg"'),
        ("naïve.txt", "inline; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ('a"b\\c', "inline; filename=\"a_b_c\"; filename*=UTF-8''a%22b_c"),
        ("50%.jpg", "inline; filename=\"50_.jpg\"; filename*=UTF-8''50%25.jpg"),
        ("a\r\nX: y", 'inline; filename="a__X: y"'),
        ("../../etc/passwd", 'inline; filename=".._.._etc_passwd"'),
    ],
)
def test_content_disposition(name: str | None, expected: str) -> None:
    assert content_disposition(name, inline=True) == expected


def test_half_a_surrogate_pair_is_still_a_name() -> None:
    assert content_disposition("a\ud800", inline=False).isascii()


def test_validators_and_not_modified() -> None:
    rendered = render(
        blob=b"\x01" * 32,
        size=5,
        modified=784111777,
        content_type="a/b",
        filename=None,
        cache_control="c",
    )
    assert rendered.whole == rendered.content + b"Content-Length: 5\r\n"
    assert rendered.not_modified == (
        b'Cache-Control: c\r\nETag: "' + b"01" * 32 + b'"\r\n'
        b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    )
