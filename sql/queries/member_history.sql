-- name: lines
-- Lines of the members' sales in a span of time; of all sales of members who returned something.
SELECT l.page_id, l.record_no, l.line_no, l.sku, l.name, (l.quantity * 1000000)::bigint,
       l.amount_minor
FROM billing.invoice i JOIN billing.invoice_line l USING (page_id, record_no)
WHERE i.member_id = ANY(%(members)s)
  AND (i.issued_at >= %(since)s AND i.issued_at < coalesce(%(until)s::timestamptz, 'infinity')
       OR i.member_id = ANY(%(returning)s))
-- name: awaits_payment
-- Whether sales of any account earn only once they are paid, by the account's own policy.
SELECT EXISTS (SELECT FROM billing.award_policy_span WHERE award_when = 'paid')
-- name: returning_members
-- Those of the members who returned something.
SELECT DISTINCT member_id FROM billing.invoice
WHERE member_id = ANY(%(members)s) AND kind IN ('credit_note', 'refund')
  AND status IN ('open', 'paid') ORDER BY member_id
-- name: referrals
-- Referrals of the members, as friends or as referrers.
SELECT friend_id, referrer_id, (extract(epoch FROM referred_at) * 1000000)::bigint
FROM loyalty.referral_owned
WHERE referrer_id = ANY(%(members)s) OR friend_id = ANY(%(members)s)
-- name: zones
-- Time zones of members who have one of their own.
SELECT member_id, timezone FROM loyalty.member
WHERE member_id = ANY(%(members)s) AND timezone IS NOT NULL
-- name: codes
-- Codes that the members entered, by who earns for them.
SELECT o.owner_id, c.code, (extract(epoch FROM c.entered_at) * 1000000)::bigint
FROM loyalty.member_owner o JOIN loyalty.code_entry c USING (member_id)
WHERE o.owner_id = ANY(%(members)s)
-- name: places
-- Where the members' sales were made, of those that say it.
SELECT page_id, record_no, store, channel, city, region FROM billing.invoice
WHERE member_id = ANY(%(members)s)
  AND (store IS NOT NULL OR channel IS NOT NULL OR city IS NOT NULL OR region IS NOT NULL)
-- name: lists
-- When the members were on lists, by who earns for them. (Not by loyalty.list_span: its DISTINCT
-- would read the lists of everybody.)
SELECT o.owner_id, s.list, (extract(epoch FROM s.valid_from) * 1000000)::bigint,
       (extract(epoch FROM s.valid_to) * 1000000)::bigint
FROM loyalty.member_owner o CROSS JOIN LATERAL (
    SELECT DISTINCT ON (l.list, l.valid_from) l.list, l.valid_from, l.valid_to
    FROM loyalty.list_member l WHERE l.member_id = o.member_id AND l.list = ANY(%(lists)s)
    ORDER BY l.list, l.valid_from, l.row_no DESC) s
WHERE o.owner_id = ANY(%(members)s) AND (s.valid_to IS NULL OR s.valid_to > s.valid_from)
-- name: grants
-- What budgets granted to the members' sales.
SELECT promotion_id, version, system, account, external_id, member_id, granted
FROM loyalty.promotion_claim WHERE member_id = ANY(%(members)s)
-- name: granted_in_all
-- What each budget granted to everybody.
SELECT promotion_id, version, sum(granted) FROM loyalty.promotion_claim
GROUP BY promotion_id, version
-- name: stage_claims
-- A table for this transaction, for the claims of one award.
CREATE TEMPORARY TABLE IF NOT EXISTS claim_stage (
    promotion_id text COLLATE "C", version integer, issued_at timestamptz, system text COLLATE "C",
    account text COLLATE "C",
    external_id text COLLATE "C", member_id bigint, wanted bigint) ON COMMIT DELETE ROWS
-- name: empty_claim_stage
-- Empties it between two batches.
TRUNCATE claim_stage
-- name: withdraw_claims
-- Claims of these members that are not made any more want nothing.
UPDATE loyalty.promotion_claim c SET wanted = 0,
    unsettled_from = least(c.issued_at, c.unsettled_from)
WHERE c.member_id = ANY(%(members)s) AND c.wanted > 0 AND NOT EXISTS (
    SELECT FROM claim_stage s WHERE (s.promotion_id, s.version, s.member_id, s.external_id,
        s.account, s.system)
                                  = (c.promotion_id, c.version, c.member_id, c.external_id,
                                      c.account, c.system))
-- name: save_claims
-- Enters new claims, and changed ones.
INSERT INTO loyalty.promotion_claim AS c (promotion_id, version, member_id, system, account,
    external_id, issued_at, wanted, unsettled_from)
SELECT promotion_id, version, member_id, system, account, external_id, issued_at, wanted, issued_at
FROM claim_stage
ON CONFLICT (promotion_id, version, member_id, external_id, account, system) DO UPDATE
SET issued_at = excluded.issued_at, wanted = excluded.wanted,
    unsettled_from = least(c.issued_at, excluded.issued_at, c.unsettled_from)
WHERE (c.issued_at, c.wanted) IS DISTINCT FROM (excluded.issued_at, excluded.wanted)
-- name: unsettled
-- Promotions whose budget has to be divided again, and from which sale on.
SELECT promotion_id, version, (extract(epoch FROM min(unsettled_from)) * 1000000)::bigint
FROM loyalty.promotion_claim
WHERE unsettled_from IS NOT NULL GROUP BY promotion_id, version ORDER BY promotion_id, version
-- name: lock_budgets
-- One award at a time divides a budget.
SELECT pg_advisory_xact_lock(hashtextextended('loyalty.promotion_claim', 4))
-- name: share_budgets
SELECT pg_advisory_xact_lock_shared(hashtextextended('loyalty.promotion_claim', 4))
-- name: settle
-- Each step is computed once, and rows are found again by their place (nobody writes them while a
-- budget is divided): with the statistics of a new table every join by key looks like one of a
-- single row, and is then done once per row.
WITH start AS MATERIALIZED (
    SELECT min(unsettled_from) AS at FROM loyalty.promotion_claim
    WHERE promotion_id = %(promotion_id)s AND version = %(version)s AND unsettled_from IS NOT NULL
), used AS MATERIALIZED (
    SELECT coalesce(sum(c.wanted), 0) AS points FROM loyalty.promotion_claim c
    WHERE c.promotion_id = %(promotion_id)s AND c.version = %(version)s
      AND c.issued_at < (SELECT at FROM start)
), divided AS MATERIALIZED (
    SELECT c.ctid AS place, c.granted AS before,
           least(c.wanted, greatest(0, coalesce(%(budget)s::bigint, 0) - (SELECT points FROM used)
               - (sum(c.wanted) OVER (ORDER BY c.issued_at, c.system, c.account, c.external_id,
                   c.member_id) - c.wanted)))::bigint AS after
    FROM loyalty.promotion_claim c
    WHERE c.promotion_id = %(promotion_id)s AND c.version = %(version)s
      AND c.issued_at >= (SELECT at FROM start)
), changed AS (
    UPDATE loyalty.promotion_claim c SET granted = d.after, unsettled_from = NULL
    FROM divided d
    WHERE c.ctid = d.place AND (c.granted <> d.after OR c.unsettled_from IS NOT NULL)
    RETURNING c.member_id, d.before, d.after
)
SELECT DISTINCT member_id FROM changed WHERE before <> after ORDER BY member_id
-- name: forget_withdrawn
-- Claims that want nothing and are settled.
DELETE FROM loyalty.promotion_claim WHERE promotion_id = %(promotion_id)s AND version = %(version)s
    AND wanted = 0 AND unsettled_from IS NULL
-- name: stamp
-- How many versions there are: it grows with every change of program, promotions or precedence.
SELECT (SELECT count(*) FROM loyalty.program), (SELECT count(*) FROM loyalty.promotion),
       (SELECT count(*) FROM loyalty.sale_precedence)
