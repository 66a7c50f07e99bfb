"""The table of interop versions says what each version of the draft says."""

import pytest

from mediastore.uploads.ietf.dialects import DIALECTS, NEWEST, OLDEST


def test_every_version_that_ios_speaks_is_there() -> None:
    assert set(DIALECTS) == {3, 4, 5, 6, 7, 8}
    assert all(dialect.version == version for version, dialect in DIALECTS.items())
    assert NEWEST is DIALECTS[8]
    assert OLDEST is DIALECTS[3]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("completeness", ["Upload-Incomplete"] + ["Upload-Complete"] * 5),
        ("inverted", [True, False, False, False, False, False]),
        ("silence_completes", [True, False, False, False, False, False]),
        ("append_type", [None, None, None] + ["application/partial-upload"] * 3),
        ("appended_status", [201, 201, 201, 201, 204, 204]),
        ("lifetime_limit", [None, None, None, "expires", "max-age", "max-age"]),
        ("final_tells_offset", [True, True, True, True, False, False]),
        ("refuses_extra_fields", [True, True, True, True, False, False]),
        ("replays_final", [True, True, True, False, False, True]),
        ("tells_progress", [False, False, True, True, True, True]),
    ],
)
def test_what_each_version_says(field: str, expected: list[object]) -> None:
    assert [getattr(DIALECTS[version], field) for version in sorted(DIALECTS)] == expected


@pytest.mark.parametrize(
    ("version", "complete", "flag"),
    [(3, True, "?0"), (3, False, "?1"), (8, True, "?1"), (8, False, "?0")],
)
def test_the_flag(version: int, complete: bool, flag: str) -> None:
    assert DIALECTS[version].flag(complete=complete) == flag
