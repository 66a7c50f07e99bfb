"""What purges cannot work with does not start."""

from typing import Any

import pytest

from mediastore.errors import BadSettings
from mediastore.settings import load_settings

FASTLY = {"fastly_service_id": "x", "fastly_token": "y"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"purge": {"fastly_service_id": "x"}}, "go together"),
        ({"purge": {"cloudflare_token": "x"}}, "go together"),
        ({"purge": {"cloudfront_access_key_id": "x"}}, "go together"),
        ({"purge": {"webhook_url": "https://purge.example/x"}}, "go together"),
        (
            {"purge": {"webhook_url": "https://purge.example/x", "webhook_secret": "short"}},
            "webhook_secret",
        ),
        ({"purge": {"again_seconds": 2}}, "above delivery.allowed_cache_seconds"),
        ({"purge": FASTLY, "cdn": {"tag_headers": ["xkey"]}}, "fastly need Surrogate-Key"),
        (
            {
                "purge": {"cloudfront_distribution_id": "x"},
                "cdn": {"tag_headers": ["Surrogate-Key"]},
            },
            "cloudfront need Cache-Tag",
        ),
        (
            {
                "purge": {"timeout_seconds": 30},
                "events": {"claim_timeout_seconds": 50},
            },
            "twice purge.timeout_seconds",
        ),
    ],
)
def test_settings_that_do_not_start(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        load_settings(None, **wrong)


def test_settings_that_do() -> None:
    load_settings(None, purge=FASTLY | {"again_seconds": 0})
    load_settings(None, purge=FASTLY, cdn={"tag_headers": ["Surrogate-Key"]})
