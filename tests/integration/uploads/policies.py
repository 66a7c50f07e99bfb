"""A tenant's policy, changed and believed at once."""

from mediastore.app_keys import AUTHENTICATOR
from mediastore.catalog.tenants import change_tenant
from tests.integration.uploads.conftest import Service


async def set_policy(service: Service, **changes: object) -> str | None:
    """The secret that the tenant got, if it got one."""
    made = await change_tenant(service.catalog, "acme", changes)
    forget_policies(service)
    return made


def forget_policies(service: Service) -> None:
    """As if what is believed of tenants had become too old."""
    authenticator = service.app[AUTHENTICATOR]
    authenticator._cache.clear()
    authenticator.policies._believed.clear()
