"""What a browser is told about content, and that no name or type can add a header of its own."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.granting import BY_KEY, BY_OBJECT, OPEN, Grant
from mediastore.delivery.headers import (
    SANDBOX,
    Asked,
    HeaderLines,
    HeaderRenderer,
    content_disposition,
    wanted_digest,
)
from mediastore.settings import CdnSettings

MODIFIED = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
ID = UUID("01a20dd0-ab14-75c4-bca0-09d58c58719f")
SHA_256, SHA_512 = b"\x02" * 32, b"\x03" * 64
UNTIL = 784_111_777


def content(**different: Any) -> ReadableContent:
    given: dict[str, Any] = {
        "tenant": "acme",
        "id": ID,
        "owner": "user 17",
        "blob": b"\x01" * 32,
        "size": 5,
        "content_type": "image/png",
        "name": None,
        "created_at": MODIFIED,
        "public": True,
    }
    return ReadableContent(**given | different)


def rendered(
    found: ReadableContent, *, filename: str | None = "a.bin", grant: Grant = OPEN, **asked: Any
) -> HeaderLines:
    return HeaderRenderer(CdnSettings()).render(found, Asked(filename, grant, **asked))


def fields(block: bytes) -> dict[str, str]:
    lines = block.decode("ascii").split("\r\n")
    assert lines.pop() == ""
    found = dict(line.split(": ", 1) for line in lines)
    assert len(found) == len(lines), "a field is there twice"
    return found


def lines(content_type: str, filename: str | None = "a.bin") -> dict[str, str]:
    return fields(rendered(content(content_type=content_type), filename=filename).content)


@pytest.mark.parametrize("content_type", ["image/png", "video/mp4", "IMAGE/JPEG", "audio/ogg; x=1"])
def test_what_only_draws_or_plays_is_inline(content_type: str) -> None:
    found = lines(content_type)
    assert found["Content-Disposition"].startswith("inline")
    assert "Content-Security-Policy" not in found
    assert found["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/pdf",
        "image/svg+xml",
        "application/xml",
        "text/plain",
        "image/png+xml",
        "video/x",
        "",
    ],
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


def test_what_belongs_to_which_status() -> None:
    """RFC 9110, 8.6, 15.4.5 and 15.3.7: a 304 has what its 200 says about caching."""
    found = rendered(content(), also=(("Vary", "Accept"), ("Content-Location", "/x.webp")))
    whole, partial, unchanged = (
        fields(block) for block in (found.whole, found.content, found.not_modified)
    )
    assert whole == partial | {"Content-Length": "5"}
    for name in ("Cache-Control", "ETag", "Vary", "Content-Location", "CDN-Cache-Control"):
        assert unchanged[name] == whole[name]
    assert not {"Content-Type", "Content-Length", "Repr-Digest"} & unchanged.keys()
    assert whole["ETag"] == '"' + "01" * 32 + '"'
    assert whole["Last-Modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert fields(found.content_type + found.but_type) == partial
    assert fields(found.content_type) == {"Content-Type": "image/png"}


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (
            OPEN,
            {
                "Cache-Control": "public, max-age=31536000, immutable",
                "CDN-Cache-Control": "max-age=31536000, stale-while-revalidate=86400, "
                "stale-if-error=604800",
            },
        ),
        (BY_KEY, {"Cache-Control": "private, max-age=31536000, immutable"}),
        (BY_OBJECT, {"Cache-Control": "private, no-cache"}),
        (
            Grant(shared=True, until=UNTIL),
            {"Cache-Control": "public, immutable", "Expires": "Sun, 06 Nov 1994 08:49:37 GMT"},
        ),
    ],
)
def test_who_may_keep_it_and_how_long(grant: Grant, expected: dict[str, str]) -> None:
    """RFC 8246 and 9213; never s-maxage, which forbids serving stale (RFC 9111, 5.2.2.10)."""
    found = rendered(content(), grant=grant)
    for block in (found.whole, found.content, found.not_modified):
        got = fields(block)
        names = {"Cache-Control", "CDN-Cache-Control", "Expires"} & got.keys()
        assert {name: got[name] for name in names} == expected
    assert b"s-maxage" not in found.whole


@pytest.mark.parametrize(
    ("grant", "policy"),
    [(OPEN, "cross-origin"), (Grant(shared=True, until=1), "cross-origin"), (BY_KEY, "same-site")],
)
def test_which_pages_may_show_it(grant: Grant, policy: str) -> None:
    got = fields(rendered(content(), grant=grant).content)
    assert got["Cross-Origin-Resource-Policy"] == policy


def test_one_list_of_tags_as_each_cdn_reads_it() -> None:
    got = fields(rendered(content()).content)
    tags = got["Cache-Tag"].split(",")
    assert got["Surrogate-Key"].split(" ") == tags
    assert got["xkey"].split(" ") == tags
    blob, object_, owner, tenant = tags
    assert (blob, object_, tenant) == ("blob-" + "01" * 32, f"object-{ID}", "tenant-acme")
    assert owner.startswith("owner-")
    assert "17" not in owner or len(owner) == len("owner-") + 32  # a hash, not the text
    assert not {"Cache-Tag", "xkey"} & fields(rendered(content(), grant=BY_KEY).content).keys()


def test_owners_have_a_tag_of_their_own() -> None:
    def owner_tag(**different: str) -> str:
        return fields(rendered(content(**different)).content)["Cache-Tag"].split(",")[2]

    assert owner_tag() == owner_tag(id=str(ID))
    assert len({owner_tag(), owner_tag(owner="user 18"), owner_tag(tenant="other")}) == 3


def test_a_pdf_is_inline_where_that_is_asked_for() -> None:
    renderer = HeaderRenderer(CdnSettings(), pdf_inline=True)
    for content_type, kind in (("Application/PDF", "inline"), ("text/html", "attachment")):
        found = renderer.render(content(content_type=content_type), Asked("a.pdf", OPEN))
        assert fields(found.content)["Content-Disposition"] == f'{kind}; filename="a.pdf"'


def test_only_the_tag_headers_that_are_wanted() -> None:
    renderer = HeaderRenderer(CdnSettings(tag_headers=("Surrogate-Key",)))
    got = fields(renderer.render(content(), Asked(None, OPEN)).content)
    assert "Surrogate-Key" in got
    assert not {"Cache-Tag", "xkey"} & got.keys()


@given(st.text(max_size=300), st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True))
def test_tags_keep_to_the_limits_of_every_cdn(owner: str, tenant: str) -> None:
    got = fields(rendered(content(owner=owner, tenant=tenant)).content)
    tags = got["Cache-Tag"].split(",")
    assert len(tags) <= 50
    assert all(len(tag) <= 256 for tag in tags)
    assert all(33 <= ord(letter) <= 126 for tag in tags for letter in tag)
    assert tags == [tag.lower() for tag in tags]  # CloudFront does not tell case apart
    assert max(len(got[name]) for name in ("Cache-Tag", "Surrogate-Key", "xkey")) <= 16_384


KNOWN = {"sha-256": SHA_256, "sha-512": SHA_512}


@pytest.mark.parametrize(
    ("known", "want", "expected"),
    [
        ({}, None, None),
        (KNOWN, None, "sha-256"),
        ({"sha-512": SHA_512}, None, "sha-512"),
        (KNOWN, "sha-512=9, sha-256=1", "sha-512"),
        (KNOWN, "sha-512=1, sha-256=9", "sha-256"),
        (KNOWN, "sha-256=0, sha-512=3", "sha-512"),
        (KNOWN, "sha-256=0, sha-512=0", None),
        (KNOWN, "md5=10", None),
        (KNOWN, "md5=10, sha-256=1", "sha-256"),
        ({"sha-256": SHA_256}, "sha-512=10", "sha-256"),  # better than none, says 9530, 4
        (KNOWN, "nonsense!", "sha-256"),
    ],
)
def test_repr_digest(known: dict[str, bytes], want: str | None, expected: str | None) -> None:
    """RFC 9530, sections 3 and 4: of the whole representation, also in a 206."""
    asked: dict[str, Any] = {} if want is None else {"digest": wanted_digest([want])}
    found = rendered(content(digests=known), **asked)
    for block in (found.whole, found.content, found.but_type):
        got = fields(block).get("Repr-Digest")
        assert (got is None) == (expected is None)
        assert expected is None or str(got).startswith(f"{expected}=:")
    assert "Repr-Digest" not in fields(found.not_modified)
