"""Header fields that bring digests, as errors of ours say what is wrong with them.

`Content-Digest` is of the bytes of one request, `Repr-Digest` of the whole content (RFC 9530): what
is stored is the representation as it was sent, with its content coding.
"""

from collections.abc import Callable, Mapping

from aiohttp import web

from mediastore.catalog.uploads import Upload
from mediastore.content.digests import (
    MalformedDigest,
    parse_digests,
    parse_upload_checksum,
    parse_wanted_digests,
)
from mediastore.errors import BadChecksum, BadDigest, BadRequest


def content_digest(request: web.Request) -> dict[str, bytes]:
    """What this request's body must have; nothing without the field. Raises BadChecksum."""
    return _parsed(parse_digests, request, "Content-Digest")


def repr_digest(request: web.Request) -> dict[str, bytes]:
    """What the whole content must have; nothing without the field. Raises BadChecksum."""
    return _parsed(parse_digests, request, "Repr-Digest")


def refuse_digests(request: web.Request, instead: str) -> None:
    """For a body that is not itself what is stored: a digest of it would say nothing of that.

    Raises BadRequest, which says what to send `instead`.
    """
    for field in ("Content-Digest", "Repr-Digest"):
        if field in request.headers:
            raise BadRequest(f"{field} is not checked here: send {instead}")


def check_declared(request: web.Request, upload: Upload) -> None:
    """For a later request of an upload: its Repr-Digest is one that was declared at the creation,
    for only those are computed. Raises BadChecksum.
    """
    if not repr_digest(request).items() <= upload.declared_digests.items():
        raise BadChecksum("Repr-Digest was not declared so when the upload was created")


def wanted_digests(request: web.Request) -> list[str]:
    """Algorithms of the Repr-Digest that the client wants back, most wanted first.

    Raises BadChecksum.
    """
    lines = request.headers.getall("Want-Repr-Digest", None)
    if lines is None:
        return []
    try:
        return parse_wanted_digests(lines)
    except MalformedDigest as error:
        raise BadChecksum(f"Want-Repr-Digest: {error}") from None


def upload_checksum(request: web.Request) -> dict[str, bytes]:
    """tus, Extensions: Checksum; Content-Digest says the same. Raises BadChecksum, BadDigest if
    they contradict; BadRequest for one that is to come behind the body, because trailers do not get
    through the HTTP server: it would never be checked.
    """
    trailers = ",".join(request.headers.getall("Trailer", ())).lower().split(",")
    if "upload-checksum" in (trailer.strip() for trailer in trailers):
        raise BadRequest("send Upload-Checksum as a header: this server does not see trailers")
    checksum = _parsed(
        lambda lines: parse_upload_checksum(",".join(lines)), request, "Upload-Checksum"
    )
    return united(checksum, content_digest(request))


def united(*declared: Mapping[str, bytes]) -> dict[str, bytes]:
    """Digests of one content, declared in several ways. Raises BadDigest if they contradict."""
    whole: dict[str, bytes] = {}
    for digests in declared:
        for algorithm, digest in digests.items():
            if whole.setdefault(algorithm, digest) != digest:
                raise BadDigest(f"two different {algorithm} digests were declared")
    return whole


def _parsed(
    parse: Callable[[list[str]], dict[str, bytes]], request: web.Request, field: str
) -> dict[str, bytes]:
    lines = request.headers.getall(field, None)
    if lines is None:
        return {}
    try:
        return parse(lines)
    except MalformedDigest as error:
        raise BadChecksum(f"{field}: {error}") from None
