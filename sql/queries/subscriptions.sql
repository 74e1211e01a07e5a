-- name: lock
-- One process at a time looks after the subscriptions of a connection, or of a system.
SELECT pg_advisory_lock(hashtextextended(%(key)s, 7))
-- name: unlock
-- Gives the lock back.
SELECT pg_advisory_unlock(hashtextextended(%(key)s, 7))
-- name: read
-- What became of the subscriptions of a connection.
SELECT connection, system, state, detail, vendor_ids, expires_at, basis, checked_at, next_at
FROM billing.webhook_subscription WHERE connection = %(connection)s
-- name: all
-- What became of all subscriptions.
SELECT connection, system, state, detail, vendor_ids, expires_at, basis, checked_at, next_at
FROM billing.webhook_subscription ORDER BY connection
-- name: add_id
-- Remembers a subscription whose secret is stored.
UPDATE billing.webhook_subscription
SET vendor_ids = array_append(array_remove(vendor_ids, %(vendor_id)s), %(vendor_id)s)
WHERE connection = %(connection)s
-- name: addresses
-- The addresses of a connection that are in use.
SELECT endpoint_id FROM billing.webhook_endpoint
WHERE connection = %(connection)s AND disabled_at IS NULL ORDER BY endpoint_no
-- name: save
-- What the check of a connection's subscriptions came to.
INSERT INTO billing.webhook_subscription (connection, system, state, detail, vendor_ids,
    expires_at, basis, checked_at, next_at)
VALUES (%(connection)s, %(system)s, %(state)s, %(detail)s, %(vendor_ids)s, %(expires_at)s,
    %(basis)s, %(checked_at)s, %(next_at)s)
ON CONFLICT (connection) DO UPDATE SET system = excluded.system, state = excluded.state,
    detail = excluded.detail, vendor_ids = excluded.vendor_ids, expires_at = excluded.expires_at,
    basis = excluded.basis, checked_at = excluded.checked_at, next_at = excluded.next_at
