"""Upload creation: any POST that says Upload-Complete. With its content it is one request that
becomes resumable on the way ("optimistic"), without it the upload's URL comes first ("careful").

A row is made before the first 104 names the upload, so that a client that lost its connection can
resume in any process (INV-1, INV-8). Where no 104 can be sent, the content takes the way of every
other upload in one request; a client that was cut off there knows no URL to resume at, so what came
is dropped.
"""

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.errors import BadRequest, ChecksumMismatch, TooLarge, UnsupportedMediaType
from mediastore.ietf_errors import (
    ContentDigestMismatch,
    InconsistentUploadLength,
    UnsupportedInteropVersion,
)
from mediastore.public_urls import client_address
from mediastore.uploads.admission import AdmittedDraft
from mediastore.uploads.digest_fields import content_digest, repr_digest, wanted_digests
from mediastore.uploads.ietf.answers import (
    final_response,
    in_dialect,
    limit_header,
    limits_for,
    standing_headers,
    upload_url,
)
from mediastore.uploads.ietf.content import stops_short, take_in
from mediastore.uploads.ietf.fields import Asked, Headers, item, read_fields
from mediastore.uploads.ietf.limits import Limits
from mediastore.uploads.ietf.notices import Notices
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import from_headers
from mediastore.uploads.service import Standing


def upgrades(headers: Headers) -> bool:
    """Is this upload in one request one that becomes resumable (section Upgrading)?

    iOS marks every upload task, whatever it is for: what can be done without resumption then is.
    That is all content at once in a version that we do not know, in several parts, or with an
    Idempotency-Key, which makes it safe to send again.
    """
    if "Upload-Complete" not in headers and "Upload-Incomplete" not in headers:
        return False
    try:
        complete = read_fields(headers, content_length=None).complete
    except UnsupportedInteropVersion:
        return item(headers, "Upload-Complete") is not True
    if complete is None:
        return False
    return not (complete and ("Idempotency-Key" in headers or _has_parts(headers)))


@in_dialect
async def create(request: web.Request, asked: Asked) -> web.Response:
    """Section Upload Creation. 201 with the object if the content was all, else with the upload."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings = request.app[SETTINGS].uploads
    limits = await limits_for(request, tenant.id)
    length = _checked_length(asked, limits)
    _check_kind(request.headers)
    says = from_headers(
        request.query, request.headers, metadata_max_bytes=settings.metadata_max_bytes
    )
    said = says.draft(tenant.id, "ietf", length=length, digests=[repr_digest(request)])
    wanted = wanted_digests(request)
    _ = content_digest(request)  # refused before anything is made, if it is not valid
    draft = await request.app[UPLOADS].admit(said, client=client_address(request))
    notices = Notices(request, asked)
    announces = not asked.completes or limits.offers_resumption(length)
    if request.can_read_body and notices.wanted and announces:
        standing = await _resumable(request, asked, draft, notices)
    elif request.can_read_body or asked.completes:
        standing = await _in_one_go(request, asked, draft, limits)
    else:
        standing = await request.app[UPLOADS].begin(draft)
    if asked.completes:
        return await final_response(request, asked.dialect, standing, wanted)
    headers = standing_headers(request, asked.dialect, standing)
    return web.Response(status=201, headers={"Location": upload_url(request, draft.id), **headers})


async def _resumable(
    request: web.Request, asked: Asked, draft: AdmittedDraft, notices: Notices
) -> Standing:
    """The client learns the URL before its content is read, and can resume from then on."""
    standing = await request.app[UPLOADS].begin(draft, writes=True)
    if standing.upload is None:
        raise RuntimeError("an upload that has begun has a row")
    limit = limit_header(request, asked.dialect, standing)
    notices.announce(upload_url(request, draft.id), limit)
    return await take_in(request, asked, standing.upload, notices)


async def _in_one_go(
    request: web.Request, asked: Asked, draft: AdmittedDraft, limits: Limits
) -> Standing:
    """The client learns the URL with the answer, if ever: a body cut short leaves nothing."""
    uploads = request.app[UPLOADS]
    want_body(request)
    try:
        standing = await uploads.receive_new(
            draft,
            request.content,
            ends_with_body=asked.completes,
            body_digests=content_digest(request),
            body_max_bytes=limits.append_max,
        )
    except ChecksumMismatch:
        raise ContentDigestMismatch from None
    except TooLarge as error:
        if "length" in error.members:
            raise InconsistentUploadLength(error.detail) from None
        raise
    if (short := stops_short(asked, standing)) is not None:
        await uploads.terminate(draft.tenant, draft.id)
        raise InconsistentUploadLength(short.detail)
    return standing


def _checked_length(asked: Asked, limits: Limits) -> int | None:
    """The length that is declared. Raises InconsistentUploadLength, TooLarge, AppendTooSmall."""
    length = asked.told_length(0)
    limits.check_length(length)
    limits.check_length(asked.content_length)
    limits.check_content(asked.content_length, completes=asked.completes, creates=True)
    if length is not None and asked.content_length is not None and asked.content_length > length:
        raise InconsistentUploadLength(f"the content goes past the upload's length of {length}")
    return length


def _check_kind(headers: Headers) -> None:
    """Refuse what could not be kept until the last request. Raises BadRequest."""
    if _has_parts(headers):
        raise UnsupportedMediaType("content in several parts cannot be resumed: send it in one")
    if "Idempotency-Key" in headers:
        raise BadRequest(
            "Idempotency-Key goes with POST /v1/objects and all content in one request"
        )


def _has_parts(headers: Headers) -> bool:
    return headers.get("Content-Type", "").lower().startswith("multipart/")
