-- name: documents
-- Stored documents of a span of time, and those that the vendor listed.
SELECT external_id, invoice_number, kind, status, currency, total_minor,
       coalesce(amount_refunded_minor, 0),
       (extract(epoch FROM issued_at) * 1000000)::bigint
FROM billing.invoice
WHERE (system, account) = (%(system)s, %(account)s)
  AND (issued_at >= %(since)s AND issued_at < %(until)s OR external_id = ANY(%(listed)s))
-- name: rejected
-- Listed documents that have an open reject, and why.
SELECT external_id, max(reason) FROM billing.reject
WHERE (system, account) = (%(system)s, %(account)s) AND resolved_at IS NULL
  AND external_id = ANY(%(listed)s)
GROUP BY external_id
