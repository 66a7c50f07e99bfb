"""A plain counter shows what prometheus_client's own would, and only its own labels."""

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from mediastore.telemetry.plain_counter import PlainCounter


def shown(registry: CollectorRegistry) -> list[bytes]:
    """The exposition, without the moments at which prometheus_client's own counters began."""
    lines = generate_latest(registry).splitlines()
    return [line for line in lines if b"_created" not in line]


def test_it_is_shown_as_any_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainCounter("sent_bytes", "What was sent.")
    ours.register(plain)
    counter = Counter("sent_bytes", "What was sent.", registry=theirs)
    assert shown(ours) == shown(theirs)
    for amount in (1, 16384):
        plain.count().inc(amount)
        counter.inc(amount)
    assert shown(ours) == shown(theirs)
    assert ours.get_sample_value("sent_bytes_total") == 16385


def test_each_value_of_its_label_is_counted_alone_and_shown_from_the_start() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainCounter("reads", "Reads.", "outcome", ("hit", "miss"))
    ours.register(plain)
    counter = Counter("reads", "Reads.", ["outcome"], registry=theirs)
    for outcome in ("hit", "miss"):
        counter.labels(outcome)
    plain.count("miss").inc()
    counter.labels("miss").inc()
    assert shown(ours) == shown(theirs)


def test_no_other_value_can_be_counted() -> None:
    with pytest.raises(KeyError):
        PlainCounter("reads", "Reads.", "outcome", ("hit",)).count("made up")
