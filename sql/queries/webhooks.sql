-- name: endpoint
-- An endpoint by its address, or the default one, with the secrets in force.
SELECT p.endpoint_no, p.endpoint_id, p.system, p.connection, p.account,
       p.block_options || p.options, p.allowed_networks::text[], p.body_bytes_max,
       p.events_per_minute, p.handshake, p.disabled_at, p.is_default,
       coalesce((SELECT array_agg(s.secret_encrypted ORDER BY s.secret_no DESC)
           FROM billing.webhook_secret s
                 WHERE s.endpoint_no = p.endpoint_no AND coalesce(s.expires_at > now(), true)),
                     '{}')
FROM billing.webhook_endpoint p
WHERE CASE WHEN %(endpoint_id)s::text IS NULL THEN p.is_default AND p.disabled_at IS NULL
    ELSE p.endpoint_id = %(endpoint_id)s::text END
-- name: store
-- The order of the arrays is the order of arrival; a repeated delivery returns nothing.
INSERT INTO billing.webhook_event (endpoint_no, dedup_key, kind, headers, body_bytes, body_zstd,
    source_ip, received_at)
SELECT * FROM unnest(%(endpoint_nos)s::bigint[], %(dedup_keys)s::text[], %(kinds)s::text[],
    %(headers)s::jsonb[], %(body_bytes)s::integer[],
                     %(bodies)s::bytea[], %(source_ips)s::inet[], %(received_ats)s::timestamptz[])
ON CONFLICT (endpoint_no, dedup_key) DO NOTHING
RETURNING endpoint_no, dedup_key, event_no
-- name: claim
-- Events that are due, for this run alone until its lease ends.
WITH due AS MATERIALIZED (
    SELECT event_no FROM billing.webhook_event
    WHERE state IN ('received', 'claimed', 'failed') AND next_attempt_at <= clock_timestamp()
      AND endpoint_no <> ALL(%(busy)s::bigint[]) AND NOT EXISTS (SELECT FROM billing.standby)
    ORDER BY next_attempt_at, event_no LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE billing.webhook_event e SET state = 'claimed', attempts = e.attempts + 1,
    run_id = %(run_id)s,
    next_attempt_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
FROM due, billing.webhook_endpoint p
WHERE e.event_no = due.event_no AND p.endpoint_no = e.endpoint_no
RETURNING e.event_no, e.endpoint_no, p.system, p.connection, p.account, p.options, e.dedup_key,
    e.kind, e.headers, e.body_zstd,
          e.received_at, e.attempts
-- name: finish
-- Events that are in the ledger, or need not be.
UPDATE billing.webhook_event e SET state = 'done', finished_at = clock_timestamp(),
    reason = %(reason)s, sync_id = %(sync_id)s, documents = coalesce(d.ids, '{}')
FROM unnest(%(event_nos)s::bigint[]) AS n(event_no)
LEFT JOIN (SELECT event_no, array_agg(DISTINCT document) AS ids
           FROM unnest(%(of_events)s::bigint[], %(documents)s::text[]) AS u(event_no, document)
           GROUP BY 1) d USING (event_no)
WHERE e.event_no = n.event_no AND e.state = 'claimed' AND e.run_id = %(run_id)s
-- name: fail
-- Events that are tried again later, or parked after too many attempts.
UPDATE billing.webhook_event SET reason = %(reason)s,
    first_reason = coalesce(first_reason, %(reason)s),
    first_failed_at = coalesce(first_failed_at, clock_timestamp()),
    state = CASE WHEN attempts >= %(attempts_max)s THEN 'parked' ELSE 'failed' END,
    finished_at = CASE WHEN attempts >= %(attempts_max)s THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(secs => greatest(%(wait_seconds)s::float8,
        least(%(backoff_seconds_max)s::float8,
            %(backoff_seconds)s::float8 * 2 ^ least(attempts - 1, 30)) * (0.75 + random() / 2)))
WHERE event_no = ANY(%(event_nos)s) AND state = 'claimed' AND run_id = %(run_id)s
-- name: park
-- Events that are given up.
UPDATE billing.webhook_event SET state = 'parked', finished_at = clock_timestamp(),
    reason = %(reason)s, first_reason = coalesce(first_reason, %(reason)s),
    first_failed_at = coalesce(first_failed_at, clock_timestamp())
WHERE event_no = ANY(%(event_nos)s) AND state = 'claimed' AND run_id = %(run_id)s
-- name: replay
-- Makes parked and failed events due at once.
UPDATE billing.webhook_event e SET state = 'received', attempts = 0,
    next_attempt_at = clock_timestamp(), finished_at = NULL, reason = NULL
FROM billing.webhook_endpoint p
WHERE p.endpoint_no = e.endpoint_no AND e.state IN ('parked', 'failed')
  AND (%(event_nos)s::bigint[] IS NULL OR e.event_no = ANY(%(event_nos)s))
  AND (%(connection)s::text IS NULL OR p.connection = %(connection)s)
-- name: next_due
-- In how many seconds the next event is due.
SELECT extract(epoch FROM min(next_attempt_at) - clock_timestamp())::float8
FROM billing.webhook_event
WHERE state IN ('received', 'claimed', 'failed') AND NOT EXISTS (SELECT FROM billing.standby)
-- name: backlog
-- Per connection: events that wait, and parked ones.
SELECT p.system, p.connection, count(*) FILTER (WHERE e.state <> 'parked') AS waiting,
       count(*) FILTER (WHERE e.state = 'parked') AS parked,
       min(e.received_at) FILTER (WHERE e.state <> 'parked') AS oldest_at
FROM billing.webhook_event e JOIN billing.webhook_endpoint p USING (endpoint_no)
WHERE e.state IN ('received', 'claimed', 'failed', 'parked') GROUP BY 1, 2 ORDER BY 1, 2
-- name: states
-- How many events are in which state.
SELECT state, count(*) FROM billing.webhook_event GROUP BY 1
-- name: latest_no
-- The number of the latest event.
SELECT coalesce(max(event_no), 0) FROM billing.webhook_event
-- name: latest
-- The latest events (of one state), with the points of the documents that they brought. (The ledger
-- is read by member and document, which its key begins with: never as a whole.)
WITH event AS MATERIALIZED (
    SELECT w.event_no, w.received_at, w.kind, w.state, w.attempts, w.reason, w.first_reason,
           w.documents, w.sync_id, p.connection, p.system, p.account
    FROM billing.webhook_event w JOIN billing.webhook_endpoint p USING (endpoint_no)
    WHERE w.event_no > %(after)s
      AND (%(state)s::text IS NULL OR w.state = %(state)s)
      AND (%(endpoint_no)s::bigint IS NULL OR w.endpoint_no = %(endpoint_no)s)
      AND (%(kind)s::text IS NULL OR w.kind = %(kind)s)
    ORDER BY w.event_no DESC LIMIT %(limit)s
), document AS MATERIALIZED (
    SELECT DISTINCT e.event_no, coalesce(o.owner_id, i.member_id) AS member_id, i.external_id,
           i.account, i.system
    FROM event e
    LEFT JOIN billing.sync_run s USING (sync_id)
    CROSS JOIN LATERAL unnest(e.documents) AS brought(external_id)
    JOIN billing.invoice i ON i.external_id = brought.external_id AND i.system = e.system
        AND i.account = coalesce(s.account, e.account, i.account)
    LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
)
SELECT e.event_no, e.connection, e.received_at, e.kind, e.state, e.attempts, e.reason,
       e.first_reason, e.documents,
       (SELECT coalesce(sum(a.points), 0)::bigint FROM document d
        JOIN loyalty.award_entry a ON (a.member_id, a.external_id, a.account, a.system)
            = (d.member_id, d.external_id, d.account, d.system)
        WHERE d.event_no = e.event_no)
FROM event e ORDER BY e.event_no DESC
-- name: nudge
-- Wakes whoever listens for events.
SELECT pg_notify('billing_webhook', '')
-- name: hold_claims
-- Takes the lock of whoever claims events; false: another run has it.
SELECT pg_try_advisory_lock(hashtextextended('billing.webhook_event', 5))
-- name: set_lock_timeout
-- How long this connection waits for a lock.
SELECT set_config('lock_timeout', %(wait_ms)s, false)
-- name: await_claims
-- Waits for that lock.
SELECT pg_advisory_lock(hashtextextended('billing.webhook_event', 5))
-- name: claims_locked
-- Whether anybody holds the lock of the claims (`granted`), or waits for it (not `granted`).
SELECT EXISTS (
    SELECT FROM pg_locks l, (SELECT hashtextextended('billing.webhook_event', 5) AS key) k
    WHERE l.locktype = 'advisory' AND l.granted = %(granted)s AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = k.key)
-- name: any_endpoint
-- Whether any endpoint is in use, or anybody is told of changes by webhook.
SELECT (EXISTS (SELECT FROM billing.webhook_endpoint WHERE disabled_at IS NULL)
        OR EXISTS (SELECT FROM loyalty.receiver WHERE ended_at IS NULL))
   AND NOT EXISTS (SELECT FROM billing.standby)
-- name: release_claims
-- Gives the lock back.
SELECT pg_advisory_unlock(hashtextextended('billing.webhook_event', 5))
-- name: set_handshake
-- Moves an endpoint's handshake on, from one state only.
UPDATE billing.webhook_endpoint SET handshake = %(to)s
WHERE endpoint_no = %(endpoint_no)s AND handshake = %(from)s
-- name: await_handshake
-- The vendor will verify the address once more.
UPDATE billing.webhook_endpoint SET handshake = 'awaited'
WHERE endpoint_no = %(endpoint_no)s AND handshake <> 'none'
-- name: add_secret
-- Adds a secret.
INSERT INTO billing.webhook_secret (endpoint_no, secret_encrypted)
VALUES (%(endpoint_no)s, %(secret)s) RETURNING secret_no
-- name: secrets_of
-- All secrets of an endpoint, also expired ones.
SELECT secret_encrypted FROM billing.webhook_secret WHERE endpoint_no = %(endpoint_no)s
ORDER BY secret_no DESC LIMIT 100
-- name: expire_secrets
-- Older secrets work a while longer.
UPDATE billing.webhook_secret SET expires_at = least(expires_at,
    now() + make_interval(secs => %(overlap_seconds)s))
WHERE endpoint_no = %(endpoint_no)s AND secret_no <> %(but)s AND coalesce(expires_at > now(), true)
-- name: create_endpoint
-- Makes an endpoint.
INSERT INTO billing.webhook_endpoint (endpoint_id, system, connection, account, options,
    allowed_networks, body_bytes_max,
    events_per_minute, is_default, handshake)
VALUES (%(endpoint_id)s, %(system)s, %(connection)s, %(account)s, %(options)s,
    %(allowed_networks)s::cidr[], %(body_bytes_max)s,
    %(events_per_minute)s, %(is_default)s, %(handshake)s)
RETURNING endpoint_no
-- name: set_options
-- What an endpoint's address, and its block, say about its webhooks.
UPDATE billing.webhook_endpoint SET options = %(options)s, block_options = %(block_options)s
WHERE endpoint_no = %(endpoint_no)s
-- name: disable_endpoint
-- From now on the address answers 410.
UPDATE billing.webhook_endpoint SET disabled_at = now()
WHERE endpoint_id = %(endpoint_id)s AND disabled_at IS NULL
-- name: endpoints
-- All endpoints, with how much they are used.
SELECT p.endpoint_no, p.endpoint_id, p.system, p.connection, p.account, p.options, p.block_options,
       p.allowed_networks::text[], p.is_default, p.handshake, p.created_at, p.disabled_at,
       (SELECT count(*) FROM billing.webhook_secret s
           WHERE s.endpoint_no = p.endpoint_no AND coalesce(s.expires_at > now(), true)) AS secrets,
       (SELECT count(*) FROM billing.webhook_event e WHERE e.endpoint_no = p.endpoint_no) AS events,
       (SELECT max(e.received_at) FROM billing.webhook_event e
           WHERE e.endpoint_no = p.endpoint_no) AS last_event_at
FROM billing.webhook_endpoint p ORDER BY p.endpoint_no
