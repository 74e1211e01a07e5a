-- name: group
-- The member who earns, and all who were merged into them: one customer.
SELECT m.member_id, m.phone FROM loyalty.member m
WHERE m.member_id = %(owner_id)s OR m.member_id IN (SELECT o.member_id FROM loyalty.merged_member o WHERE o.owner_id = %(owner_id)s)
ORDER BY m.member_id FOR NO KEY UPDATE
-- name: pages
SELECT page_id, content_type, body_zstd FROM billing.raw_page WHERE page_id > %(after)s ORDER BY page_id LIMIT %(limit)s
-- name: replace_page
UPDATE billing.raw_page SET body_zstd = %(body)s, body_bytes = %(size)s WHERE page_id = %(number)s
-- name: events
SELECT event_no, 'application/json', body_zstd FROM billing.webhook_event WHERE event_no > %(after)s ORDER BY event_no LIMIT %(limit)s
-- name: replace_event
UPDATE billing.webhook_event SET body_zstd = %(body)s, body_bytes = %(size)s WHERE event_no = %(number)s
-- name: customers
DELETE FROM billing.customer WHERE phone = ANY(%(phones)s)
-- name: count_customers
SELECT count(*) FROM billing.customer WHERE phone = ANY(%(phones)s)
-- name: forget_phones
UPDATE loyalty.member SET phone = NULL WHERE member_id = ANY(%(members)s)
-- name: record
INSERT INTO loyalty.member_erasure (member_id, reason, author, run_id)
SELECT m, %(reason)s, %(author)s, %(run_id)s FROM unnest(%(members)s::bigint[]) AS m ON CONFLICT (member_id) DO NOTHING
-- name: any
SELECT EXISTS (SELECT FROM loyalty.member_erasure)
-- name: documents
SELECT i.system, i.account, i.external_id, i.member_id FROM loyalty.member_erasure e JOIN billing.invoice i USING (member_id)
WHERE i.external_id = ANY(%(ids)s)
