"""Objects as clients see them: JSON, listings, the trash."""
