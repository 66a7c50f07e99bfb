"""What every upload passes before it exists, whichever front end it comes through: its tenant's
policy, then the app's word.

Front ends parse, `admit`, and only then create; a draft that was not admitted cannot be begun.
"""

from dataclasses import replace
from typing import NewType

from mediastore.access.policies import Policies
from mediastore.catalog.uploads import UploadDraft
from mediastore.settings import UploadSettings
from mediastore.uploads.before_create import BeforeCreate
from mediastore.uploads.policy import UploadPolicy, effective_policy

AdmittedDraft = NewType("AdmittedDraft", UploadDraft)


class Admission:
    """The policies of all tenants, and the hook."""

    def __init__(self, policies: Policies, hook: BeforeCreate, settings: UploadSettings) -> None:
        self._policies = policies
        self._hook = hook
        self._settings = settings

    async def policy(self, tenant: str) -> UploadPolicy:
        """What holds for a tenant's uploads now. Raises NotFound, CatalogUnavailable."""
        return effective_policy((await self._policies.tenant(tenant)).policy, self._settings)

    async def admit(self, draft: UploadDraft, *, client: str | None) -> AdmittedDraft:
        """The draft as it may be created; the app may have changed it. `client`: its address. The
        type of a part is nobody's concern: its final has one.

        Raises TooLarge, TypeNotAllowed, DeniedByApp, HookUnavailable.
        """
        tenant = await self._policies.tenant(draft.tenant)
        policy = effective_policy(tenant.policy, self._settings)
        policy.check_length(draft.length)
        if draft.concat != "partial":
            policy.check_type(draft.content_type)
        draft = replace(
            draft, expires_seconds=policy.expires_seconds, expiry_fixed=policy.expiry_fixed
        )
        url = tenant.policy.before_create_url
        if url is not None:
            draft = await self._hook.ask(tenant, url, draft, client=client)
            if draft.concat != "partial":
                policy.check_type(draft.content_type)
        return AdmittedDraft(draft)
