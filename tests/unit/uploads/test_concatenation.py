"""Upload-Concat: what is taken, and that nothing else is."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.joining_errors import BadConcatenation
from mediastore.uploads.tus.concatenation import parts_of_final

A, B = UUID("0192d3a0-0000-7000-8000-00000000000a"), UUID("0192d3a0-0000-7000-8000-00000000000b")


def read(header: str) -> list[UUID] | None:
    return parts_of_final(header, parts_max=3)


def test_a_part_is_a_part() -> None:
    assert read("partial") is None


@pytest.mark.parametrize(
    "url",
    [
        f"/v1/uploads/{A}",
        f"https://media.example.com/v1/uploads/{A}",
        f"http://10.0.0.1:8080/v1/uploads/{A}",
        f"https://media.example.com/a/base/v1/uploads/{A}",
        f"//media.example.com/v1/uploads/{A}",
        f"uploads/{A}",
        f"./uploads/{A}",
        f"../v1/uploads/{A}",
    ],
)
def test_urls_as_location_gave_them_or_relative_to_it(url: str) -> None:
    assert read(f"final;{url}") == [A]
    assert read(f"final;{url} /v1/uploads/{B}") == [A, B]


def test_the_order_is_the_lists() -> None:
    assert read(f"final;/v1/uploads/{B}  /v1/uploads/{A}") == [B, A]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "final",
        "final;",
        "final; ",
        "Partial",
        "partial;",
        f"final:/v1/uploads/{A}",
        f"final;/v1/uploads/{A} /v1/uploads/{A}",
        f"final;/v1/uploads/{A} https://x/v1/uploads/{A}",
        f"final;/v1/objects/{A}",
        f"final;/v1/uploads/{A}/",
        f"final;/v1/uploads/{A}?x",
        f"final;/v1/uploads/{A}#x",
        f"final;/v1/uploads/{str(A).upper()}",
        f"final;{A}",
        "final;/v1/uploads/nonsense",
        "final;http://[::1/v1/uploads/",
        "final;" + " ".join(f"/v1/uploads/{uuid4()}" for _ in range(4)),
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(BadConcatenation):
        read(header)


@given(st.text())
def test_no_text_is_an_accident(text: str) -> None:
    for header in (text, f"final;{text}", f"final;/v1/uploads/{A} {text}"):
        try:
            parts = read(header)
        except BadConcatenation:
            continue
        assert parts is None or parts == [A] or all(str(part) in header for part in parts)


@given(st.lists(st.uuids(), min_size=1, max_size=3, unique=True))
def test_a_list_is_read_back(parts: list[UUID]) -> None:
    header = "final;" + " ".join(f"https://host/v1/uploads/{part}" for part in parts)
    assert read(header) == parts
