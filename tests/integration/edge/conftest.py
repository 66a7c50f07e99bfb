"""The service of the delivery tests."""

from tests.integration.delivery.conftest import keys, service, settings

__all__ = ["keys", "service", "settings"]
