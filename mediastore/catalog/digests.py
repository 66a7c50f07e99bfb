"""Digests that clients declared of whole content, and those that were computed, in the catalog."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mediastore.catalog.pool import Catalog

NO_DIGESTS: Final[Mapping[str, bytes]] = MappingProxyType({})


def pack_digests(digests: Mapping[str, bytes]) -> str | None:
    """As the column `uploads.declared_digests` has them."""
    if not digests:
        return None
    return json.dumps({algorithm: digest.hex() for algorithm, digest in digests.items()})


def unpack_digests(packed: str | None) -> Mapping[str, bytes]:
    if packed is None:
        return NO_DIGESTS
    return {algorithm: bytes.fromhex(digest) for algorithm, digest in json.loads(packed).items()}


def digest_columns(digests: Mapping[str, bytes]) -> tuple[list[str], list[bytes]] | tuple[()]:
    """As the arguments that the `verified_` statements take at their end; none for no digests."""
    return (list(digests), list(digests.values())) if digests else ()


async def find_blob_digests(catalog: Catalog, blob: bytes) -> dict[str, bytes]:
    """The digests of a blob that are known, by algorithm: those that a client once declared."""
    rows = await catalog.fetch("blob_digests_find", blob)
    return {row["algorithm"]: row["digest"] for row in rows}
