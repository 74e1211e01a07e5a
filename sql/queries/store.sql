-- name: lock_account
-- One transaction at a time stores sales of an account.
SELECT pg_advisory_xact_lock(hashtextextended(%(system)s || '/' || %(account)s, 1))
-- name: add_members
-- Makes members of phones that have none, in order, so that two stores do not deadlock.
INSERT INTO loyalty.member (phone)
SELECT p FROM unnest(string_to_array(%(phones)s, ',')) AS p
WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.phone = p) ORDER BY p
ON CONFLICT (phone) DO NOTHING
-- name: members
-- Members by phone.
SELECT phone, member_id FROM loyalty.member WHERE phone = ANY(string_to_array(%(phones)s, ','))
-- name: first_load
-- Whether nothing of the account was ever stored.
SELECT NOT EXISTS (SELECT FROM billing.sync_run
    WHERE system = %(system)s AND account = %(account)s AND state = 'stored')
-- name: stored_invoices
-- What is stored of these documents: the facts that a newer version may change.
SELECT external_id, invoice_number, kind, customer_external_id, member_id, currency, total_minor,
       subtotal_minor, tax_minor,
       amount_paid_minor, amount_refunded_minor, status,
       (extract(epoch FROM issued_at) * 1000000)::bigint,
       (extract(epoch FROM updated_at) * 1000000)::bigint, reference_ids,
       time_known::int, original_external_id, store, channel, city, region
FROM json_array_elements_text(%(ids)s::json) AS wanted JOIN billing.invoice ON external_id = wanted
WHERE system = %(system)s AND account = %(account)s
-- name: stored_versions
-- How new the stored versions of these documents are.
SELECT i.external_id, i.status,
       -- A time that was in the future when it was stored is not believed, whoever stored it.
       CASE WHEN ahead THEN extract(epoch FROM i.stored_at) * 1000000
           ELSE extract(epoch FROM i.updated_at) * 1000000 END::bigint,
       (extract(epoch FROM CASE WHEN ahead THEN i.updated_at ELSE i.claimed_at END)
           * 1000000)::bigint,
       coalesce(i.seen_page_id, i.page_id), CASE WHEN i.seen_page_id IS NULL THEN i.record_no END,
       (extract(epoch FROM p.asked_at) * 1000000)::bigint,
       (extract(epoch FROM p.fetched_at) * 1000000)::bigint, p.is_read::int
FROM json_array_elements_text(%(ids)s::json) AS wanted
JOIN billing.invoice i ON i.external_id = wanted
CROSS JOIN LATERAL (SELECT i.updated_at > i.stored_at + %(ahead_max)s::interval AS ahead) a
LEFT JOIN billing.page_reading p ON p.page_id = coalesce(i.seen_page_id, i.page_id)
WHERE i.system = %(system)s AND i.account = %(account)s
-- name: readings
-- How raw pages were read.
SELECT page_id, (extract(epoch FROM asked_at) * 1000000)::bigint,
       (extract(epoch FROM fetched_at) * 1000000)::bigint, is_read::int
FROM billing.page_reading WHERE page_id = ANY(string_to_array(%(pages)s, ',')::bigint[])
-- name: stage_changed
-- A table for this transaction, for changed sales.
CREATE TEMPORARY TABLE IF NOT EXISTS changed_invoice (LIKE billing.invoice INCLUDING DEFAULTS)
    ON COMMIT DELETE ROWS
-- name: empty_stage
-- Empties it between two batches.
TRUNCATE changed_invoice
-- name: update_changed
-- Replaces stored sales by their newer versions.
UPDATE billing.invoice i SET (invoice_number, kind, customer_external_id, member_id, currency,
    total_minor, subtotal_minor,
    tax_minor, amount_paid_minor, amount_refunded_minor, status, issued_at, updated_at, claimed_at,
    reference_ids, page_id, record_no,
    sync_id, seen_page_id, stored_at, time_known, original_external_id, store, channel, city,
    region)
  = (c.invoice_number, c.kind, c.customer_external_id, c.member_id, c.currency, c.total_minor,
      c.subtotal_minor,
    c.tax_minor, c.amount_paid_minor, c.amount_refunded_minor, c.status, c.issued_at, c.updated_at,
    c.claimed_at, c.reference_ids, c.page_id,
    c.record_no, c.sync_id, NULL, now(), c.time_known, c.original_external_id, c.store, c.channel,
    c.city, c.region)
FROM changed_invoice c
WHERE (i.external_id, i.account, i.system) = (c.external_id, c.account, c.system)
-- name: drop_lines
-- Lines of the versions that are replaced.
DELETE FROM billing.invoice_line l USING changed_invoice c, billing.invoice i
WHERE (i.external_id, i.account, i.system) = (c.external_id, c.account, c.system)
  AND (l.page_id, l.record_no) = (i.page_id, i.record_no)
-- name: void_deleted
-- Makes deleted documents void, from their deletion on.
UPDATE billing.invoice i SET status = 'void', updated_at = d.deleted_at, claimed_at = d.claimed_at,
    -- What comes without a page is as new as the newest one: whoever reads those pages again must
    -- not bring it back.
    seen_page_id = coalesce(d.page_id, (SELECT max(page_id) FROM billing.raw_page), i.page_id),
    sync_id = %(sync_id)s, stored_at = now()
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(claims)s::timestamptz[],
    %(pages)s::bigint[])
  AS d(external_id, deleted_at, claimed_at, page_id)
WHERE i.system = %(system)s AND i.account = %(account)s AND i.external_id = d.external_id
RETURNING i.member_id
-- name: remember_deleted
-- Keeps the newest deletion of documents that are not stored.
INSERT INTO billing.deleted_document AS known
  (system, account, external_id, deleted_at, page_id, sync_id)
SELECT %(system)s, %(account)s, d.external_id, coalesce(d.deleted_at, now()), d.page_id, %(sync_id)s
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(pages)s::bigint[])
  AS d(external_id, deleted_at, page_id)
ON CONFLICT (system, account, external_id) DO UPDATE
SET deleted_at = excluded.deleted_at, page_id = excluded.page_id, sync_id = excluded.sync_id
WHERE known.deleted_at <= excluded.deleted_at
-- name: any_deleted
-- Whether any deletion of the account is remembered.
SELECT EXISTS (SELECT FROM billing.deleted_document
    WHERE system = %(system)s AND account = %(account)s)
-- name: deleted_before
-- Remembered deletions of these documents, as versions.
SELECT d.external_id, (extract(epoch FROM d.deleted_at) * 1000000)::bigint, NULL::bigint, d.page_id,
       NULL::int,
       (extract(epoch FROM p.asked_at) * 1000000)::bigint,
       (extract(epoch FROM p.fetched_at) * 1000000)::bigint, p.is_read::int
FROM json_array_elements_text(%(ids)s::json) AS wanted
JOIN billing.deleted_document d ON d.external_id = wanted
LEFT JOIN billing.page_reading p ON p.page_id = d.page_id
WHERE d.system = %(system)s AND d.account = %(account)s
-- name: named_by_number
-- Whether webhooks named documents of the account by their numbers.
SELECT EXISTS (SELECT FROM billing.pushed_document
    WHERE account = %(account)s AND system = %(system)s AND by_number)
-- name: supersede_numbers
-- Seen on the page of the document with its id: whoever reads the webhook's page again must not
-- bring it back.
UPDATE billing.invoice i
SET status = 'void', seen_page_id = o.page_id, sync_id = %(sync_id)s, stored_at = now()
FROM billing.pushed_document p, billing.invoice o
WHERE p.by_number AND p.account = %(account)s AND p.system = %(system)s
  AND p.external_id = ANY(%(numbers)s::text[])
  AND (i.external_id, i.account, i.system) = (p.external_id, p.account, p.system)
  AND i.status <> 'void'
  -- Whichever of the two was stored first. Credit notes may have a row of numbers of their own.
  AND o.system = i.system AND o.system IN ('custom', 'push') AND o.account = i.account
  AND o.invoice_number = i.external_id
  AND o.external_id IS DISTINCT FROM o.invoice_number
  AND (o.kind IN ('credit_note', 'refund')) = (i.kind IN ('credit_note', 'refund'))
RETURNING i.member_id
-- name: unlisted
-- How many documents could be in a list, and which of them are not.
SELECT count(*),
       coalesce(array_agg(i.external_id
           ORDER BY i.external_id) FILTER (WHERE l.external_id IS NULL), '{}')
FROM billing.invoice i
LEFT JOIN (SELECT DISTINCT external_id FROM unnest(%(listed)s::text[]) AS u(external_id)) l
    ON l.external_id = i.external_id
-- What a synchronisation that began later has stored is newer than the list.
WHERE i.system = %(system)s AND i.account = %(account)s AND i.status <> 'void'
  AND i.sync_id <= %(sync_id)s
  AND (%(kinds)s::text[] IS NULL OR i.kind = ANY(%(kinds)s::text[]))
  -- So is what webhooks brought meanwhile, whose synchronisation may have begun earlier.
  AND (i.sync_id = %(sync_id)s
      OR i.stored_at
          <= coalesce((SELECT started_at FROM billing.sync_run r WHERE r.sync_id = %(sync_id)s),
              'infinity'))
-- name: mark_dirty
-- Marks members for the award step.
SELECT loyalty.mark_dirty(%(members)s::bigint[])
-- name: save_rejects
-- Opens rejects; a record that has an open one updates it.
WITH found AS (
    SELECT r.*, CASE WHEN r.by_content THEN coalesce(p.request -> 'params' ->> 'file' || ': ', '')
        ELSE '' END || r.record_key AS key
    FROM unnest(%(streams)s::text[], %(keys)s::text[], %(ids)s::text[], %(reasons)s::text[],
        %(problems)s::text[], %(pages)s::bigint[],
                %(records)s::integer[], %(customers)s::text[], %(by_content)s::boolean[],
                %(kinds)s::text[], %(currencies)s::text[], %(totals)s::bigint[],
                %(issued)s::timestamptz[], %(updated)s::timestamptz[])
         AS r(stream, record_key, external_id, reason, problems, page_id, record_no, customer,
             by_content, sale_kind, currency, total_minor, issued_at, updated_at)
    LEFT JOIN billing.raw_page p ON r.by_content AND p.page_id = r.page_id
)
INSERT INTO billing.reject (system, account, stream, record_key, external_id, reason, problems,
    page_id, record_no, first_sync_id, last_sync_id,
    customer_external_id, mapping_digest, sale_kind, currency, total_minor, issued_at, updated_at)
SELECT DISTINCT ON (r.stream, r.key) %(system)s, %(account)s, r.stream, r.key, r.external_id,
       r.reason, r.problems::jsonb, r.page_id,
       r.record_no, %(sync_id)s, %(sync_id)s, r.customer, %(mapping)s,
       r.sale_kind, r.currency, r.total_minor, r.issued_at, r.updated_at
FROM found r
ORDER BY r.stream, r.key, r.page_id DESC, r.record_no
ON CONFLICT (system, account, stream, record_key) WHERE resolved_at IS NULL DO UPDATE
SET reason = excluded.reason, problems = excluded.problems, page_id = excluded.page_id,
    record_no = excluded.record_no,
    last_sync_id = excluded.last_sync_id, last_seen_at = now(),
    customer_external_id = excluded.customer_external_id,
    mapping_digest = excluded.mapping_digest,
    sale_kind = excluded.sale_kind, currency = excluded.currency,
    total_minor = excluded.total_minor, issued_at = excluded.issued_at,
    updated_at = excluded.updated_at,
    times_seen = reject.times_seen + (reject.last_sync_id <> excluded.last_sync_id)::integer
-- name: open_rejects
-- Whether the account has open rejects.
SELECT EXISTS (SELECT FROM billing.reject
    WHERE system = %(system)s AND account = %(account)s AND resolved_at IS NULL)
-- name: resolve_rejects
-- Closes the open rejects of documents that were accepted, but for some.
UPDATE billing.reject SET resolved_at = now(), resolved_sync_id = %(sync_id)s
WHERE system = %(system)s AND account = %(account)s AND resolved_at IS NULL
  AND external_id = ANY(%(ids)s) AND reject_id <> ALL(%(keep)s::bigint[])
  AND (stream = 'awards') = %(awards)s
