"""The before-create hook: the app says whether an upload may be, and what it is to be.

It is asked once, before anything is created and while no transaction is open. An app that does not
answer as it should refuses the upload (503), unless `hooks.fail_open` says otherwise.
"""

import asyncio
from dataclasses import replace
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mediastore.catalog.tenants import Tenant
from mediastore.catalog.uploads import UploadDraft
from mediastore.clock import Clock
from mediastore.errors import BadRequest
from mediastore.hooks.posting import NoAnswer, Poster
from mediastore.objects.fields import (
    NAME_LENGTH_MAX,
    OWNER_LENGTH_MAX,
    checked_metadata,
    checked_text,
)
from mediastore.policy_errors import DeniedByApp, HookUnavailable
from mediastore.settings import DAY_SECONDS, Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.metadata import checked_content_type

log = structlog.get_logger(__name__)

KIND = "upload.before_create"
REASON_LENGTH_MAX = 500


class Verdict(BaseModel):
    """What the app answers. Members that are not given leave things as the client said them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    allow: bool
    reason: str | None = Field(None, max_length=REASON_LENGTH_MAX)
    name: str | None = None
    owner: str | None = None
    content_type: str | None = None
    metadata: dict[str, Any] | None = None
    expires_seconds: int | None = Field(None, ge=60, le=365 * DAY_SECONDS)


class BeforeCreate:
    """Asks the apps of all tenants; bounded in time, in number and in what is read."""

    def __init__(self, poster: Poster, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self._poster = poster
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._places = asyncio.Semaphore(settings.hooks.concurrency_max)

    async def ask(
        self, tenant: Tenant, url: str, draft: UploadDraft, *, client: str | None
    ) -> UploadDraft:
        """The draft as the app wants it. Raises DeniedByApp, HookUnavailable."""
        started = self._clock.monotonic()
        try:
            decided = await self._decide(tenant, url, draft, client)
        except DeniedByApp:
            self._metrics.hook_denied.inc()
            raise
        except HookUnavailable as error:
            self._metrics.hook_failed.inc()
            log.warning("before_create_failed", tenant=tenant.id, why=error.detail)
            if not self._settings.hooks.fail_open:
                raise
            return draft
        else:
            self._metrics.hook_allowed.inc()
            return decided
        finally:
            self._metrics.hook_seconds.observe(self._clock.monotonic() - started)

    async def _decide(
        self, tenant: Tenant, url: str, draft: UploadDraft, client: str | None
    ) -> UploadDraft:
        verdict = await self._verdict(tenant, url, draft, client)
        if not verdict.allow:
            raise DeniedByApp(verdict.reason)
        try:
            return self._applied(verdict, draft)
        except BadRequest as error:
            raise HookUnavailable(f"the app's answer: {error.detail}") from None

    async def _verdict(
        self, tenant: Tenant, url: str, draft: UploadDraft, client: str | None
    ) -> Verdict:
        hooks = self._settings.hooks
        try:
            async with asyncio.timeout(hooks.timeout_seconds), self._places:
                answer = await self._poster.post(
                    url,
                    tenant.webhook_secrets,
                    f"create_{draft.id}",
                    self._question(draft, client),
                    timeout_seconds=hooks.timeout_seconds,
                    answer_max_bytes=hooks.answer_max_bytes,
                )
        except TimeoutError:
            raise HookUnavailable(f"no answer within {hooks.timeout_seconds:g} s") from None
        except NoAnswer as error:
            raise HookUnavailable(str(error)) from None
        if answer.status != 200:
            raise HookUnavailable(f"the app answered {answer.status}")
        try:
            return Verdict.model_validate_json(answer.body)
        except ValidationError as error:
            told = error.errors(include_url=False, include_input=False, include_context=False)
            raise HookUnavailable(f"the app's answer is not a verdict: {told}") from None

    def _question(self, draft: UploadDraft, client: str | None) -> dict[str, Any]:
        blake3 = None if draft.declared_hash is None else draft.declared_hash.hex()
        return {
            "type": KIND,
            "timestamp": self._clock.now().isoformat().replace("+00:00", "Z"),
            "data": {
                "tenant": draft.tenant,
                "id": str(draft.id),
                "owner": draft.owner,
                "name": draft.name,
                "content_type": draft.content_type,
                "size": draft.length,
                "blake3": blake3,
                "metadata": draft.metadata,
                "protocol": draft.protocol,
                "client_address": client,
            },
        }

    def _applied(self, verdict: Verdict, draft: UploadDraft) -> UploadDraft:
        """With what the app sets, held to the same rules as what a client says."""
        changes: dict[str, Any] = {}
        if verdict.name is not None:
            changes["name"] = checked_text("name", verdict.name, NAME_LENGTH_MAX)
        if verdict.owner is not None:
            changes["owner"] = checked_text("owner", verdict.owner, OWNER_LENGTH_MAX)
        if verdict.content_type is not None:
            changes["content_type"] = checked_content_type(verdict.content_type)
        if verdict.metadata is not None:
            max_bytes = self._settings.uploads.metadata_max_bytes
            changes["metadata"] = checked_metadata(verdict.metadata, max_bytes)
        if verdict.expires_seconds is not None:
            changes |= {"expires_seconds": verdict.expires_seconds, "expiry_fixed": True}
        return replace(draft, **changes) if changes else draft
