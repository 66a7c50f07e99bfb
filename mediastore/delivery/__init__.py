"""Reads by the app and by the CDN: allowed, verified, and by RFC 9110."""
