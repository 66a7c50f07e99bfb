"""Extensions: Concatenation, also while the parts still run.

A part goes into one final, and once: its chunks are moved, not copied. Hosts in part URLs are not
compared, because proxies rewrite them; the id must be one of this tenant's partial uploads.
"""

import re
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit
from uuid import UUID

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, CATALOG, SETTINGS
from mediastore.catalog.concatenation import get_concatenation
from mediastore.errors import (
    BadLength,
)
from mediastore.joining_errors import BadConcatenation, FinalUpload
from mediastore.public_urls import client_address
from mediastore.uploads.digest_fields import repr_digest
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import from_tus
from mediastore.uploads.standing import Standing
from mediastore.uploads.tus.answers import location, offset_headers

PARTIAL = "partial"
_FINAL = "final;"
_PART_PATH = re.compile(
    r"(?:/.*)?/v1/uploads/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)


def parts_of_final(header: str, *, parts_max: int) -> list[UUID] | None:
    """The parts that an Upload-Concat names, in order; None for a partial upload.

    Raises BadConcatenation: for any other value, and for a part that is named twice.
    """
    if header == PARTIAL:
        return None
    if not header.startswith(_FINAL):
        raise BadConcatenation("Upload-Concat is 'partial', or 'final;' and the parts' URLs")
    urls = header.removeprefix(_FINAL).split()
    if not 0 < len(urls) <= parts_max:
        raise BadConcatenation(f"a final upload has 1 to {parts_max} parts, not {len(urls)}")
    parts = [_part_id(url) for url in urls]
    if len(set(parts)) < len(parts):
        raise BadConcatenation("a part can be named once in a final upload")
    return parts


def _part_id(url: str) -> UUID:
    """A URL as our Location gave it: absolute, or relative to the URL of uploads."""
    try:
        split = urlsplit(urljoin("/v1/uploads", url))
    except ValueError:
        raise BadConcatenation(f"{url!r} is not a URL") from None
    found = _PART_PATH.fullmatch(split.path)
    if found is None or split.query or split.fragment:
        raise BadConcatenation(f"{url!r} is not the URL of an upload")
    return UUID(found[1])


async def create_final(request: web.Request, header: str, parts: Sequence[UUID]) -> web.Response:
    """201 with the final's Location; the same list again is the same final."""
    if "Upload-Length" in request.headers or "Upload-Defer-Length" in request.headers:
        raise BadLength("a final upload has the length of its parts; do not send Upload-Length")
    if request.can_read_body:
        raise FinalUpload
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    metadata = request.headers.get("Upload-Metadata")
    says = from_tus(metadata, metadata_max_bytes=request.app[SETTINGS].uploads.metadata_max_bytes)
    said = says.draft(
        tenant.id, "tus", length=None, digests=[repr_digest(request)], tus_metadata=metadata
    )
    final, standing = await request.app[UPLOADS].concatenate(
        said, parts, header, client=client_address(request)
    )
    headers = {"Location": location(request, final), **offset_headers(standing)}
    return web.Response(status=201, headers=without_offset(standing, headers))


async def concat_headers(request: web.Request, tenant: str, standing: Standing) -> dict[str, str]:
    """What HEAD says of a part or of a final, beside what it says of any upload."""
    upload = standing.upload
    if upload is not None and upload.concat == PARTIAL:
        return {"Upload-Concat": PARTIAL}
    if upload is not None and upload.concat is None:
        return {}
    id_ = UUID(request.match_info["id"])
    concatenation = await get_concatenation(request.app[CATALOG], tenant, id_)
    if concatenation is None:
        return {}
    headers = {"Upload-Concat": concatenation.header}
    if standing.length is None and concatenation.length is not None:
        headers["Upload-Length"] = str(concatenation.length)
    return headers


def without_offset(standing: Standing, headers: dict[str, str]) -> dict[str, str]:
    """What is said of a final that waits for its parts: it has no offset, and defers nothing."""
    upload = standing.upload
    if standing.object is not None or upload is None:
        return headers
    if upload.concat != "final" or upload.state != "open":
        return headers
    left_out = ("Upload-Offset", "Upload-Defer-Length")
    return {name: value for name, value in headers.items() if name not in left_out}


async def refuse_final(request: web.Request, tenant: str) -> None:
    """Raises FinalUpload if the upload asked for is one, finished or not."""
    id_ = UUID(request.match_info["id"])
    if await get_concatenation(request.app[CATALOG], tenant, id_) is not None:
        raise FinalUpload
