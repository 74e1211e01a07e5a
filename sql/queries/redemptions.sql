-- name: lock_owner
-- Locks whoever earns for the member, and says who it is; null: there is no such member.
SELECT loyalty.lock_owner(%(member_id)s)
-- name: clock
-- The time now, and not that of the transaction's beginning: it may have waited for the lock.
SELECT clock_timestamp()
-- name: of_key
-- The redemption that was asked for under a key, and how long its hold was to last.
SELECT redemption_id, member_id, points, reference, reason,
       extract(epoch FROM hold_ends_at - requested_at)::bigint
FROM loyalty.redemption WHERE idempotency_key = %(key)s
-- name: add
-- Enters a redemption; no row: its key was used meanwhile.
INSERT INTO loyalty.redemption (idempotency_key, member_id, points, reference, reason,
    requested_at, hold_ends_at, requested_by, run_id)
VALUES (%(key)s, %(member_id)s, %(points)s, %(reference)s, %(reason)s, %(at)s,
    %(at)s + make_interval(secs => %(hold_seconds)s), %(by)s, %(run_id)s)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING redemption_id
-- name: add_step
-- Enters a step; no row: its key was used meanwhile.
INSERT INTO loyalty.redemption_step (redemption_id, step, member_id, points, idempotency_key,
    reason, posted_at, posted_by, run_id)
VALUES (%(redemption_id)s, %(step)s, %(member_id)s, %(points)s, %(key)s, %(reason)s, %(at)s,
    %(by)s, %(run_id)s)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING step
-- name: step_of_key
-- The step that was asked for under a key.
SELECT redemption_id, step FROM loyalty.redemption_step WHERE idempotency_key = %(key)s
-- name: redemption
-- A redemption and what became of it.
SELECT redemption_id, member_id, owner_id, points, state, reference, reason, requested_at,
       hold_ends_at, redeemed_at, cancelled_at, reversed_at, released_why
FROM loyalty.redemption_state WHERE redemption_id = %(redemption_id)s
-- name: of_member
-- Redemptions that count for a member, or were asked for in their name; the latest first. (Theirs are
-- found first, by the index: a page for one member must not read what all others spent.)
WITH theirs AS MATERIALIZED (
    SELECT r.redemption_id FROM loyalty.redemption r
    WHERE r.member_id = ANY(ARRAY(
        SELECT o.member_id FROM loyalty.member_owner o WHERE o.owner_id = %(member_id)s
        UNION SELECT %(member_id)s::bigint))
)
SELECT redemption_id, member_id, owner_id, points, state, reference, reason, requested_at,
       hold_ends_at, redeemed_at, cancelled_at, reversed_at, released_why
FROM theirs JOIN loyalty.redemption_state USING (redemption_id)
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND redemption_id < coalesce(%(before)s::bigint, 9223372036854775807)
ORDER BY redemption_id DESC LIMIT %(limit)s
