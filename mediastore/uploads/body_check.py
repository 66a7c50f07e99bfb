"""Whether a request's body is what it was said to be: tus Upload-Checksum, RFC 9530 Content-Digest.

Until it is known, nothing of the body may count: its session stages batches, and acknowledges them
or gives them up all at once.
"""

from collections.abc import Mapping

from mediastore.content.digests import Digester
from mediastore.errors import ChecksumMismatch
from mediastore.uploads.batch import Batch
from mediastore.uploads.hashing import hash_batch


class BodyCheck:
    """The digests that one body must have. Without any it has nothing to wait for."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        self.digester = Digester(expected)
        self.pending = bool(expected)

    async def pass_or_raise(self, last: Batch) -> None:
        """With its last batch the body is whole. Raises ChecksumMismatch; nothing is pending then
        either.
        """
        if not self.pending:
            return
        await hash_batch(last, self.digester)
        self.pending = False
        if self.digester.digests() != self._expected:
            raise ChecksumMismatch
