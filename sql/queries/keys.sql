-- name: create
-- Makes a key.
INSERT INTO billing.api_key (prefix, key_sha256, name, scopes, requests_per_minute, expires_at,
    rotated_from)
VALUES (%(prefix)s, %(digest)s, %(name)s, %(scopes)s, %(per_minute)s,
    now() + make_interval(days => %(days)s), %(rotated_from)s)
RETURNING key_no, expires_at
-- name: find
-- A key by its prefix.
SELECT key_no, prefix, key_sha256, name, scopes, requests_per_minute, created_at, expires_at,
       rotated_from, last_used_at, revoked_at
FROM billing.api_key WHERE prefix = %(prefix)s
-- name: list
-- All keys, and the one that each replaces.
SELECT k.key_no, k.prefix, k.name, k.scopes, k.requests_per_minute, k.created_at, k.expires_at,
       k.last_used_at, k.revoked_at,
       (SELECT o.prefix FROM billing.api_key o WHERE o.key_no = k.rotated_from)
FROM billing.api_key k ORDER BY k.key_no
-- name: touch
-- Notes that a key was used, once a minute.
UPDATE billing.api_key SET last_used_at = now()
WHERE key_no = %(key_no)s AND coalesce(last_used_at < now() - interval '1 minute', true)
-- name: end_after
-- A key that was replaced works a while longer.
UPDATE billing.api_key SET expires_at = least(expires_at,
    now() + make_interval(secs => %(seconds)s)) WHERE key_no = %(key_no)s
-- name: revoke
-- Withdraws a key.
UPDATE billing.api_key SET revoked_at = now() WHERE prefix = %(prefix)s AND revoked_at IS NULL
