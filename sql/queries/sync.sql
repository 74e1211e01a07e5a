-- name: lock_sync
-- One synchronisation of an account at a time, as long as its connection lasts.
SELECT pg_try_advisory_lock(hashtextextended(%(key)s, 20261122))
-- name: unlock_sync
-- Lets the next one begin.
SELECT pg_advisory_unlock(hashtextextended(%(key)s, 20261122))
-- name: resumable
-- An interrupted run of the same request, which can be continued.
SELECT sync_id, streams FROM billing.sync_run
WHERE system = %(system)s AND account = %(account)s AND source = 'poll'
  -- A run that failed after reading everything starts anew: the cause may have been corrected at
  -- the vendor.
  AND (state IN ('extracting', 'extracted')
       OR state = 'failed' AND EXISTS (SELECT FROM jsonb_each(streams) s
           WHERE NOT (s.value ->> 'complete')::boolean))
  AND requested_since IS NOT DISTINCT FROM %(since)s
  AND requested_until IS NOT DISTINCT FROM %(until)s
  AND started_at > now() - make_interval(hours => %(hours)s)
  AND sync_id = (SELECT max(sync_id) FROM billing.sync_run WHERE system = %(system)s
      AND account = %(account)s AND source = 'poll')
-- name: latest
-- The number of the account's latest run.
SELECT max(sync_id) FROM billing.sync_run WHERE system = %(system)s AND account = %(account)s
-- name: abandon_older
-- Interrupted runs that nobody will continue.
UPDATE billing.sync_run SET state = 'abandoned', finished_at = coalesce(finished_at, now())
WHERE system = %(system)s AND account = %(account)s
  AND state IN ('extracting', 'extracted', 'failed') AND source = 'poll'
  AND sync_id IS DISTINCT FROM %(keep)s
-- name: begin
-- Enters a new run.
INSERT INTO billing.sync_run (system, account, run_id, requested_since, requested_until, streams)
VALUES (%(system)s, %(account)s, %(run_id)s, %(since)s, %(until)s, %(streams)s) RETURNING sync_id
-- name: continue
-- Enters that this flow run continues an interrupted one.
UPDATE billing.sync_run SET run_id = %(run_id)s, state = 'extracting', error = NULL,
    finished_at = NULL WHERE sync_id = %(sync_id)s
-- name: set_state
-- Where the run is now.
UPDATE billing.sync_run SET state = %(state)s, error = %(error)s,
    summary = coalesce(%(summary)s, summary),
    finished_at = CASE WHEN %(state)s IN ('stored', 'failed') THEN now() END
WHERE sync_id = %(sync_id)s
-- name: set_streams
-- Which windows are read, and which are complete.
UPDATE billing.sync_run SET streams = %(streams)s WHERE sync_id = %(sync_id)s
-- name: set_summary
-- The counts of the run, at its end.
UPDATE billing.sync_run SET summary = %(summary)s, finished_at = now() WHERE sync_id = %(sync_id)s
-- name: fail
-- A run that was not stored has failed.
UPDATE billing.sync_run SET state = CASE WHEN state IN ('stored', 'abandoned') THEN state
    ELSE 'failed' END, error = %(error)s, finished_at = now()
WHERE sync_id = (SELECT max(sync_id) FROM billing.sync_run WHERE run_id = %(run_id)s)
-- name: cursors
-- The account's cursors.
SELECT stream, cursor_at FROM billing.sync_cursor
WHERE system = %(system)s AND account = %(account)s
-- name: move_cursor
-- Moves a cursor forward, never back.
INSERT INTO billing.sync_cursor (system, account, stream, cursor_at, sync_id)
VALUES (%(system)s, %(account)s, %(stream)s, %(cursor_at)s, %(sync_id)s)
ON CONFLICT (system, account, stream) DO UPDATE
SET cursor_at = excluded.cursor_at, sync_id = excluded.sync_id, moved_at = now()
WHERE sync_cursor.cursor_at <= excluded.cursor_at
  -- Our own clock was ahead once: a cursor in the future asks for nothing, and has to come back.
  OR sync_cursor.cursor_at > now()
-- name: commit_lazily
-- Does not wait for the disk: what is lost is fetched again.
SET LOCAL synchronous_commit = off
-- name: save_page
-- Stores an answer as received.
INSERT INTO billing.raw_page (sync_id, system, account, stream, page_no, record_count, request,
    next_request, content_type,
    body_bytes, body_zstd, fetched_at, asked_at)
VALUES (%(sync_id)s, %(system)s, %(account)s, %(stream)s, %(page_no)s, %(record_count)s,
    %(request)s, %(next_request)s,
    %(content_type)s, %(body_bytes)s, %(body_zstd)s, %(fetched_at)s, %(asked_at)s) RETURNING page_id
-- name: last_page
-- The last stored page of a list, where an interrupted run continues.
SELECT request, body_zstd, next_request FROM billing.raw_page
WHERE sync_id = %(sync_id)s AND stream = %(stream)s AND body_zstd IS NOT NULL
ORDER BY page_id DESC LIMIT 1
-- name: pages
-- Stored pages of a run, some at a time.
SELECT page_id, record_count, body_zstd FROM billing.raw_page
WHERE sync_id = %(sync_id)s AND stream = %(stream)s AND page_id > %(after)s
  AND body_zstd IS NOT NULL
ORDER BY page_id LIMIT %(limit)s
-- name: stored_pages
-- Stored pages of an account that were fetched in a span of time.
SELECT page_id, record_count, body_zstd FROM billing.raw_page
WHERE system = %(system)s AND account = %(account)s AND stream = %(stream)s AND page_id > %(after)s
  AND body_zstd IS NOT NULL
  AND fetched_at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND fetched_at < coalesce(%(until)s::timestamptz, 'infinity')
ORDER BY page_id LIMIT %(limit)s
-- name: page_counts
-- Pages, records and bytes of a run, per list.
SELECT stream, count(*), coalesce(sum(record_count), 0), coalesce(sum(body_bytes), 0)
FROM billing.raw_page
WHERE sync_id = %(sync_id)s GROUP BY stream ORDER BY stream
-- name: known_lookups
-- Customers or items that need not be looked up now.
SELECT external_id FROM billing.{table}
WHERE system = %(system)s AND account = %(account)s AND external_id = ANY(%(ids)s)
  AND fetched_at > now()
      - CASE WHEN {found} IS NULL THEN make_interval(mins => %(missing_minutes)s)
          ELSE make_interval(hours => 24) END
-- name: known_item_names
-- Items that need not be looked up by name now.
SELECT name FROM billing.item
WHERE system = %(system)s AND account = %(account)s AND name = ANY(%(ids)s)
  AND fetched_at > now() - make_interval(hours => 24)
-- name: save_customers
-- Keeps phones that were looked up.
INSERT INTO billing.customer (system, account, external_id, phone, fetched_at)
SELECT %(system)s, %(account)s, c.external_id, c.phone, now()
FROM unnest(%(external_ids)s::text[], %(phones)s::text[]) AS c(external_id, phone)
ORDER BY c.external_id
ON CONFLICT (system, account, external_id) DO UPDATE
SET phone = excluded.phone, fetched_at = excluded.fetched_at
-- name: save_items
-- Keeps SKUs that were looked up.
INSERT INTO billing.item (system, account, external_id, sku, name, fetched_at)
SELECT %(system)s, %(account)s, c.external_id, c.sku, c.name, now()
FROM unnest(%(external_ids)s::text[], %(skus)s::text[], %(names)s::text[]) AS c(external_id, sku,
    name) ORDER BY c.external_id
ON CONFLICT (system, account, external_id) DO UPDATE
SET sku = excluded.sku, name = excluded.name, fetched_at = excluded.fetched_at
-- name: customers
-- Phones of customers.
SELECT external_id, phone FROM billing.customer
WHERE system = %(system)s AND account = %(account)s AND external_id = ANY(%(ids)s)
-- name: items
-- SKUs of items, by id or name.
SELECT external_id, name, sku FROM billing.item
WHERE system = %(system)s AND account = %(account)s
  AND (external_id = ANY(%(ids)s) OR name = ANY(%(names)s))
