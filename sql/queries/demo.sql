-- name: give_tiers
-- Tiers for the demonstration: for members whose sales are all of simulated accounts.
WITH simulated
    AS (SELECT * FROM unnest(%(systems)s::text[], %(accounts)s::text[]) AS s(system, account)),
ranked AS (
    SELECT i.member_id, row_number() OVER (ORDER BY sum(i.total_minor) DESC, i.member_id) AS rank
    FROM billing.invoice i LEFT JOIN simulated s USING (system, account)
    WHERE i.member_id IS NOT NULL GROUP BY i.member_id HAVING bool_and(s.system IS NOT NULL)
)
INSERT INTO loyalty.member_tier (member_id, tier, valid_from, recorded_by)
SELECT member_id, CASE WHEN rank <= 5 THEN 'platinum' WHEN rank <= 20 THEN 'gold' ELSE 'silver' END,
       now() - interval '60 days', 'demo'
FROM ranked WHERE rank <= 60 AND NOT EXISTS (SELECT FROM loyalty.member_tier)
