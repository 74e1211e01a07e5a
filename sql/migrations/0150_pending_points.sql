-- Points that wait: they are in the ledger from the beginning, and cannot be spent before so many
-- days are over, or before the sale is paid. What waits follows from the sale as it is now and from
-- the clock, so nothing is posted when the time is over or the payment comes.
ALTER TABLE loyalty.program
    ADD COLUMN pending jsonb CHECK (jsonb_typeof(pending) = 'object');
COMMENT ON COLUMN loyalty.program.pending IS
    'Until when points of a sale cannot be spent: days, until_paid; null: they can at once.';

CREATE VIEW loyalty.pending_sale AS
SELECT e.member_id, e.system, e.account, e.external_id, sum(e.points)::bigint AS points,
       i.issued_at AS event_at, CASE WHEN w.available_at > now() THEN w.available_at END
           AS available_at, w.awaits_payment
FROM loyalty.award_entry e
JOIN billing.invoice i USING (external_id, account, system)
CROSS JOIN LATERAL (
    SELECT v.pending, v.timezone FROM loyalty.program v
    WHERE v.valid_from <= i.issued_at ORDER BY v.version DESC LIMIT 1
) p
CROSS JOIN LATERAL (
    -- (A day is that of the account. Its middle lies in the same day of most other time zones.)
    SELECT (date_trunc('day', (i.issued_at + CASE WHEN i.time_known IS FALSE
                THEN interval '12 hours' ELSE interval '0' END) AT TIME ZONE p.timezone)
            + make_interval(days => 1 + (p.pending ->> 'days')::integer)) AT TIME ZONE p.timezone
               AS available_at,
           coalesce((p.pending ->> 'until_paid')::boolean, false) AND i.status <> 'paid'
               AS awaits_payment
) w
-- (Asked once: without such a rule nothing is read.)
WHERE (SELECT bool_or(v.pending IS NOT NULL) FROM loyalty.program v)
  AND p.pending IS NOT NULL AND (w.available_at > now() OR w.awaits_payment)
GROUP BY e.member_id, e.external_id, e.account, e.system, i.issued_at, w.available_at,
    w.awaits_payment
HAVING sum(e.points) > 0;
COMMENT ON VIEW loyalty.pending_sale IS
    'Points of sales that cannot be spent yet, one row per sale and member: the one definition.';
COMMENT ON COLUMN loyalty.pending_sale.member_id IS
    'Member who has the points; of a referral also who referred the buyer.';
COMMENT ON COLUMN loyalty.pending_sale.system IS 'Billing system of the sale.';
COMMENT ON COLUMN loyalty.pending_sale.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.pending_sale.external_id IS 'The sale''s id at the billing system.';
COMMENT ON COLUMN loyalty.pending_sale.points IS
    'Points posted for the sale and member; they are in the balance.';
COMMENT ON COLUMN loyalty.pending_sale.event_at IS 'When the sale happened.';
COMMENT ON COLUMN loyalty.pending_sale.available_at IS
    'When the days are over; null: they are over, or the program names none.';
COMMENT ON COLUMN loyalty.pending_sale.awaits_payment IS
    'Whether the points wait for the payment of the sale.';
GRANT SELECT ON loyalty.pending_sale TO twezah_api, twezah_panel, twezah_worker;

CREATE OR REPLACE VIEW loyalty.member_balance AS
SELECT member_id,
       sum(points)::bigint                             AS balance_points,
       coalesce(sum(points) FILTER (WHERE points > 0 AND spent = 0), 0)::bigint AS added_points,
       coalesce(-sum(points) FILTER (WHERE points < 0 AND spent = 0), 0)::bigint
           AS taken_back_points,
       count(posted_at)                                AS entries,
       max(posted_at)                                  AS last_posted_at,
       sum(spent)::bigint                              AS spent_points,
       sum(held)::bigint                               AS held_points,
       greatest(sum(points) - sum(held) - sum(pending), 0)::bigint AS available_points,
       sum(pending)::bigint                            AS pending_points
FROM (
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, 0::bigint AS pending, posted_at
    FROM loyalty.award_entry
    UNION ALL
    SELECT coalesce(o.owner_id, a.member_id) AS member_id, a.points, 0::bigint AS spent,
           0::bigint AS held, 0::bigint AS pending, a.posted_at
    FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id)
    UNION ALL
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, 0::bigint AS pending, posted_at
    FROM loyalty.expiry_entry
    UNION ALL
    SELECT o.owner_id AS member_id, s.points, -s.points AS spent, 0::bigint AS held,
           0::bigint AS pending, s.posted_at
    FROM loyalty.redemption_step s JOIN loyalty.member_owner o USING (member_id)
    WHERE s.points <> 0
    UNION ALL
    SELECT o.owner_id AS member_id, 0::bigint AS points, 0::bigint AS spent, r.points AS held,
           0::bigint AS pending, NULL::timestamptz AS posted_at
    FROM loyalty.redemption r JOIN loyalty.member_owner o USING (member_id)
    WHERE r.hold_ends_at > now() AND NOT EXISTS (
        SELECT FROM loyalty.redemption_step s WHERE s.redemption_id = r.redemption_id)
    UNION ALL
    SELECT member_id, 0::bigint AS points, 0::bigint AS spent, 0::bigint AS held,
           points AS pending, NULL::timestamptz AS posted_at
    FROM loyalty.pending_sale
) posted
GROUP BY member_id;
COMMENT ON COLUMN loyalty.member_balance.available_points IS
    'Points that can be spent: the balance without held and pending points, and never below 0.';
COMMENT ON COLUMN loyalty.member_balance.pending_points IS
    'Points in the balance that cannot be spent yet; see loyalty.pending_sale.';

CREATE OR REPLACE VIEW analytics.member AS
SELECT m.member_id, t.tier, coalesce(b.balance_points, 0) AS balance_points,
       coalesce(b.added_points, 0) AS added_points,
       coalesce(b.taken_back_points, 0) AS taken_back_points,
       coalesce(b.entries, 0) AS entries, b.last_posted_at, m.created_at,
       o.owner_id AS merged_into,
       coalesce(b.spent_points, 0) AS spent_points, coalesce(b.held_points, 0) AS held_points,
       coalesce(b.available_points, 0) AS available_points,
       coalesce(b.pending_points, 0) AS pending_points
FROM loyalty.member m
LEFT JOIN loyalty.member_balance b USING (member_id)
LEFT JOIN loyalty.merged_member o USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t;
COMMENT ON COLUMN analytics.member.available_points IS
    'Points that can be spent: the balance without held and pending points, and never below 0.';
COMMENT ON COLUMN analytics.member.pending_points IS
    'Points in the balance that cannot be spent yet.';

CREATE VIEW analytics.pending_points AS
SELECT member_id, system, account, points, event_at, available_at, awaits_payment
FROM loyalty.pending_sale;
COMMENT ON VIEW analytics.pending_points IS
    'Points of sales that cannot be spent yet, one row per sale and member. They are in the '
    'balance.';
COMMENT ON COLUMN analytics.pending_points.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.pending_points.system IS 'Billing system of the sale.';
COMMENT ON COLUMN analytics.pending_points.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.pending_points.points IS 'Points posted for the sale and member.';
COMMENT ON COLUMN analytics.pending_points.event_at IS 'When the sale happened.';
COMMENT ON COLUMN analytics.pending_points.available_at IS
    'When the days are over; null: they are over, or the program names none.';
COMMENT ON COLUMN analytics.pending_points.awaits_payment IS
    'Whether the points wait for the payment of the sale.';
GRANT SELECT ON analytics.pending_points TO analyst, twezah_api, twezah_panel, twezah_worker;
