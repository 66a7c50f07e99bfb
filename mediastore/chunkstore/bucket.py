"""What a bucket does with objects by itself: versions it keeps, objects it expires or moves away.

Not part of the chunk store protocol: only an operator's check asks, and only of S3. Needs
s3:GetBucketVersioning and s3:GetLifecycleConfiguration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from mediastore.chunkstore.keys import PREFIX
from mediastore.chunkstore.s3_connection import S3Connection
from mediastore.chunkstore.s3_translation import translated
from mediastore.clock import Clock
from mediastore.settings import ChunkStoreSettings

_NOT_TOLD = frozenset({"AccessDenied", "NotImplemented", "MethodNotAllowed"})
# Classes from which an object has to be restored before it can be read.
_FROZEN = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class BucketRules:
    """`versioned` None: the bucket does not say. `expiring` and `freezing` name the lifecycle rules
    that would delete chunks, or make them unreadable; None: it does not say.
    """

    versioned: bool | None
    expiring: tuple[str, ...] | None
    freezing: tuple[str, ...] | None
    keeps_old_versions_days: int | None = None


async def bucket_rules(settings: ChunkStoreSettings, clock: Clock) -> BucketRules | None:
    """The rules of the settings' bucket; None when the chunk store is not S3.

    Raises ChunkStoreUnavailable.
    """
    if settings.driver != "s3":
        return None
    connection = S3Connection(settings, clock)
    try:
        with translated("bucket_rules"):
            client = await connection.client()
            versioning = await _asked(client.get_bucket_versioning(Bucket=settings.bucket))
            lifecycle = await _asked(
                client.get_bucket_lifecycle_configuration(Bucket=settings.bucket)
            )
    finally:
        await connection.close()
    versioned = None if versioning is None else versioning.get("Status") == "Enabled"
    if lifecycle is None:
        return BucketRules(versioned, None, None)
    rules = [
        rule
        for rule in lifecycle.get("Rules", [])
        if rule.get("Status") == "Enabled" and _is_about_chunks(rule, settings.prefix + PREFIX)
    ]
    old = [
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if "NoncurrentDays" in rule.get("NoncurrentVersionExpiration", {})
    ]
    return BucketRules(
        versioned,
        tuple(_name(rule) for rule in rules if _expires(rule)),
        tuple(_name(rule) for rule in rules if _freezes(rule)),
        min(old, default=None),
    )


async def _asked(call: Any) -> Mapping[str, Any] | None:
    """The answer; empty when there is no such configuration, None when the store will not say."""
    try:
        answer: Mapping[str, Any] = await call
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchLifecycleConfiguration":
            return {}
        if code in _NOT_TOLD:
            return None
        raise
    return answer


def _is_about_chunks(rule: Mapping[str, Any], chunks: str) -> bool:
    """Does its prefix meet ours? Chunks carry no tags, so a rule about tags is not about them."""
    rule_filter = rule.get("Filter", {})
    both = rule_filter.get("And", {})
    if "Tag" in rule_filter or both.get("Tags"):
        return False
    prefix = both.get("Prefix") or rule_filter.get("Prefix") or rule.get("Prefix") or ""
    return chunks.startswith(prefix) or prefix.startswith(chunks)


def _expires(rule: Mapping[str, Any]) -> bool:
    expiration = rule.get("Expiration", {})
    return "Days" in expiration or "Date" in expiration


def _freezes(rule: Mapping[str, Any]) -> bool:
    return any(move.get("StorageClass") in _FROZEN for move in rule.get("Transitions", []))


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("ID") or "without a name")
