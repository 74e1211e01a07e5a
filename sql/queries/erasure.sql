-- name: group
-- The member who earns, and all who were merged into them: one customer.
SELECT m.member_id, m.phone FROM loyalty.member m
WHERE m.member_id = %(owner_id)s OR m.member_id IN (SELECT o.member_id FROM loyalty.merged_member o
    WHERE o.owner_id = %(owner_id)s)
ORDER BY m.member_id FOR NO KEY UPDATE
-- name: phones
-- The same, to be read: whoever spends their points meanwhile does not wait.
SELECT m.member_id, m.phone FROM loyalty.member m
WHERE m.member_id = %(owner_id)s OR m.member_id IN (SELECT o.member_id FROM loyalty.merged_member o
    WHERE o.owner_id = %(owner_id)s)
ORDER BY m.member_id
-- name: pages
-- Raw pages in order, some at a time.
SELECT page_id, system, account, stream, body_zstd FROM billing.raw_page WHERE page_id > %(after)s
  AND body_zstd IS NOT NULL ORDER BY page_id LIMIT %(limit)s
-- name: replace_page
-- Replaces the stored answer by one without the person.
UPDATE billing.raw_page SET body_zstd = %(body)s, body_bytes = %(size)s WHERE page_id = %(number)s
-- name: events
-- Webhook events in order, some at a time.
SELECT e.event_no, p.system, p.account, '' AS stream, e.body_zstd
FROM billing.webhook_event e JOIN billing.webhook_endpoint p USING (endpoint_no)
WHERE e.event_no > %(after)s AND e.body_zstd IS NOT NULL ORDER BY e.event_no LIMIT %(limit)s
-- name: replace_event
-- Replaces the stored body by one without the person.
UPDATE billing.webhook_event SET body_zstd = %(body)s, body_bytes = %(size)s
WHERE event_no = %(number)s
-- name: their_customers
-- Numbers that nobody else's documents have: a till's "walk-in customer" is everybody.
WITH theirs AS (
    SELECT system, account, customer_external_id AS customer FROM billing.invoice
    WHERE member_id = ANY(%(members)s::bigint[]) AND customer_external_id IS NOT NULL
    UNION
    SELECT system, account, external_id FROM billing.customer WHERE phone = ANY(%(phones)s::text[])
)
SELECT t.system, t.account, t.customer FROM theirs t
WHERE NOT EXISTS (
    SELECT FROM billing.invoice i
    WHERE (i.system, i.account, i.customer_external_id) = (t.system, t.account, t.customer)
      AND i.member_id <> ALL(%(members)s::bigint[])
)
-- name: customers
-- Deletes the cached customers that are theirs, by phone or by customer number.
DELETE FROM billing.customer c WHERE c.phone = ANY(%(phones)s::text[])
    OR (c.system, c.account, c.external_id) IN (
    SELECT * FROM unnest(%(systems)s::text[], %(accounts)s::text[], %(ids)s::text[]))
-- name: forget_places
-- Where a person lives is no longer known of their sales; in which store they bought is.
UPDATE billing.invoice SET city = NULL, region = NULL
WHERE member_id = ANY(%(members)s) AND (city IS NOT NULL OR region IS NOT NULL)
-- name: count_customers
-- How many cached customers are theirs.
SELECT count(*) FROM billing.customer c WHERE c.phone = ANY(%(phones)s::text[])
    OR (c.system, c.account, c.external_id) IN (
    SELECT * FROM unnest(%(systems)s::text[], %(accounts)s::text[], %(ids)s::text[]))
-- name: type_of
-- The type of a column, as it is written in SQL.
SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
WHERE a.attrelid = format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass
  AND a.attname = %(column)s
-- name: texts
-- Columns of tables (not of views) that hold text; bodies are bytes, and looked through by
-- themselves.
SELECT n.nspname, c.relname, a.attname FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid = ANY(ARRAY['text', 'varchar', 'json', 'jsonb', 'text[]']::regtype[])
ORDER BY 1, 2, a.attnum
-- name: forget_phones
-- Takes the phones off the members.
UPDATE loyalty.member SET phone = NULL, public_id = NULL WHERE member_id = ANY(%(members)s)
-- name: record
-- Enters the erasure; once per member.
INSERT INTO loyalty.member_erasure (member_id, reason, author, run_id)
SELECT m, %(reason)s, %(author)s, %(run_id)s FROM unnest(%(members)s::bigint[]) AS m
ON CONFLICT (member_id) DO NOTHING
-- name: any
-- Whether any member was erased.
SELECT EXISTS (SELECT FROM loyalty.member_erasure)
-- name: documents
-- Documents among these that are of erased members.
SELECT i.system, i.account, i.external_id, i.member_id FROM loyalty.member_erasure e
JOIN billing.invoice i USING (member_id)
WHERE i.external_id = ANY(%(ids)s)
