"""POST /v1/objects with PULL_TYPE: this service fetches the content from a URL that the client
names.

A media type of its own, so that no upload of a JSON file is ever taken for it. Off until
`pull.hosts` names hosts. The request waits for the pull; with an Idempotency-Key it can be sent
again after its answer was lost.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import MultiDict

from mediastore.app_keys import AUTHENTICATOR, CLOCK, SETTINGS
from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import UploadDraft
from mediastore.errors import BadRequest, Overloaded, ShuttingDown, UploadFinishing
from mediastore.objects.fields import read_json_object
from mediastore.public_urls import client_address
from mediastore.request_errors import SourceFailed, SourceRefused
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.digest_fields import refuse_digests
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import checked_idempotency_key, from_query
from mediastore.uploads.pull_body import PullReader
from mediastore.uploads.pull_source import Source
from mediastore.uploads.raw import answer_once
from mediastore.uploads.service import Uploads
from mediastore.uploads.session import Session

PULL_TYPE = "application/vnd.mediastore.pull+json"
HEADERS_MAX = 16
HEADER_LENGTH_MAX = 4096
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
# What this service says for itself, and what is between it and the next hop.
_HEADERS_REFUSED = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_MEMBERS = frozenset({"source", "name", "owner", "metadata", "content_type", "blake3", "sha-256"})
_TEXTS = ("name", "owner", "content_type", "blake3", "sha-256")


class Pulls:
    """The pulls of this process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._at_once_max = settings.pull.at_once_max
        self._metrics = metrics
        self.under_way = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among them, and a count of how it ended. Raises Overloaded."""
        if self.under_way >= self._at_once_max:
            raise Overloaded("too many pulls are under way")
        self.under_way += 1
        outcome = "other"
        try:
            yield
            outcome = "made"
        except SourceRefused:
            outcome = "refused"
            raise
        except SourceFailed:
            outcome = "failed"
            raise
        finally:
            self.under_way -= 1
            self._metrics.pulls[outcome].inc()


PULLS = web.AppKey("pulls", Pulls)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks to be fetched, and what it says of the object."""

    url: str
    headers: Mapping[str, str]
    texts: Mapping[str, str]
    metadata: Any

    def draft(
        self, tenant: str, source: Source, *, metadata_max_bytes: int, idempotency_key: str | None
    ) -> UploadDraft:
        """Raises BadMetadata."""
        texts = dict(self.texts)
        content_type = texts.pop("content_type", None) or source.content_type
        said = MultiDict({**texts, "metadata": json.dumps(self.metadata)})
        says = from_query(said, content_type, metadata_max_bytes=metadata_max_bytes)
        return says.draft(tenant, "raw", length=source.length, idempotency_key=idempotency_key)


async def create(request: web.Request) -> web.Response:
    """201 with the object as JSON; 200 for a repeated Idempotency-Key."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings = request.app[SETTINGS]
    if request.query:
        raise BadRequest("a pull takes no query: everything is in its JSON")
    key = checked_idempotency_key(request.headers.get("Idempotency-Key"))
    refuse_digests(request, "the members blake3 or sha-256")
    want_body(request)
    wanted = read_wanted(await read_json_object(request, settings.http))

    async def made() -> Object:
        with request.app[PULLS].place():
            async with Source(
                wanted.url, wanted.headers, settings.pull, request.app[CLOCK]
            ) as source:
                return await _pull(request, tenant.id, wanted, source, key)

    return await answer_once(request, tenant.id, key, made)


async def _pull(
    request: web.Request, tenant: str, wanted: Wanted, source: Source, key: str | None
) -> Object:
    settings, clock, uploads = request.app[SETTINGS], request.app[CLOCK], request.app[UPLOADS]
    deadline = clock.monotonic() + settings.pull.duration_max_seconds
    stream = await source.open()
    said = wanted.draft(
        tenant,
        source,
        metadata_max_bytes=settings.uploads.metadata_max_bytes,
        idempotency_key=key,
    )
    draft = await uploads.admit(said, client=client_address(request))
    body = PullReader(source, stream, clock, settings, deadline=deadline)
    try:
        return await _received(uploads, draft, body)
    finally:
        await body.close()


async def _received(uploads: Uploads, draft: UploadDraft, body: PullReader) -> Object:
    session = Session(
        uploads.parts,
        draft,
        await uploads.parts.admission.policy(draft.tenant),
        keeps_broken=False,
        ends_with_body=True,
    )
    with uploads.reading(draft.tenant, body):
        received = await session.receive(body)
    if received.object is not None:
        return received.object
    if received.upload is not None:
        raise UploadFinishing(id=str(draft.id))
    raise ShuttingDown


def read_wanted(document: Mapping[str, Any]) -> Wanted:
    """The JSON of a pull. Raises BadRequest."""
    unknown = document.keys() - _MEMBERS
    if unknown:
        raise BadRequest(f"a pull takes {', '.join(sorted(_MEMBERS))}, not {min(unknown)!r}")
    source = document.get("source")
    if not isinstance(source, dict) or source.keys() - {"url", "headers"}:
        raise BadRequest("source must be an object with url and, if need be, headers")
    if not isinstance(source.get("url"), str):
        raise BadRequest("source.url must be text")
    texts = {name: document[name] for name in _TEXTS if name in document}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise BadRequest(f"{name} must be text")
    headers = _read_headers(source.get("headers", {}))
    return Wanted(source["url"], headers, texts, document.get("metadata", {}))


def _read_headers(headers: Any) -> Mapping[str, str]:
    if not isinstance(headers, dict) or len(headers) > HEADERS_MAX:
        raise BadRequest(f"source.headers must be an object of at most {HEADERS_MAX} members")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str):
            raise BadRequest("source.headers must be names and texts")
        if not _HEADER_VALUE.fullmatch(value) or len(value) > HEADER_LENGTH_MAX:
            raise BadRequest(f"the header {name!r} is not printable ASCII of bounded length")
        if name.lower() in _HEADERS_REFUSED or name.lower().startswith("proxy-"):
            raise BadRequest(f"the header {name!r} cannot be given")
    return headers
