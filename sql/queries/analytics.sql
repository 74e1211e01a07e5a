-- name: common_texts
-- Texts that people typed and that concern three members or more are about nobody.
WITH common AS (
    SELECT DISTINCT md5(said)::uuid AS digest FROM (
        SELECT l.name AS said, i.member_id
        FROM billing.invoice_line l JOIN billing.invoice i USING (page_id, record_no)
        WHERE l.name IS NOT NULL AND i.member_id IS NOT NULL
        UNION ALL
        SELECT p.name, i.member_id FROM billing.invoice i
        CROSS JOIN LATERAL (VALUES (i.store), (i.channel), (i.city), (i.region)) AS p(name)
        WHERE p.name IS NOT NULL AND i.member_id IS NOT NULL
        UNION ALL
        SELECT h.reason, h.member_id FROM analytics.points_history h WHERE h.reason IS NOT NULL
    ) AS typed
    GROUP BY said HAVING count(DISTINCT member_id) >= 3
), gone AS (
    DELETE FROM billing.common_text t WHERE NOT EXISTS (
        SELECT FROM common c WHERE c.digest = t.digest)
)
INSERT INTO billing.common_text (digest) SELECT digest FROM common ON CONFLICT DO NOTHING
-- name: clear_months
-- The sums per month are made anew, in one transaction.
DELETE FROM loyalty.month_movement
-- name: months
-- What moved the points owed, per month of posting.
INSERT INTO loyalty.month_movement (month, kind, line, points, entries)
SELECT date_trunc('month', posted_at AT TIME ZONE p.timezone)::date, kind, line,
       sum(points)::bigint, count(*)
FROM loyalty.movement
CROSS JOIN (SELECT timezone FROM loyalty.program ORDER BY version DESC LIMIT 1) AS p
GROUP BY 1, 2, 3
-- name: expiring_computed_at
-- When it was last computed what expires; null: nothing expires, or it never was.
SELECT max(computed_at) FROM loyalty.expiring_month
-- name: members_after
-- Members in the order of their numbers, from one on.
SELECT member_id FROM loyalty.member WHERE member_id > %(after)s ORDER BY member_id LIMIT %(limit)s
-- name: clear_expiring
-- What expires per month is made anew, in one transaction.
DELETE FROM loyalty.expiring_month
-- name: add_expiring
-- Points that expire in a month.
INSERT INTO loyalty.expiring_month (month, points, members, computed_at)
VALUES (%(month)s, %(points)s, %(members)s, %(as_of)s)
