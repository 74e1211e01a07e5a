-- name: latest
SELECT award_when, CASE WHEN isfinite(valid_from) THEN valid_from END FROM billing.award_policy
WHERE system = %(system)s AND account = %(account)s ORDER BY policy_no DESC LIMIT 1
-- name: has_past
SELECT EXISTS (SELECT FROM billing.sync_run
    WHERE system = %(system)s AND account = %(account)s AND sync_id < %(sync_id)s
      AND state = 'stored')
-- name: record
INSERT INTO billing.award_policy (system, account, award_when, valid_from, run_id)
VALUES (%(system)s, %(account)s, %(award_when)s, coalesce(%(valid_from)s::timestamptz, '-infinity'),
    %(run_id)s)
-- name: touched_members
SELECT DISTINCT member_id FROM billing.invoice
WHERE system = %(system)s AND account = %(account)s AND status = 'open' AND member_id IS NOT NULL
  AND kind IN ('invoice', 'sale') AND issued_at >= coalesce(%(valid_from)s::timestamptz,
      '-infinity')
