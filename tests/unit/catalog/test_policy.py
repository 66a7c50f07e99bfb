"""A tenant's policy: what it may say, and that it says no more than was set."""

import pytest

from mediastore.catalog.policy import TenantPolicy
from mediastore.errors import BadRequest, InvariantBroken


def test_what_is_set_is_kept_and_nothing_else() -> None:
    policy = TenantPolicy().changed(
        {"upload_expires_seconds": "3600", "content_types": "image/*, Application/PDF"}
    )
    assert policy.upload_expires_seconds == 3600
    assert policy.content_types == ("image/*", "application/pdf")
    assert TenantPolicy.from_json(policy.as_json()) == policy
    assert TenantPolicy().as_json() == "{}"
    assert policy.changed({"content_types": None, "upload_expires_seconds": None}).as_json() == "{}"


@pytest.mark.parametrize(
    "changes",
    [
        {"nonsense": "1"},
        {"upload_expires_seconds": "5"},
        {"upload_expires_seconds": "soon"},
        {"upload_expiry": "never"},
        {"size_max_bytes": "0"},
        {"content_types": "image"},
        {"content_types": "*/*"},
        {"content_types": "image/png;q=1"},
        {"content_types": ",".join(f"a/b{number}" for number in range(65))},
        {"type_mismatch": "ignore"},
        {"webhook_url": "ftp://app.example/"},
        {"webhook_url": "https://"},
        {"webhook_url": "https://user:word@app.example/"},
        {"webhook_url": "https://app.example/\n"},
        {"before_create_url": "javascript:alert(1)"},
        {"before_create_url": "https://app.example/" + "x" * 2048},
    ],
)
def test_what_is_not_valid_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        TenantPolicy().changed(changes)


def test_what_newer_code_has_written_is_passed_over_and_nonsense_is_not() -> None:
    assert TenantPolicy.from_json('{"later": 1, "size_max_bytes": 7}').size_max_bytes == 7
    with pytest.raises(InvariantBroken):
        TenantPolicy.from_json('{"size_max_bytes": "large"}')
