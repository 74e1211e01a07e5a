-- name: begin
-- Enters a synchronisation that stores what webhooks brought.
INSERT INTO billing.sync_run (system, account, run_id, source, streams)
VALUES (%(system)s, %(account)s, %(run_id)s, 'webhook', %(streams)s)
RETURNING sync_id
-- name: latest
-- When the latest event about each document happened.
SELECT external_id, occurred_at FROM billing.pushed_document
WHERE external_id = ANY(%(ids)s) AND account = %(account)s AND system = %(system)s
-- name: note
-- Notes events about documents; the latest one counts.
INSERT INTO billing.pushed_document (system, account, external_id, occurred_at, by_number)
SELECT %(system)s, %(account)s, n.* FROM unnest(%(ids)s::text[], %(times)s::timestamptz[],
    %(by_number)s::boolean[]) AS n ORDER BY 3
ON CONFLICT (external_id, account, system) DO UPDATE
SET occurred_at = greatest(pushed_document.occurred_at, excluded.occurred_at),
    by_number = pushed_document.by_number OR excluded.by_number
-- name: ids_of_numbers
-- Ids of stored documents by their printed number.
SELECT invoice_number, array_agg(external_id) FROM billing.invoice
WHERE system = %(system)s AND system IN ('custom', 'push') AND account = %(account)s
  AND invoice_number = ANY(%(numbers)s)
  AND external_id IS DISTINCT FROM invoice_number
GROUP BY 1
-- name: lists_lack_numbers
-- Whether the account's lists name documents by id only.
SELECT EXISTS (SELECT FROM billing.sync_cursor WHERE system = %(system)s AND account = %(account)s)
   AND EXISTS (SELECT FROM billing.invoice
               WHERE system = %(system)s AND system IN ('custom', 'push')
                 AND account = %(account)s
                 AND external_id IS DISTINCT FROM invoice_number AND invoice_number IS NULL)
   AND NOT EXISTS (SELECT FROM billing.invoice
                   WHERE system = %(system)s AND system IN ('custom', 'push')
                     AND account = %(account)s
                     AND external_id IS DISTINCT FROM invoice_number AND invoice_number IS NOT NULL)
-- name: not_void
-- Documents that are stored and not void.
SELECT external_id FROM billing.invoice
WHERE external_id = ANY(%(ids)s) AND account = %(account)s AND system = %(system)s
  AND status <> 'void'
-- name: void_documents
-- Documents that are stored as void.
SELECT external_id FROM billing.invoice
WHERE external_id = ANY(%(ids)s) AND account = %(account)s AND system = %(system)s
  AND status = 'void'
-- name: latencies
-- How long the events of a run took from arrival to the ledger.
SELECT state, count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds),
       percentile_disc(0.99) WITHIN GROUP (ORDER BY seconds)
FROM (SELECT state, extract(epoch FROM finished_at - received_at)::float8 AS seconds
    FROM billing.webhook_event WHERE run_id = %(run_id)s) e
GROUP BY 1 ORDER BY 1
-- name: parked
-- Parked events, by connection and reason.
SELECT p.system, p.connection, e.reason, count(*), min(e.received_at), max(e.event_no)
FROM billing.webhook_event e JOIN billing.webhook_endpoint p USING (endpoint_no)
WHERE e.state = 'parked' GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT %(limit)s
