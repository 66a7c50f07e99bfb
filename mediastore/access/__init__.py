"""Who is asking: API keys to tenants."""
