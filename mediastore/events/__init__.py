"""Telling the app what has happened: the outbox on its way to tenants' webhooks."""
