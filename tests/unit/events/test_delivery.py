"""How long an event waits after each attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.backoff import RETRY_DELAY_FACTOR, RETRY_JITTER
from mediastore.errors import BadSettings
from mediastore.events.delivery import retry_seconds
from mediastore.settings import EventsSettings, load_settings


@given(st.integers(1, 10_000))
def test_pauses_grow_to_the_longest_and_are_never_nothing(attempts: int) -> None:
    settings = EventsSettings()
    longest = min(
        settings.retry_delay_seconds * RETRY_DELAY_FACTOR ** (min(attempts, 50) - 1),
        settings.retry_delay_max_seconds,
    )
    assert RETRY_JITTER * longest <= retry_seconds(settings, attempts) <= longest


def test_claims_that_could_end_before_their_delivery_are_refused() -> None:
    with pytest.raises(BadSettings, match="claim_timeout_seconds"):
        load_settings(None, events={"claim_timeout_seconds": 15, "timeout_seconds": 10})
