-- name: tenant_create
INSERT INTO tenants (id, public, trash_seconds) VALUES ($1, $2, $3)
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: tenant_list
SELECT id, public, trash_seconds, policy, webhook_secrets FROM tenants ORDER BY id;

-- name: tenant_get
SELECT id, public, trash_seconds, policy, webhook_secrets FROM tenants WHERE id = $1;

-- name: tenant_change
-- $6 and $7 are what the new ones were made of.
UPDATE tenants SET public = $2, trash_seconds = $3, policy = $4, webhook_secrets = $5
WHERE id = $1 AND policy = $6 AND webhook_secrets = $7 RETURNING id;

-- name: api_key_create
INSERT INTO api_keys (id, tenant, name, secret_hash) VALUES ($1, $2, $3, $4);

-- name: api_key_list
SELECT id, tenant, name, created_at, revoked_at FROM api_keys WHERE tenant = $1 ORDER BY id;

-- name: api_key_revoke
UPDATE api_keys SET revoked_at = catalog_clock() WHERE id = $1 AND revoked_at IS NULL RETURNING id;

-- name: api_key_find
-- The tenant of a key that is valid now.
SELECT t.id, t.public, t.trash_seconds, t.policy, t.webhook_secrets
FROM api_keys AS k JOIN tenants AS t ON t.id = k.tenant
WHERE k.secret_hash = $1 AND k.revoked_at IS NULL;

-- name: token_secret_get
SELECT token_secret FROM tenants WHERE id = $1;

-- name: token_secret_renew
-- By the column's own default: 244 random bits.
UPDATE tenants SET token_secret = DEFAULT WHERE id = $1 RETURNING id;

-- name: tenants_with_uploads
-- Tenants that have at least so many unfinished uploads.
SELECT tenant FROM uploads GROUP BY tenant HAVING count(*) >= $1;
