"""POST /v1/objects with multipart/form-data, as browsers send it: any number of files, an object of
each.

The answer tells of every file, in the order of the form. With an Idempotency-Key the request can be
sent again, as the same form: a file whose object was made then is answered with that object.
"""

from typing import Any

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, CLOCK, SETTINGS
from mediastore.errors import MediastoreError
from mediastore.objects.document import object_document
from mediastore.problems import problem_document
from mediastore.public_urls import client_address, public_base
from mediastore.request_errors import BadForm
from mediastore.uploads.body import BodyReader
from mediastore.uploads.digest_fields import refuse_digests
from mediastore.uploads.form_fields import FormFields
from mediastore.uploads.form_files import FormFiles
from mediastore.uploads.form_parts import FormReader, boundary_of
from mediastore.uploads.form_small import FileOutcome
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import checked_idempotency_key

FORM_TYPE = "multipart/form-data"


async def create(request: web.Request) -> web.Response:
    """201 when every file is an object, 207 when only some are. When none is, or the form ended
    early, a problem with `results`: what each file became.
    """
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings, uploads = request.app[SETTINGS], request.app[UPLOADS]
    boundary = boundary_of(request.headers["Content-Type"])
    fields = FormFields(request.query, metadata_max_bytes=settings.uploads.metadata_max_bytes)
    key = checked_idempotency_key(request.headers.get("Idempotency-Key"))
    refuse_digests(request, "the fields blake3 or sha-256 before a file")
    want_body(request)
    body = BodyReader(request.content, request.app[CLOCK], settings.http, settings.uploads)
    with uploads.reading(tenant.id, body):
        form = FormReader(
            body,
            boundary,
            parts_max=settings.uploads.form_parts_max,
            part_max_bytes=settings.uploads.size_max_bytes,
        )
        files = FormFiles(
            uploads.parts,
            tenant.id,
            fields,
            form,
            client=client_address(request),
            idempotency_key=key,
        )
        try:
            await files.receive()
        except MediastoreError as error:
            raise _with_results(error, request, files.outcomes) from error.__cause__
    return _answer(request, files.outcomes)


def _answer(request: web.Request, outcomes: list[FileOutcome]) -> web.Response:
    if not outcomes:
        raise BadForm("the form has no file")
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(failed) == len(outcomes):
        raise _with_results(failed[0], request, outcomes)
    results = _results(request, outcomes)
    headers = {}
    if len(results) == 1:
        headers["Location"] = results[0]["object"]["links"]["self"]
    return web.json_response({"results": results}, status=207 if failed else 201, headers=headers)


def _with_results(
    error: MediastoreError, request: web.Request, outcomes: list[FileOutcome]
) -> MediastoreError:
    """An error of the same kind that tells of every file as well."""
    return type(error)(error.detail, **error.members, results=_results(request, outcomes))


def _results(request: web.Request, outcomes: list[FileOutcome]) -> list[dict[str, Any]]:
    public_url = public_base(request)
    results = []
    for outcome in outcomes:
        told: dict[str, Any] = {"field": outcome.field, "filename": outcome.filename}
        if outcome.object is not None:
            told["status"] = 200 if outcome.repeated else 201
            told["object"] = object_document(outcome.object, public_url=public_url)
        elif outcome.error is not None:
            told["status"] = outcome.error.status
            told["problem"] = problem_document(outcome.error)
        results.append(told)
    return results
