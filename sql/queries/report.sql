-- name: summary
-- Per system: sales, void sales, open rejects, and what is posted.
SELECT a.system,
       (SELECT count(*) FROM billing.invoice i WHERE i.system = a.system) AS sales,
       (SELECT count(*) FROM billing.invoice i WHERE i.system = a.system
           AND i.status = 'void') AS void_sales,
       (SELECT count(*) FROM billing.reject r WHERE r.system = a.system
           AND r.resolved_at IS NULL) AS open_rejects,
       count(DISTINCT e.member_id) AS members, count(e.points) AS entries,
       coalesce(sum(e.points), 0)::bigint AS points
FROM (SELECT DISTINCT system FROM billing.sync_run) a LEFT JOIN loyalty.award_entry e USING (system)
GROUP BY a.system ORDER BY a.system
-- name: members
-- Members with the most points.
SELECT member_id, tier, balance_points, entries FROM analytics.member
ORDER BY balance_points DESC, member_id LIMIT %(limit)s
-- name: tiers
-- What the sales in each tier are due now.
SELECT e.tier, trim_scale((p.tier_rate_bps ->> e.tier)::numeric / 10000)::text AS multiplier,
       count(DISTINCT e.member_id) AS members,
       count(*) AS sales, coalesce(sum((e.breakdown ->> 'base')::bigint), 0)::bigint AS base_points,
       coalesce(sum((e.breakdown ->> 'tier')::bigint), 0)::bigint AS tier_points,
       sum(e.due_after)::bigint AS points
FROM (SELECT DISTINCT ON (system, account, external_id, member_id) * FROM loyalty.award_entry
      ORDER BY system, account, external_id, member_id, entry_no DESC) e
JOIN loyalty.program p ON p.version = e.program_version
GROUP BY e.tier, p.tier_rate_bps ->> e.tier ORDER BY (p.tier_rate_bps ->> e.tier)::numeric, e.tier
-- name: posted
-- What some runs posted, by cause: of sales first, then of events by name, then what expired.
SELECT cause, count(*) AS entries,
       coalesce(sum(points) FILTER (WHERE points > 0), 0)::bigint AS added,
       coalesce(sum(points) FILTER (WHERE points < 0), 0)::bigint AS taken_back,
       sum(points)::bigint AS points
FROM (
    SELECT cause, cause_no, points FROM loyalty.entry_cause WHERE run_id = ANY(%(run_ids)s)
    UNION ALL
    SELECT 'event ' || reason, 1000, points FROM loyalty.adjustment
    WHERE kind = 'event' AND run_id = ANY(%(run_ids)s)
    UNION ALL
    SELECT 'expiry', 1001, points FROM loyalty.expiry_entry WHERE run_id = ANY(%(run_ids)s)
) causes
GROUP BY cause, cause_no ORDER BY cause_no, cause
-- name: examples
-- One entry of these runs per cause: the smallest number of points, so what takes back comes
-- first.
SELECT DISTINCT ON (c.cause_no) c.cause, c.system, coalesce(i.invoice_number, c.external_id),
       c.tier, c.due_before, c.due_after, c.points
FROM loyalty.entry_cause c LEFT JOIN billing.invoice i USING (external_id, account, system)
WHERE c.run_id = ANY(%(run_ids)s)
ORDER BY c.cause_no, c.points, c.system, c.external_id
-- name: status
-- Per account: the latest run, how far it is complete, sales and open rejects.
SELECT DISTINCT ON (s.system, s.account) s.system, s.account, s.state, s.started_at AS last_run_at,
       (SELECT max(finished_at) FROM billing.sync_run o
           WHERE o.system = s.system AND o.account = s.account
             AND o.state = 'stored') AS last_success_at,
       (SELECT min(cursor_at) FROM billing.sync_cursor c
           WHERE c.system = s.system AND c.account = s.account) AS complete_up_to,
       (SELECT count(*) FROM billing.invoice i WHERE i.system = s.system
           AND i.account = s.account) AS sales,
       (SELECT count(*) FROM billing.reject r
           WHERE r.system = s.system AND r.account = s.account
             AND r.resolved_at IS NULL) AS open_rejects,
       s.error
FROM billing.sync_run s ORDER BY s.system, s.account, s.sync_id DESC
-- name: invoice
-- The sale with this id, or else the newest one with this number.
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status,
       coalesce(o.owner_id, i.member_id), i.currency,
       billing.major_units(i.total_minor, i.currency),
       billing.major_units(i.amount_refunded_minor, i.currency),
       i.issued_at, i.updated_at, i.page_id, i.record_no
FROM billing.invoice i LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
WHERE i.system = %(system)s AND (i.external_id = %(invoice)s OR i.invoice_number = %(invoice)s)
ORDER BY (i.external_id = %(invoice)s) DESC, i.issued_at DESC LIMIT 1
-- name: entries
-- The entries of a sale, with the rule of each.
SELECT e.entry_no, e.member_id, e.reason, e.points, e.due_before, e.due_after, e.breakdown,
       e.net_amount, e.currency, e.tier, e.program_version, e.base_rate_bps, e.tier_rate_bps,
       e.rounding, e.event_at, e.posted_at, e.run_id, e.per_full
FROM loyalty.entry_with_rule e
WHERE e.system = %(system)s AND e.account = %(account)s AND e.external_id = %(external_id)s
  -- Whose it is, and whose it was: a former owner's chain has a second entry that took the points
  -- back. A referrer's reward is theirs.
  AND e.member_id IN (SELECT m FROM billing.invoice i
                      LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
                      LEFT JOIN loyalty.referral r ON r.friend_id IN (i.member_id, o.owner_id)
                      LEFT JOIN loyalty.merged_member w ON w.member_id = r.referrer_id
                      CROSS JOIN LATERAL (VALUES (i.member_id), (o.owner_id), (r.referrer_id),
                          (w.owner_id)) AS whose(m)
                      WHERE i.system = %(system)s AND i.account = %(account)s
                        AND i.external_id = %(external_id)s AND m IS NOT NULL
                      UNION ALL
                      SELECT member_id FROM loyalty.award_entry c
                      WHERE c.external_id = %(external_id)s AND c.entry_no > 1)
ORDER BY e.posted_at, e.member_id, e.entry_no
-- name: pending
-- Points of a sale that cannot be spent yet, by member.
SELECT member_id, points, available_at, awaits_payment FROM loyalty.pending_sale
WHERE system = %(system)s AND account = %(account)s AND external_id = %(external_id)s
ORDER BY member_id
-- name: reject
-- The latest open reject of a document.
SELECT stream, external_id, reason, first_seen_at, times_seen, page_id, record_no
FROM billing.reject
WHERE system = %(system)s AND external_id = %(invoice)s AND resolved_at IS NULL
ORDER BY reject_id DESC LIMIT 1
-- name: member
-- A member: balance, tier, who was merged into them, whether an award waits.
SELECT m.member_id, o.owner_id, m.created_at, coalesce(b.balance_points, 0), coalesce(b.entries, 0),
       t.tier, t.valid_from,
       EXISTS (SELECT FROM loyalty.member_dirty d WHERE d.member_id = m.member_id),
       ARRAY(SELECT f.member_id FROM loyalty.merged_member f WHERE f.owner_id = m.member_id
           ORDER BY 1)
FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN loyalty.member_balance b USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t
WHERE m.member_id = %(member_id)s
-- name: member_kinds
-- What moved a member's balance, by kind; points of events by the event's name, too.
SELECT kind, CASE WHEN kind IN ('event', 'event void') THEN reason END AS event, count(*),
       sum(points)::bigint
FROM analytics.points_history
WHERE member_id = %(member_id)s GROUP BY kind, event ORDER BY kind, event
-- name: member_rules
-- By which rules a member's sales earn now.
SELECT r.rule, sum(r.points)::bigint FROM (
    SELECT DISTINCT ON (external_id, account, system) breakdown FROM loyalty.award_entry
    WHERE member_id = %(member_id)s
    ORDER BY external_id, account, system, entry_no DESC
) e CROSS JOIN LATERAL (SELECT key AS rule, value::bigint AS points
FROM jsonb_each_text(e.breakdown)) r
GROUP BY r.rule HAVING sum(r.points) <> 0
ORDER BY (r.rule = 'base') DESC, (r.rule = 'tier') DESC, r.rule
-- name: member_history
-- A member's latest movements.
SELECT h.posted_at, h.event_at, h.kind, h.points, h.balance_points, h.reason, h.system,
       coalesce(i.invoice_number, h.external_id), h.entry_no, h.run_id
FROM analytics.points_history h LEFT JOIN billing.invoice i USING (external_id, account, system)
WHERE h.member_id = %(member_id)s ORDER BY h.posted_at DESC, h.kind DESC, h.system DESC,
    h.account DESC, h.external_id DESC, h.entry_no DESC
LIMIT %(limit)s
