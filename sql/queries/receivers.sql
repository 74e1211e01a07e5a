-- name: set_receiver
-- Makes a receiver, or changes the one of this name; one that had ended is used again.
INSERT INTO loyalty.receiver AS r (name, message_prefix, url, kinds)
VALUES (%(name)s, %(message_prefix)s, %(url)s, %(kinds)s)
ON CONFLICT (name) DO UPDATE SET url = excluded.url, kinds = excluded.kinds, ended_at = NULL,
    end_reason = NULL, failures = 0, failing_since = NULL, resting_until = NULL
RETURNING receiver_no, xmax = 0
-- name: end_receiver
-- From now on a receiver is told nothing.
UPDATE loyalty.receiver SET ended_at = now(), end_reason = %(reason)s
WHERE receiver_no = %(receiver_no)s AND ended_at IS NULL
-- name: drop_deliveries
-- What was not accepted yet is not sent any more.
DELETE FROM loyalty.delivery WHERE receiver_no = %(receiver_no)s AND state <> 'delivered'
-- name: secrets
-- The secrets in force of a receiver, the newest first.
SELECT secret_encrypted FROM loyalty.receiver_secret
WHERE receiver_no = %(receiver_no)s AND coalesce(expires_at > now(), true)
ORDER BY secret_no DESC LIMIT 8
-- name: add_secret
-- Adds a secret.
INSERT INTO loyalty.receiver_secret (receiver_no, secret_encrypted)
VALUES (%(receiver_no)s, %(secret)s) RETURNING secret_no
-- name: expire_secrets
-- Older secrets sign a while longer.
UPDATE loyalty.receiver_secret SET expires_at = least(expires_at,
    now() + make_interval(secs => %(overlap_seconds)s))
WHERE receiver_no = %(receiver_no)s AND secret_no <> %(but)s
  AND coalesce(expires_at > now(), true)
-- name: receivers
-- All receivers, with what waits for them, by name.
SELECT r.receiver_no, r.name, r.url, r.kinds, r.created_at, r.ended_at, r.end_reason, r.failures,
       r.failing_since, r.last_error, r.last_delivered_at,
       (SELECT count(*) FROM loyalty.receiver_secret s
        WHERE s.receiver_no = r.receiver_no AND coalesce(s.expires_at > now(), true)) AS secrets,
       coalesce(d.waiting, 0), coalesce(d.parked, 0), d.oldest_at
FROM loyalty.receiver r
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'pending') AS waiting,
           count(*) FILTER (WHERE state = 'parked') AS parked,
           min(queued_at) FILTER (WHERE state = 'pending') AS oldest_at
    FROM loyalty.delivery WHERE receiver_no = r.receiver_no AND state IN ('pending', 'parked')
) d ON true
ORDER BY r.name
-- name: ready
-- Receivers to which something may be sent now; none where a restored copy stands by.
SELECT r.receiver_no, r.message_prefix, r.url, r.failures
FROM loyalty.receiver r
WHERE r.ended_at IS NULL AND coalesce(r.resting_until <= now(), true)
  AND NOT EXISTS (SELECT FROM billing.standby)
  AND EXISTS (SELECT FROM loyalty.delivery d WHERE d.receiver_no = r.receiver_no
              AND d.state = 'pending' AND d.next_attempt_at <= now())
ORDER BY r.receiver_no
-- name: claim
-- Messages to a receiver that are due, for this sender alone until its lease ends.
WITH due AS MATERIALIZED (
    SELECT change_no FROM loyalty.delivery
    WHERE receiver_no = %(receiver_no)s AND state = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at, change_no LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE loyalty.delivery d SET attempts = d.attempts + 1,
    next_attempt_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
FROM due, loyalty.change c
WHERE d.change_no = due.change_no AND d.receiver_no = %(receiver_no)s
  AND c.change_no = due.change_no
RETURNING d.change_no, d.attempts, c.kind, c.member_id, c.balance_points, c.happened_at, c.data
-- name: accept
-- Messages that the receiver accepted.
WITH accepted AS (
    UPDATE loyalty.delivery SET state = 'delivered', http_status = %(status)s, error = NULL,
        finished_at = clock_timestamp()
    WHERE receiver_no = %(receiver_no)s AND change_no = ANY(%(changes)s) AND state <> 'delivered'
    RETURNING receiver_no
)
UPDATE loyalty.receiver r SET failures = 0, failing_since = NULL, resting_until = NULL,
    last_delivered_at = clock_timestamp()
WHERE r.receiver_no IN (SELECT receiver_no FROM accepted)
-- name: fail
-- A message that was not accepted: tried again later, or parked. Parked are also those that
-- have been tried for too long.
UPDATE loyalty.delivery SET http_status = %(status)s, error = %(error)s,
    state = CASE WHEN %(wait_seconds)s::float8 IS NULL OR queued_at < now() - %(longest)s::interval
                 THEN 'parked' ELSE 'pending' END,
    finished_at = CASE WHEN %(wait_seconds)s::float8 IS NULL
                         OR queued_at < now() - %(longest)s::interval THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp()
        + make_interval(secs => coalesce(%(wait_seconds)s::float8, 0))
WHERE receiver_no = %(receiver_no)s AND change_no = %(change_no)s AND state = 'pending'
RETURNING state
-- name: note_failure
-- A receiver did not accept a message; nothing is sent to it before it has rested. What was under
-- way when the rest began says nothing new.
UPDATE loyalty.receiver SET
    failures = failures + CASE WHEN resting_until > clock_timestamp() THEN 0 ELSE 1 END,
    failing_since = coalesce(failing_since, clock_timestamp()), last_error = %(error)s,
    resting_until = CASE
        WHEN %(asked_seconds)s::float8 IS NOT NULL
            THEN greatest(resting_until,
                clock_timestamp() + make_interval(secs => %(asked_seconds)s::float8))
        WHEN resting_until > clock_timestamp() THEN resting_until
        WHEN failures + 1 >= %(failures_max)s THEN clock_timestamp() + make_interval(secs =>
            least(%(rest_seconds_max)s::float8,
                  %(rest_seconds)s::float8 * 2 ^ least(failures + 1 - %(failures_max)s, 20)))
        ELSE resting_until END
WHERE receiver_no = %(receiver_no)s
-- name: release
-- Messages that were claimed and not sent: due at once, and not counted.
UPDATE loyalty.delivery SET attempts = greatest(attempts - 1, 0),
    next_attempt_at = clock_timestamp()
WHERE receiver_no = %(receiver_no)s AND change_no = ANY(%(changes)s) AND state = 'pending'
-- name: park_old
-- Messages that waited for too long because their receiver fails, or that have none any more.
UPDATE loyalty.delivery d SET state = 'parked', finished_at = clock_timestamp(),
    error = coalesce(d.error, left(coalesce(r.end_reason, r.last_error), 300))
FROM loyalty.receiver r
WHERE r.receiver_no = d.receiver_no AND d.state = 'pending'
  AND (r.ended_at IS NOT NULL
       OR (r.failing_since IS NOT NULL AND d.queued_at < now() - %(longest)s::interval))
-- name: replay
-- Parked messages are tried again at once, and failed ones without waiting.
WITH woken AS (
    UPDATE loyalty.receiver SET resting_until = NULL
    WHERE ended_at IS NULL AND (%(name)s::text IS NULL OR name = %(name)s)
    RETURNING receiver_no
)
UPDATE loyalty.delivery d SET state = 'pending', attempts = 0, queued_at = now(),
    next_attempt_at = clock_timestamp(), finished_at = NULL
FROM woken r
WHERE d.receiver_no = r.receiver_no
  AND (d.state = 'parked' OR d.state = 'pending' AND d.attempts > 0 AND d.error IS NOT NULL)
-- name: forget
-- Messages that were accepted long ago.
DELETE FROM loyalty.delivery
WHERE state = 'delivered' AND finished_at < now() - make_interval(days => %(days)s)
-- name: times
-- Per receiver, of the messages accepted since: how many, and how long after the change.
SELECT r.name, count(*),
       percentile_cont(0.5) WITHIN GROUP (
           ORDER BY extract(epoch FROM d.finished_at - c.happened_at))::float8,
       percentile_cont(0.95) WITHIN GROUP (
           ORDER BY extract(epoch FROM d.finished_at - c.happened_at))::float8
FROM loyalty.delivery d JOIN loyalty.receiver r USING (receiver_no)
JOIN loyalty.change c USING (change_no)
WHERE d.state = 'delivered' AND d.finished_at >= %(since)s GROUP BY r.name ORDER BY r.name
