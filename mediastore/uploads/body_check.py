"""Whether a request's body is what it was said to be: tus Upload-Checksum, RFC 9530 Content-Digest.

Until it is known, nothing of the body may count: its session stages batches, and acknowledges them
or gives them up all at once.
"""

from collections.abc import Mapping

from mediastore.content.digests import Digester
from mediastore.errors import ChecksumMismatch


class BodyCheck:
    """The digests that one body must have. Without any it has nothing to wait for."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        self.digester = Digester(expected)
        self.pending = bool(expected)

    def pass_or_raise(self) -> None:
        """All of the body has gone through `digester`. Raises ChecksumMismatch; nothing is pending
        then either.
        """
        if not self.pending:
            return
        self.pending = False
        if self.digester.digests() != self._expected:
            raise ChecksumMismatch
