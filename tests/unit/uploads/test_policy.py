"""A tenant's policy over the service's settings."""

import pytest

from mediastore.catalog.policy import TenantPolicy
from mediastore.errors import TooLarge
from mediastore.policy_errors import TypeNotAllowed
from mediastore.settings import UploadSettings
from mediastore.uploads.policy import UploadPolicy, effective_policy

SETTINGS = UploadSettings(size_max_bytes=1000, expires_seconds=100, type_mismatch="correct")


def test_settings_hold_where_a_tenant_says_nothing() -> None:
    assert effective_policy(TenantPolicy(), SETTINGS) == UploadPolicy(
        expires_seconds=100,
        expiry_fixed=False,
        size_max_bytes=1000,
        content_types=None,
        type_mismatch="correct",
    )


def test_a_tenant_has_its_own_but_no_higher_limit() -> None:
    own = TenantPolicy(
        upload_expires_seconds=60,
        upload_expiry="fixed",
        size_max_bytes=5000,
        content_types=("image/*",),
        type_mismatch="trust",
    )
    policy = effective_policy(own, SETTINGS)
    assert policy == UploadPolicy(60, True, 1000, ("image/*",), "trust")
    assert effective_policy(TenantPolicy(size_max_bytes=5), SETTINGS).size_max_bytes == 5


def test_lengths() -> None:
    policy = effective_policy(TenantPolicy(size_max_bytes=5), SETTINGS)
    policy.check_length(None)
    policy.check_length(5)
    with pytest.raises(TooLarge):
        policy.check_length(6)


@pytest.mark.parametrize(
    ("patterns", "taken", "refused"),
    [
        (None, ["a/b"], []),
        (("image/*",), ["image/png", "IMAGE/PNG; q=1"], ["text/html", "imagex/png"]),
        (("image/png", "application/pdf"), ["image/png ;x"], ["image/jpeg", "image/png2"]),
    ],
)
def test_types(patterns: tuple[str, ...] | None, taken: list[str], refused: list[str]) -> None:
    policy = effective_policy(TenantPolicy(content_types=patterns), SETTINGS)
    for content_type in taken:
        policy.check_type(content_type)
    for content_type in refused:
        with pytest.raises(TypeNotAllowed):
            policy.check_type(content_type)
