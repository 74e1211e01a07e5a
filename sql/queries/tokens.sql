-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended(%(system)s || '/' || %(account)s, 2))
-- name: read
SELECT token_encrypted, seed_digest FROM billing.connector_token
WHERE system = %(system)s AND account = %(account)s FOR UPDATE
-- name: save
INSERT INTO billing.connector_token (system, account, token_encrypted, seed_digest, expires_at)
VALUES (%(system)s, %(account)s, %(token)s, %(digest)s, %(expires_at)s)
ON CONFLICT (system, account) DO UPDATE SET token_encrypted = excluded.token_encrypted, seed_digest = excluded.seed_digest,
    expires_at = excluded.expires_at, refreshed_at = now(), refresh_count = connector_token.refresh_count + 1
