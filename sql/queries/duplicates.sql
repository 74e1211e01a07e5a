-- name: declared
-- The declaration in force: the last one.
SELECT systems, within_hours, CASE WHEN isfinite(valid_from) THEN valid_from END
FROM loyalty.sale_precedence ORDER BY precedence_no DESC LIMIT 1
-- name: accounts
-- Accounts of which sales are stored: one look into the key per account.
WITH RECURSIVE account AS (
    (SELECT system, account FROM billing.sync_run ORDER BY system, account LIMIT 1)
    UNION ALL
    SELECT n.system, n.account FROM account a CROSS JOIN LATERAL (
        SELECT r.system, r.account FROM billing.sync_run r
        WHERE (r.system, r.account) > (a.system, a.account)
        ORDER BY r.system, r.account LIMIT 1) n
)
SELECT system, account FROM account ORDER BY system, account
-- name: concerned
-- Members with documents in several accounts, or whose documents name others or are named.
SELECT coalesce(o.owner_id, c.member_id) AS member_id FROM (
    SELECT coalesce(o.owner_id, i.member_id) AS member_id
    FROM billing.invoice i LEFT JOIN loyalty.merged_member o USING (member_id)
    WHERE i.member_id IS NOT NULL
    GROUP BY 1
    HAVING min(i.system) <> max(i.system) OR min(i.account) <> max(i.account)
    UNION
    SELECT i.member_id
    FROM billing.sale_reference r JOIN billing.invoice i USING (external_id, account, system)
    UNION
    SELECT i.member_id
    FROM billing.sale_reference r JOIN billing.invoice i ON i.external_id = r.value
    UNION
    SELECT member_id FROM loyalty.left_out_sale
) c LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE c.member_id IS NOT NULL
GROUP BY 1 ORDER BY 1
-- name: fill_references
-- What all documents name, before the first declaration.
INSERT INTO billing.sale_reference (value, is_payment, system, account, external_id)
SELECT p.value, p.is_payment, i.system, i.account, i.external_id
FROM billing.invoice i CROSS JOIN LATERAL billing.proving_references(i.reference_ids) p
WHERE i.reference_ids IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.sale_precedence)
ON CONFLICT DO NOTHING
-- name: documents
-- Documents of the members, and those of others that certainly tell the same sales.
WITH own AS (SELECT (SELECT %(members)s::bigint[])::bigint[] AS members),
key AS (
    SELECT i.system, i.account, i.external_id FROM billing.invoice i, own
    WHERE i.member_id = ANY(own.members)
    UNION
    SELECT c.system, c.account, c.external_id
    FROM own CROSS JOIN LATERAL loyalty.sale_counterparts(own.members) c
)
SELECT i.system, i.account, i.external_id, i.member_id, i.kind, i.status, i.currency,
       i.total_minor, i.amount_refunded_minor,
       (extract(epoch FROM i.issued_at) * 1000000)::bigint, i.invoice_number, i.reference_ids,
       i.original_external_id
FROM key JOIN billing.invoice i USING (external_id, account, system)
-- name: points_of
-- Points posted for each of some sales.
SELECT coalesce(billing.points_of(k.system, k.account, k.external_id), 0)
FROM unnest(%(systems)s::text[], %(accounts)s::text[], %(ids)s::text[]) WITH ORDINALITY
    AS k(system, account, external_id, place) ORDER BY k.place
-- name: stage
-- A table for this transaction, for what is left out.
CREATE TEMPORARY TABLE IF NOT EXISTS left_out_stage (
    system text COLLATE "C", account text COLLATE "C", external_id text COLLATE "C",
    member_id bigint, settled_minor bigint, by_system text COLLATE "C", by_account text COLLATE "C",
    by_external_id text COLLATE "C", matched_by text) ON COMMIT DELETE ROWS
-- name: empty_stage
-- Empties it between two batches.
TRUNCATE left_out_stage
-- name: count_again
-- Documents of these members that count again.
DELETE FROM loyalty.left_out_sale l
WHERE l.member_id = ANY(%(members)s) AND NOT EXISTS (
    SELECT FROM left_out_stage s WHERE (s.member_id, s.external_id, s.account, s.system)
        = (l.member_id, l.external_id, l.account, l.system))
-- name: leave_out
-- Documents that are left out, or for another reason than before.
INSERT INTO loyalty.left_out_sale AS l (system, account, external_id, member_id, settled_minor,
    by_system, by_account, by_external_id, matched_by, run_id)
SELECT system, account, external_id, member_id, settled_minor, by_system, by_account,
       by_external_id, matched_by, %(run_id)s FROM left_out_stage
ON CONFLICT (member_id, external_id, account, system) DO UPDATE
SET settled_minor = excluded.settled_minor, by_system = excluded.by_system,
    by_account = excluded.by_account, by_external_id = excluded.by_external_id,
    matched_by = excluded.matched_by, left_out_at = now(), run_id = excluded.run_id
WHERE (l.settled_minor, l.by_system, l.by_account, l.by_external_id, l.matched_by)
    IS DISTINCT FROM (excluded.settled_minor, excluded.by_system, excluded.by_account,
        excluded.by_external_id, excluded.matched_by)
-- name: lock
-- One declaration at a time; whoever stores sales waits for it, and is waited for.
SELECT pg_advisory_xact_lock(hashtextextended('loyalty.sale_precedence', 5))
-- name: declare
-- Adds a declaration.
INSERT INTO loyalty.sale_precedence (systems, within_hours, valid_from, author, reason, run_id,
    members, points)
VALUES (%(systems)s, %(within_hours)s,
    coalesce(%(valid_from)s::timestamptz, '-infinity'::timestamptz), %(author)s, %(reason)s,
    %(run_id)s, %(members)s, %(points)s)
RETURNING precedence_no
-- name: totals
-- How many documents are left out, by account and by what counts instead.
SELECT system, account, by_system, by_account, count(*) FROM loyalty.left_out_sale
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
-- name: latest
-- What was left out last.
SELECT system, account, coalesce(invoice_number, external_id), member_id, amount, currency,
       issued_at, by_system, by_account, coalesce(by_invoice_number, by_external_id), matched_by,
       left_out_at
FROM analytics.left_out_sale ORDER BY left_out_at DESC, system, account, external_id LIMIT %(limit)s
