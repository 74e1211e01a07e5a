-- name: latest
-- The account's policy that was entered last.
SELECT award_when, CASE WHEN isfinite(valid_from) THEN valid_from END FROM billing.award_policy
WHERE system = %(system)s AND account = %(account)s ORDER BY policy_no DESC LIMIT 1
-- name: has_past
-- Whether the account was ever synchronised before this run.
SELECT EXISTS (SELECT FROM billing.sync_run
    WHERE system = %(system)s AND account = %(account)s AND sync_id < %(sync_id)s
      AND state = 'stored')
-- name: record
-- Enters a new version of the policy.
INSERT INTO billing.award_policy (system, account, award_when, valid_from, run_id)
VALUES (%(system)s, %(account)s, %(award_when)s, coalesce(%(valid_from)s::timestamptz, '-infinity'),
    %(run_id)s)
-- name: touched_members
-- Members with sales that a change of the policy may concern.
SELECT DISTINCT member_id FROM billing.invoice
WHERE system = %(system)s AND account = %(account)s AND status = 'open' AND member_id IS NOT NULL
  AND kind IN ('invoice', 'sale') AND issued_at >= coalesce(%(valid_from)s::timestamptz,
      '-infinity')
