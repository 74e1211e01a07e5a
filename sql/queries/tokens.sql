-- name: lock
-- One process at a time renews a token.
SELECT pg_advisory_xact_lock(hashtextextended(%(system)s || '/' || %(digest)s, 2))
-- name: read
-- The stored token of these credentials.
SELECT token_encrypted FROM billing.connector_token
WHERE system = %(system)s AND seed_digest = %(digest)s
-- name: save
-- Stores the token that replaces it.
INSERT INTO billing.connector_token (system, account, token_encrypted, seed_digest, expires_at)
VALUES (%(system)s, %(account)s, %(token)s, %(digest)s, %(expires_at)s)
ON CONFLICT (system, seed_digest) DO UPDATE
SET token_encrypted = excluded.token_encrypted, account = excluded.account,
    expires_at = excluded.expires_at, refreshed_at = now(),
    refresh_count = connector_token.refresh_count + 1
