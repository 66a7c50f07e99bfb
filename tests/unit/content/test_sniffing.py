"""What content is told to be, and which declarations that contradicts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.content.sniffing import SNIFFED_BYTES, contradicts, sniffed_type
from tests.samples import SAMPLES, UNSIGNED

SIGNED = [(kind, head) for kind, heads in SAMPLES.items() for head in heads]


@pytest.mark.parametrize(("kind", "head"), SIGNED)
def test_types_are_told_from_the_first_bytes(kind: str, head: bytes) -> None:
    assert sniffed_type(head) == kind
    assert sniffed_type((head + bytes(SNIFFED_BYTES))[:SNIFFED_BYTES]) == kind


@pytest.mark.parametrize("head", UNSIGNED)
def test_text_and_noise_have_no_type(head: bytes) -> None:
    assert sniffed_type(head) is None


def test_noise_is_taken_for_nothing() -> None:
    found = [sniffed_type(random.Random(seed).randbytes(1000)) for seed in range(1000)]
    assert [kind for kind in found if kind is not None] == []


@pytest.mark.parametrize(("kind", "head"), SIGNED)
def test_nothing_contradicts_itself(kind: str, head: bytes) -> None:
    assert not contradicts(kind, sniffed_type(head))
    assert not contradicts("application/octet-stream", sniffed_type(head))


@pytest.mark.parametrize("declared", ["image/jpeg", "image/png", "image/gif", "image/x-own"])
@pytest.mark.parametrize("kind", ["image/svg+xml", "text/html", "application/xml"])
def test_what_a_browser_would_run_is_no_picture(declared: str, kind: str) -> None:
    for head in SAMPLES[kind]:
        assert contradicts(declared, sniffed_type(head))


@pytest.mark.parametrize(
    ("declared", "sniffed"),
    [
        ("image/png", "image/jpeg"),
        ("image/svg+xml", "text/html"),
        ("image/svg+xml", "image/png"),
        ("image/jpeg", None),
        ("image/jpeg", "application/zip"),
        ("application/pdf", "application/x-msdownload"),
        ("application/zip", "application/x-msdownload"),
        ("text/plain", "application/x-msdownload"),
        ("text/plain", "image/png"),
        ("video/mp4", "image/jpeg"),
        ("video/mp4", "video/webm"),
        ("audio/mpeg", "application/zip"),
        ("application/pdf", "text/html"),
        ("image/x-own", "application/zip"),
        ("application/gzip", "application/x-msdownload"),
        ("image/heic", "image/avif"),
    ],
)
def test_contradictions(declared: str, sniffed: str | None) -> None:
    assert contradicts(declared, sniffed)


@pytest.mark.parametrize(
    ("declared", "sniffed"),
    [
        ("image/jpg", "image/jpeg"),
        ("image/apng", "image/png"),
        ("image/heif", "image/heic"),
        ("image/heif", "image/avif"),
        ("image/x-adobe-dng", "image/tiff"),
        ("video/quicktime", "video/mp4"),
        ("video/3gpp", "video/mp4"),
        ("video/quicktime", None),
        ("audio/x-m4a", "audio/mp4"),
        ("audio/webm", "video/webm"),
        ("font/woff2", "application/font-woff"),
        ("application/illustrator", "application/pdf"),
        ("application/epub+zip", "application/zip"),
        ("application/vnd.oasis.opendocument.text", "application/zip"),
        ("application/x-procreate", "application/zip"),
        ("application/vnd.own.project", "application/x-sqlite3"),
        ("application/json", None),
        ("application/json", "text/html"),
        ("text/plain", None),
        ("text/plain", "text/html"),
        ("text/html", "application/xml"),
        ("text/rtf", "application/rtf"),
        ("image/svg+xml", "application/xml"),
        ("image/svg+xml", None),
        ("image/x-own", None),
        ("image/jxl", None),
    ],
)  # fmt: skip
def test_what_may_be_is_no_contradiction(declared: str, sniffed: str | None) -> None:
    assert not contradicts(declared, sniffed)


@given(st.binary(max_size=400), st.sampled_from([head for _, head in SIGNED]), st.integers(0, 60))
def test_no_content_breaks_it(noise: bytes, head: bytes, cut: int) -> None:
    for content in (noise, head[:cut] + noise, head + noise, noise + head):
        sniffed = sniffed_type(content)
        assert isinstance(contradicts("image/png", sniffed), bool)


def test_a_long_prolog_costs_no_more_than_it_is_long() -> None:
    for part in (b"<!---->", b"<??>", b" ", b"<!--", b"<"):
        assert sniffed_type((part * SNIFFED_BYTES)[:SNIFFED_BYTES]) != "image/png"
