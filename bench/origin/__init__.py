"""What one process serves from memory: against a bare aiohttp handler, and against nginx."""
