-- name: count_raw_pages
-- Bodies of pages whose retention ended. (An open reject still needs its page.)
SELECT count(*) FROM billing.raw_page p
WHERE p.fetched_at < %(before)s AND p.body_zstd IS NOT NULL
  AND p.page_id NOT IN (SELECT r.page_id FROM billing.reject r
      WHERE r.resolved_at IS NULL AND r.page_id IS NOT NULL)
-- name: raw_pages
-- Removes some of them.
UPDATE billing.raw_page SET body_zstd = NULL WHERE page_id IN (
    SELECT p.page_id FROM billing.raw_page p
    WHERE p.fetched_at < %(before)s AND p.body_zstd IS NOT NULL
      AND p.page_id NOT IN (SELECT r.page_id FROM billing.reject r
          WHERE r.resolved_at IS NULL AND r.page_id IS NOT NULL)
    ORDER BY p.page_id LIMIT %(limit)s)
-- name: needed_raw_pages
-- Older pages that open rejects still need.
SELECT count(DISTINCT p.page_id) FROM billing.reject r JOIN billing.raw_page p USING (page_id)
WHERE r.resolved_at IS NULL AND p.fetched_at < %(before)s AND p.body_zstd IS NOT NULL
-- name: count_webhooks
-- Webhooks whose retention ended. (Waiting and parked ones are still needed.)
SELECT count(*) FROM billing.webhook_event
WHERE received_at < %(before)s AND state = 'done' AND body_zstd IS NOT NULL
-- name: webhooks
-- Removes the body, the sender and the headers of some of them.
UPDATE billing.webhook_event SET body_zstd = NULL, source_ip = NULL, headers = '{}'
WHERE event_no IN (SELECT event_no FROM billing.webhook_event
    WHERE received_at < %(before)s AND state = 'done' AND body_zstd IS NOT NULL
    ORDER BY received_at LIMIT %(limit)s)
-- name: needed_webhooks
-- Older webhooks that still wait, or are parked.
SELECT count(*) FROM billing.webhook_event
WHERE received_at < %(before)s AND state <> 'done' AND body_zstd IS NOT NULL
-- name: count_attempts
-- Months of requests whose retention ended.
SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'billing.http_attempt'::regclass
  AND c.relname < 'http_attempt_' || to_char(%(before)s AT TIME ZONE 'UTC', 'YYYYMM')
-- name: attempts
-- Drops them.
SELECT billing.drop_attempt_months(%(before)s)
-- name: count_erased_members
-- Sales of members erased before, which still have the billing system's customer number.
SELECT count(*) FROM loyalty.member_erasure e JOIN billing.invoice i USING (member_id)
WHERE e.erased_at < %(before)s AND i.customer_external_id IS NOT NULL
-- name: erased_members
-- Removes the customer numbers of some of them.
UPDATE billing.invoice t SET customer_external_id = NULL
FROM (SELECT i.external_id, i.account, i.system
      FROM loyalty.member_erasure e JOIN billing.invoice i USING (member_id)
      WHERE e.erased_at < %(before)s AND i.customer_external_id IS NOT NULL
      LIMIT %(limit)s) s
WHERE (t.external_id, t.account, t.system) = (s.external_id, s.account, s.system)
-- name: reach
-- Since when pages can be replayed; null: all of them can.
SELECT CASE WHEN EXISTS (SELECT FROM billing.raw_page WHERE body_zstd IS NULL)
    THEN (SELECT p.fetched_at FROM billing.raw_page p WHERE p.body_zstd IS NOT NULL
          AND p.page_id > (SELECT max(page_id) FROM billing.raw_page WHERE body_zstd IS NULL)
          ORDER BY p.page_id LIMIT 1) END
