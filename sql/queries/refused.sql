-- name: standing
-- What is stored of these documents, and the phone of who has it.
SELECT i.external_id, i.kind, i.customer_external_id, m.phone, i.currency, i.total_minor,
       i.amount_refunded_minor, (extract(epoch FROM i.issued_at) * 1000000)::bigint,
       (extract(epoch FROM i.updated_at) * 1000000)::bigint, i.time_known::int
FROM json_array_elements_text(%(ids)s::json) AS wanted
JOIN billing.invoice i ON i.external_id = wanted
LEFT JOIN loyalty.member m ON m.member_id = i.member_id
WHERE i.system = %(system)s AND i.account = %(account)s AND i.status IN ('open', 'paid')
-- name: phones_of_customers
-- Where a customer's sales are all of one member.
SELECT i.customer_external_id, min(m.phone)
FROM billing.invoice i JOIN loyalty.member m ON m.member_id = i.member_id
WHERE i.system = %(system)s AND i.account = %(account)s AND i.status <> 'void'
  AND i.customer_external_id = ANY(%(customers)s::text[])
GROUP BY 1 HAVING count(DISTINCT i.member_id) = 1 AND min(m.phone) IS NOT NULL
-- name: stored_ids
-- Documents among these that are stored.
SELECT external_id FROM billing.invoice
WHERE external_id = ANY(%(ids)s::text[]) AND account = %(account)s AND system = %(system)s
-- name: classify
-- A reject of the award step is always about a stored sale: there, points must stand.
UPDATE billing.reject r SET class = 'correction'
WHERE r.system = %(system)s AND r.account = %(account)s AND r.resolved_at IS NULL
  AND r.class = 'record' AND r.last_sync_id = %(sync_id)s
  AND CASE WHEN r.stream = 'awards' THEN billing.points_of(r.system, r.account, r.external_id) <> 0
      ELSE EXISTS (SELECT FROM billing.invoice i
                   WHERE (i.external_id, i.account, i.system) = (r.external_id, r.account, r.system)
                     AND i.status IN ('open', 'paid'))
        OR EXISTS (SELECT FROM unnest(%(pages)s::bigint[], %(records)s::integer[])
                              AS t(page_id, record_no)
                   WHERE t.page_id = r.page_id AND t.record_no = r.record_no)
      END
-- name: open_corrections
-- Those at which nothing is at stake any more (void meanwhile) are left out.
WITH refused AS (
    SELECT c.*, count(*) OVER w AS records, sum(abs(c.points_at_stake)) OVER w AS points
    FROM analytics.refused_correction c
    WHERE c.resolved_at IS NULL AND c.points_at_stake IS DISTINCT FROM 0
      AND (%(system)s::text IS NULL OR (c.system = %(system)s AND c.account = %(account)s))
    WINDOW w AS (PARTITION BY c.system, c.account)
), numbered AS (
    SELECT r.*, row_number() OVER (PARTITION BY system, account
                                   ORDER BY abs(points_at_stake) DESC NULLS LAST, reject_id) AS n
    FROM refused r
)
SELECT system, account, external_id, invoice_number, points_at_stake, reason, first_seen_at,
       records, coalesce(points, 0)::bigint
FROM numbered WHERE n <= %(limit)s ORDER BY system, account, n
-- name: note
-- Notes how a document was read otherwise.
INSERT INTO billing.document_note (system, account, external_id, note, sync_id)
SELECT DISTINCT %(system)s, %(account)s, n.external_id, n.note, %(sync_id)s::bigint
FROM unnest(%(ids)s::text[], %(notes)s::text[]) AS n(external_id, note)
ORDER BY 3, 4
ON CONFLICT (external_id, account, system, note) DO UPDATE
SET sync_id = excluded.sync_id, noted_at = now()
