-- name: hide_persons
-- The report is handed on: what names somebody is hidden, as from analysts.
SELECT set_config('twezah.hide_persons', 'on', true)
-- name: timezone
-- The time zone in which months begin.
SELECT timezone FROM loyalty.program ORDER BY version DESC LIMIT 1
-- name: movements
-- What moved the points owed before, in and after the month.
SELECT CASE WHEN posted_at < %(since)s THEN 'before' WHEN posted_at < %(until)s THEN 'month'
            ELSE 'after' END, line, kind, sum(points)::bigint, count(*)
FROM loyalty.movement GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
-- name: balance
-- What the ledger owes now.
SELECT coalesce(sum(balance_points), 0)::bigint FROM loyalty.member_balance
-- name: earlier_closing
-- Where the last report of the month before ended.
SELECT closing_points FROM loyalty.month_report
WHERE month = (%(month)s::date - interval '1 month')::date ORDER BY report_no DESC LIMIT 1
-- name: systems
-- Sales of the month by their own date, and points by the date of posting, per system and currency.
SELECT system, currency, sum(sales)::bigint, sum(credits)::bigint,
       billing.major_units(sum(net_minor)::bigint, currency)::text,
       sum(added)::bigint, sum(taken)::bigint
FROM (
    SELECT system, currency, count(*) FILTER (WHERE kind IN ('invoice', 'sale')) AS sales,
           count(*) FILTER (WHERE kind IN ('credit_note', 'refund')) AS credits,
           sum((total_minor - amount_refunded_minor)
               * CASE WHEN kind IN ('credit_note', 'refund') THEN -1 ELSE 1 END) AS net_minor,
           0 AS added, 0 AS taken
    FROM billing.invoice
    WHERE status IN ('open', 'paid') AND issued_at >= %(since)s AND issued_at < %(until)s
    GROUP BY system, currency
    UNION ALL
    SELECT system, currency, 0, 0, 0, coalesce(sum(points) FILTER (WHERE points > 0), 0),
           coalesce(-sum(points) FILTER (WHERE points < 0), 0)
    FROM loyalty.award_entry
    WHERE posted_at >= %(since)s AND posted_at < %(until)s GROUP BY system, currency
) AS parts GROUP BY system, currency ORDER BY system, currency
-- name: sale_points
-- Points of sales in the month, as the roll-forward counts them.
SELECT coalesce(sum(points), 0)::bigint FROM loyalty.movement
WHERE system IS NOT NULL AND posted_at >= %(since)s AND posted_at < %(until)s
-- name: balances
-- Balances at the end of the month: owed, overdrawn, and owed to members without a sale for a year.
SELECT coalesce(sum(balance) FILTER (WHERE balance > 0), 0)::bigint,
       coalesce(sum(balance) FILTER (WHERE balance < 0), 0)::bigint,
       coalesce(sum(balance) FILTER (WHERE balance > 0 AND (last_sale_at IS NULL
           OR last_sale_at < %(until)s - interval '1 year')), 0)::bigint
FROM (
    SELECT member_id, sum(points) AS balance,
           max(event_at) FILTER (WHERE line = 'earned') AS last_sale_at
    FROM loyalty.movement WHERE posted_at < %(until)s GROUP BY member_id
) AS members
-- name: audit
-- The audit log of the month.
SELECT entry_no, (extract(epoch FROM at) * 1000000)::bigint, actor, operation, status, subject,
       system, account, records, points, error, run_id, details::text
FROM analytics.audit WHERE at >= %(since)s AND at < %(until)s ORDER BY entry_no
-- name: save
-- Where the next report must begin.
INSERT INTO loyalty.month_report (month, opening_points, closing_points, run_id)
VALUES (%(month)s, %(opening)s, %(closing)s, %(run_id)s)
