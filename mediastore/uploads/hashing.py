"""Comparing what an upload holds with what its client declared."""

from collections.abc import Mapping

from mediastore.content.hashing import BlobHasher
from mediastore.errors import BadDigest


def declared_digests(hasher: BlobHasher, declared: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The digests of content that ends here. Raises BadDigest unless they are those declared."""
    digests = hasher.digests()
    if digests != declared:
        raise BadDigest
    return digests
