-- name: waiting
-- Open rejects that may be accepted now, of some raw pages.
WITH candidate AS (
    SELECT r.reject_id, r.stream, r.page_id, r.record_no, r.external_id FROM billing.reject r
    WHERE r.system = %(system)s AND r.account = %(account)s AND r.resolved_at IS NULL
      AND r.page_id > %(after)s
      AND r.stream = ANY(%(streams)s) AND r.record_no IS NOT NULL AND r.last_sync_id <> %(sync_id)s
      AND (%(every)s OR r.mapping_digest IS DISTINCT FROM %(mapping)s
           -- A phone that became known after the record was rejected.
           OR EXISTS (SELECT FROM billing.customer c
                      WHERE (c.system, c.account, c.external_id) = (r.system, r.account,
                          r.customer_external_id)
                        AND c.phone IS NOT NULL AND c.fetched_at > r.last_seen_at))
)
SELECT c.reject_id, c.stream, c.page_id, c.record_no, c.external_id FROM candidate c
WHERE c.page_id IN (SELECT DISTINCT page_id FROM candidate ORDER BY page_id LIMIT %(pages)s)
ORDER BY c.page_id, c.record_no
-- name: page_of
-- The newest raw page that holds a document, whether it was accepted or rejected.
SELECT p.stream, p.body_zstd FROM billing.raw_page p
WHERE p.body_zstd IS NOT NULL AND p.page_id = (
    SELECT max(page_id) FROM (
        SELECT page_id FROM billing.invoice
        WHERE (system, account) = (%(system)s, %(account)s)
          AND %(document)s IN (external_id, invoice_number)
        UNION ALL
        SELECT page_id FROM billing.reject
        WHERE (system, account) = (%(system)s, %(account)s)
          AND %(document)s IN (external_id, record_key)
    ) found
)
-- name: newest_document
-- The document with the latest date; none: nothing was fetched yet.
SELECT external_id FROM billing.invoice WHERE (system, account) = (%(system)s, %(account)s)
ORDER BY issued_at DESC, external_id LIMIT 1
-- name: bodies
-- Raw pages, as they were received.
SELECT page_id, body_zstd FROM billing.raw_page WHERE page_id = ANY(%(pages)s) AND body_zstd IS NOT NULL
ORDER BY page_id
-- name: close
-- Closes rejects that were accepted.
UPDATE billing.reject SET resolved_at = now(), resolved_sync_id = %(sync_id)s
WHERE reject_id = ANY(%(rejects)s) AND resolved_at IS NULL AND last_sync_id <> %(sync_id)s
-- name: keep
-- Rejected again: by this mapping, in this synchronisation.
UPDATE billing.reject SET mapping_digest = %(mapping)s, last_sync_id = %(sync_id)s
WHERE reject_id = ANY(%(rejects)s) AND resolved_at IS NULL
-- name: of_files
-- Open rejects of rows and of whole files that this synchronisation read again and did not reject
-- as they were.
SELECT r.reject_id, p.stream, r.record_no, r.page_id, p.page_id,
       r.record_key = (p.request -> 'params' ->> 'file') || ': file',
       r.external_id IS NOT NULL
FROM billing.raw_page p JOIN billing.reject r ON starts_with(r.record_key,
    p.request -> 'params' ->> 'file' || ': ')
WHERE p.sync_id = %(sync_id)s AND p.request -> 'params' ? 'file' AND r.system = %(system)s
  AND r.account = %(account)s
  AND r.stream = p.stream AND r.resolved_at IS NULL AND r.last_sync_id <> %(sync_id)s
  AND r.page_id IS NOT NULL AND r.record_no IS NOT NULL
  -- The row of a document is closed with it, or once another row is all that the document is
  -- refused for.
  AND (r.external_id IS NULL OR EXISTS (
      SELECT FROM billing.reject o WHERE (o.system, o.account, o.stream, o.external_id) = (r.system,
          r.account, r.stream, r.external_id)
         AND o.resolved_at IS NULL AND o.last_sync_id = %(sync_id)s))
-- name: refused_of
-- Records of these pages that this synchronisation rejected.
SELECT page_id, record_no FROM billing.reject
WHERE page_id = ANY(%(pages)s) AND last_sync_id = %(sync_id)s AND resolved_at IS NULL
  AND record_no IS NOT NULL
-- name: newer
-- Documents that were stored from a later page than the one of the reject.
SELECT i.external_id FROM billing.invoice i
JOIN unnest(%(ids)s::text[], %(pages)s::bigint[]) AS f(external_id, page_id)
    ON i.external_id = f.external_id
WHERE i.system = %(system)s AND i.account = %(account)s AND i.page_id > f.page_id
-- name: phones_missing
-- Customers without a phone that are due to be looked up again.
SELECT DISTINCT r.customer_external_id FROM billing.reject r
JOIN billing.customer c ON (c.system, c.account, c.external_id) = (r.system, r.account,
    r.customer_external_id)
WHERE r.system = %(system)s AND r.account = %(account)s AND r.resolved_at IS NULL
  AND c.phone IS NULL
  -- The longer it has been missing, the less often it is asked for.
  AND c.fetched_at < now() - least(interval '24 hours',
      greatest(make_interval(mins => %(minutes)s), (now() - r.first_seen_at) / 8))
ORDER BY 1 LIMIT %(limit)s
-- name: open_versions
-- Open rejects of these documents, with what says how new they are.
SELECT r.reject_id, r.external_id, (extract(epoch FROM r.updated_at) * 1000000)::bigint, r.page_id,
       r.record_no
FROM json_array_elements_text(%(ids)s::json) AS wanted JOIN billing.reject r
    ON r.external_id = wanted
WHERE r.system = %(system)s AND r.account = %(account)s AND r.resolved_at IS NULL
  AND r.stream <> 'awards'
