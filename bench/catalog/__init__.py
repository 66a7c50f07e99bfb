"""What the catalog costs Postgres: `python -m bench.catalog`."""
