-- name: claim
-- Dirty members, locked for this award; those of other workers are skipped.
SELECT member_id FROM loyalty.member_dirty ORDER BY member_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
-- name: claim_of
-- The same, of these members only.
SELECT member_id FROM loyalty.member_dirty WHERE member_id = ANY(%(members)s) ORDER BY member_id
FOR UPDATE SKIP LOCKED

-- name: claim_after
-- The same, in the order of their numbers from one on.
SELECT member_id FROM loyalty.member_dirty WHERE member_id > %(after)s ORDER BY member_id
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
-- name: everyone
-- All members.
SELECT member_id FROM loyalty.member ORDER BY member_id
-- name: waiting_of
-- Those of the members that are dirty.
SELECT member_id FROM loyalty.member_dirty WHERE member_id = ANY(%(members)s)
-- name: count_dirty
-- How many members wait for the award step.
SELECT count(*) FROM loyalty.member_dirty
-- name: history
-- All sales of the members, with the policy that each sale's account has for its date.
SELECT i.system, i.account, i.external_id, i.member_id, i.kind, i.status, i.currency, i.total_minor,
       i.subtotal_minor,
       i.amount_refunded_minor, (extract(epoch FROM i.issued_at) * 1000000)::bigint, i.page_id,
       i.record_no, p.award_when, i.invoice_number, i.time_known::int, i.original_external_id
FROM billing.invoice i
LEFT JOIN billing.award_policy_span p ON p.award_when = 'paid'
    AND (p.system, p.account) = (i.system, i.account)
  AND i.issued_at >= p.valid_from AND (p.valid_to IS NULL OR i.issued_at < p.valid_to)
-- (A subquery, so that the plan does not follow from how many members there are: of thousands, the
-- rows would be read one by one through the index and not in the order of the table, in three times
-- the time.)
WHERE i.member_id = ANY((SELECT %(members)s::bigint[])::bigint[])
-- name: tiers
-- The tiers that were set, as they count: per instant from which one is valid.
SELECT member_id, (extract(epoch FROM valid_from) * 1000000)::bigint, tier
FROM loyalty.tier_set WHERE member_id = ANY(%(members)s) ORDER BY member_id, valid_from
-- name: posted
-- The last entry of each chain: what is posted for each sale.
SELECT DISTINCT ON (member_id, external_id, account, system)
       system, account, external_id, member_id, entry_no, due_after, currency, tier,
       program_version,
       (extract(epoch FROM event_at) * 1000000)::bigint, net_minor
FROM loyalty.award_entry WHERE member_id = ANY(%(members)s)
ORDER BY member_id, external_id, account, system, entry_no DESC
-- name: programs
-- All versions of the program.
SELECT version, CASE WHEN isfinite(valid_from) THEN valid_from END AS valid_from, base_rate_bps,
       tier_rate_bps, entry_tier, rounding,
       basis, award_when, timezone, base_currency, categories, unlinked_credits,
       discount_lines, tier_policy, expiry, currency, per_full_minor, promotion_limits, pending,
       events
FROM loyalty.program ORDER BY version
-- name: promotions
-- All versions of the promotions.
SELECT promotion_id, version, kind, parameters, valid_from, valid_to FROM loyalty.promotion
ORDER BY promotion_id, version
-- name: clear
-- Members whose points are posted are dirty no longer.
DELETE FROM loyalty.member_dirty WHERE member_id = ANY(%(members)s)
