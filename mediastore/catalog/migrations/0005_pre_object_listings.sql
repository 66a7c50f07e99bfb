-- Listings: an owner's live objects, and the trash, each newest first without reading what is not shown.
CREATE INDEX objects_live_of_owner ON objects (tenant, owner, id) WHERE deleted_at IS NULL;
CREATE INDEX objects_trash ON objects (tenant, id) WHERE deleted_at IS NOT NULL;
