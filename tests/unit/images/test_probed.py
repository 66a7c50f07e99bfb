"""What a worker says it has found is kept only if it has the form of that."""

import json
from typing import Any

import pytest

from mediastore.images.decoding import prepare
from mediastore.images.formats import SOURCE_TYPES, SOURCES
from mediastore.images.limits import Limits
from mediastore.images.probed import checked_document
from mediastore.images.probing import probe
from tests.pictures import animation, encoded, heic, photo


def said(data: bytes) -> dict[str, Any]:
    found = probe(data, Limits(), keep_captured=True)
    assert found is not None
    document: dict[str, Any] = json.loads(json.dumps(found.as_document()))
    return document


@pytest.fixture(autouse=True)
def decoders() -> None:
    prepare(SOURCES)


def test_every_format_has_a_type() -> None:
    assert SOURCE_TYPES.keys() == set(SOURCES)


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_found_of_any_picture_is_right(kind: str) -> None:
    data = heic(photo(90, 60)) if kind == "HEIF" else encoded(photo(90, 60), kind)
    document = checked_document(said(data))
    assert document["type"] == SOURCE_TYPES[kind]
    assert (document["width"], document["height"], document["frames"]) == (90, 60, 1)


def test_numbers_and_placeholders_as_clients_get_them() -> None:
    document = said(animation(3))
    assert document["frames"] == 3
    assert len(document["perceptual_hash"]) == 16
    assert len(document["thumbhash"]) in range(8, 37)


WRONG: list[tuple[str, Any]] = [
    ("type", "text/html"),
    ("type", ["image/png"]),
    ("width", 0),
    ("width", 2**31),
    ("width", True),
    ("height", 1.5),
    ("frames", None),
    ("orientation", 9),
    ("colour_profile", ""),
    ("colour_profile", "x" * 101),
    ("colour_profile", "a\nb"),
    ("thumbhash", "not base64"),
    ("thumbhash", "A" * 40),
    ("thumbhash", None),
    ("blurhash", "<script>"),
    ("blurhash", "0" * 59),
    ("dominant_colour", "red"),
    ("perceptual_hash", 7),
    ("captured_at", "yesterday"),
    ("captured_at", "2026-02-03"),
    ("captured_at", 5),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_not_of_that_form_is_not_kept(name: str, value: Any) -> None:
    document = said(encoded(photo(60, 40)))
    checked_document(document)
    with pytest.raises(ValueError, match=name):
        checked_document(document | {name: value})


@pytest.mark.parametrize("value", [None, [], "x", {}, {"type": "image/png"}])
def test_members_are_those_and_no_others(value: Any) -> None:
    with pytest.raises(ValueError, match="members"):
        checked_document(value)
    document = said(encoded(photo(60, 40)))
    with pytest.raises(ValueError, match="members"):
        checked_document(document | {"gps": "here"})
