-- name: configure
-- Limits of a session of the API: no statement, lock or transaction may take long.
SELECT set_config('statement_timeout', %(statement_ms)s, false),
       set_config('lock_timeout', %(lock_ms)s, false),
       set_config('idle_in_transaction_session_timeout', '30s', false),
       set_config('TimeZone', 'UTC', false),
       set_config('twezah.actor', 'api', false)
-- name: limit_transaction
-- The same for one transaction of a pooled connection.
SELECT set_config('statement_timeout', %(statement_ms)s, true),
       set_config('lock_timeout', %(lock_ms)s, true)
-- name: alive
-- Whether the database answers.
SELECT 1
-- name: schema_version
-- The newest migration of this database.
SELECT max(name) FROM public.schema_migration
-- name: take_tokens
-- Takes requests out of a token bucket: whether they are granted, or how long to wait.
SELECT granted, wait_seconds, tokens_left FROM billing.take_tokens(%(subject)s, %(wanted)s, %(per_second)s,
    %(burst)s)
-- name: save_attempts
-- The audit of HTTP requests, many rows at once.
INSERT INTO billing.http_attempt (attempt_at, method, route, status, outcome, endpoint_no, event_no,
    key_no, source_network, body_bytes,
    elapsed_ms, repeats)
SELECT * FROM unnest(%(attempt_ats)s::timestamptz[], %(methods)s::text[], %(routes)s::text[],
    %(statuses)s::integer[], %(outcomes)s::text[],
    %(endpoint_nos)s::bigint[], %(event_nos)s::bigint[], %(key_nos)s::bigint[],
    %(source_networks)s::cidr[], %(body_bytes)s::bigint[],
    %(elapsed_mss)s::integer[], %(repeats)s::integer[])
-- name: keep_attempt_months
-- Makes the partitions of the coming month, and drops those that are too old.
SELECT billing.keep_attempt_months(%(months)s)
-- name: forget_requests
-- Answers are kept for repetitions of a request, for a day.
DELETE FROM billing.api_request WHERE started_at < now() - interval '1 day'
-- name: forget_buckets
-- A bucket that was not used for a day is full again.
DELETE FROM billing.rate_bucket WHERE filled_at < now() - interval '1 day'
-- name: begin_request
-- Enters a request under the sender's name for it; no row: that name was used before.
INSERT INTO billing.api_request (key_no, idempotency_key, request_sha256)
VALUES (%(key_no)s, %(idempotency_key)s, %(digest)s)
ON CONFLICT (key_no, idempotency_key) DO NOTHING RETURNING true
-- name: known_request
-- What became of the request with this name; the last column: its process is taken for dead.
SELECT request_sha256, status, answer, started_at < now() - make_interval(secs => %(stale_seconds)s)
FROM billing.api_request WHERE key_no = %(key_no)s AND idempotency_key = %(idempotency_key)s
-- name: end_request
-- Keeps the answer for repetitions.
UPDATE billing.api_request SET status = %(status)s, answer = %(answer)s
WHERE key_no = %(key_no)s AND idempotency_key = %(idempotency_key)s
-- name: drop_request
-- A request that did nothing: its name may be used again.
DELETE FROM billing.api_request WHERE key_no = %(key_no)s AND idempotency_key = %(idempotency_key)s
    AND status IS NULL
-- name: transactions
-- Whoever earns for it since a merge is its member.
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status,
       coalesce(o.owner_id, i.member_id), i.currency,
       billing.major_units(i.total_minor, i.currency),
       billing.major_units(i.subtotal_minor, i.currency),
       billing.major_units(i.tax_minor, i.currency),
       billing.major_units(i.amount_refunded_minor, i.currency),
       coalesce(p.points, 0)::bigint, i.issued_at, i.updated_at, i.stored_at,
       e.entry_no, e.member_id, e.reason, e.points, e.due_before, e.due_after, e.breakdown,
       e.net_amount, e.currency, e.tier, e.program_version, e.base_rate_bps, e.tier_rate_bps,
       e.rounding, e.event_at, e.posted_at, e.run_id, e.per_full
FROM (
    SELECT * FROM billing.invoice i
    WHERE (%(system)s::text IS NULL OR i.system = %(system)s)
      AND (%(account)s::text IS NULL OR i.account = %(account)s)
      AND (%(member_id)s::bigint IS NULL OR i.member_id = %(member_id)s
           OR i.member_id IN (SELECT m.member_id FROM loyalty.merged_member m
               WHERE m.owner_id = %(member_id)s))
      AND (%(status)s::text IS NULL OR i.status = %(status)s)
      AND (%(kind)s::text IS NULL OR i.kind = %(kind)s)
      AND (%(number)s::text IS NULL OR i.invoice_number = %(number)s)
      AND i.issued_at >= coalesce(%(issued_from)s::timestamptz, '-infinity')
      AND i.issued_at < coalesce(%(issued_to)s::timestamptz, 'infinity')
      AND (i.issued_at, i.external_id, i.account, i.system)
        < (coalesce(%(after_at)s::timestamptz, 'infinity'), %(after_id)s::text,
            %(after_account)s::text, %(after_system)s::text)
    ORDER BY i.issued_at DESC, i.external_id DESC, i.account DESC, i.system DESC LIMIT %(limit)s
) i
LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
LEFT JOIN LATERAL (
    SELECT sum(e.points) AS points, max(e.entry_no) AS entry_no FROM loyalty.award_entry e
    WHERE (e.member_id, e.external_id, e.account, e.system) = (coalesce(o.owner_id, i.member_id),
        i.external_id, i.account, i.system)
) p ON true
LEFT JOIN loyalty.entry_with_rule e
  ON (e.member_id, e.external_id, e.account, e.system, e.entry_no)
   = (coalesce(o.owner_id, i.member_id), i.external_id, i.account, i.system, p.entry_no)
ORDER BY i.issued_at DESC, i.external_id DESC, i.account DESC, i.system DESC
-- name: member_by_phone
-- Who earns for the member with this phone.
SELECT coalesce(o.owner_id, m.member_id) FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id) WHERE m.phone = %(phone)s
-- name: history
-- A member's movements, newest first, from a place on; with the entry where it is a sale. Of a
-- birthday only the year: its day needs a scope of its own.
SELECT h.kind, h.posted_at, h.points, h.balance_points, h.event_at, h.run_id, h.reason,
       h.external_id, h.system, h.account, i.invoice_number,
       coalesce(h.entry_no, 0), p.points, p.available_at, p.awaits_payment,
       e.entry_no, e.member_id, e.reason, e.points, e.due_before, e.due_after, e.breakdown, e.net_amount, e.currency, e.tier, e.program_version,
       e.base_rate_bps, e.tier_rate_bps, e.rounding, e.event_at, e.posted_at, e.run_id, e.per_full
FROM (
    SELECT h.member_id, h.kind, h.posted_at, h.points, h.balance_points, h.run_id, h.reason,
           h.external_id, h.system, h.account, h.entry_no,
           CASE WHEN h.kind IN ('event', 'event void') AND h.reason = 'birthday'
               THEN date_trunc('year', h.event_at + interval '12 hours', 'UTC')
               ELSE h.event_at END AS event_at
    FROM analytics.points_history h WHERE h.member_id = %(member_id)s
) h
LEFT JOIN loyalty.entry_with_rule e
  ON (e.member_id, e.external_id, e.account, e.system, e.entry_no)
   = (h.member_id, h.external_id, h.account, h.system, h.entry_no)
LEFT JOIN billing.invoice i ON (i.external_id, i.account, i.system) = (h.external_id, h.account,
    h.system)
LEFT JOIN (SELECT * FROM loyalty.pending_sale WHERE member_id = %(member_id)s) p
  ON h.entry_no IS NOT NULL
 AND (p.external_id, p.account, p.system) = (h.external_id, h.account, h.system)
WHERE (h.posted_at, h.kind, coalesce(h.system, ''), coalesce(h.account, ''),
    coalesce(h.external_id, ''), coalesce(h.entry_no, 0), h.event_at)
    < (coalesce(%(after_at)s::timestamptz, 'infinity'), %(after_kind)s::text,
        %(after_system)s::text, %(after_account)s::text, %(after_id)s::text,
       %(after_no)s::integer, %(after_event_at)s::timestamptz)
ORDER BY h.posted_at DESC, h.kind DESC, coalesce(h.system, '') DESC, coalesce(h.account, '') DESC,
    coalesce(h.external_id, '') DESC,
    coalesce(h.entry_no, 0) DESC, h.event_at DESC
LIMIT %(limit)s
-- name: promotion_words
-- What each version of a promotion is called in explanations.
SELECT promotion_id || '@' || version, coalesce(nullif(parameters ->> 'title', ''),
    replace(kind, '_', ' ')) FROM loyalty.promotion
-- name: is_member
-- Whether there is such a member.
SELECT EXISTS (SELECT FROM loyalty.member WHERE member_id = %(member_id)s)
-- name: status
-- Of the synchronisations that read lists; one that listens to webhooks for minutes says nothing
-- about the billing system. Accounts that are only announced have no others.
WITH recent AS (
    SELECT * FROM billing.sync_run
    WHERE started_at > now() - make_interval(hours => %(hours)s) AND state <> 'abandoned'
      AND source = 'poll'
), of_window AS (
    SELECT r.system, r.account, count(*) FILTER (WHERE r.state = 'stored') AS succeeded,
           count(*) FILTER (WHERE r.state = 'failed') AS failed,
           coalesce(sum((r.summary ->> 'calls')::bigint), 0) AS calls,
           coalesce(sum((r.summary ->> 'throttled')::bigint), 0) AS throttled,
           coalesce(sum((r.summary ->> 'fetched')::bigint), 0) AS fetched,
           coalesce(sum((r.summary ->> 'rejected')::bigint), 0) AS rejected,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY (r.summary ->> 'response_ms_p50')::integer)
               AS p50,
           percentile_disc(0.95) WITHIN GROUP (ORDER BY (r.summary ->> 'response_ms_p95')::integer)
               AS p95
    FROM recent r GROUP BY 1, 2
), latest AS (
    SELECT DISTINCT ON (system, account) system, account, source, state, started_at, finished_at,
           error, run_id
    FROM billing.sync_run ORDER BY system, account, (source = 'poll') DESC, sync_id DESC
)
SELECT l.system, l.account, l.state, l.started_at, l.finished_at, l.error, l.run_id,
       (SELECT max(o.finished_at) FROM billing.sync_run o
           WHERE o.system = l.system AND o.account = l.account AND o.state = 'stored'
             AND o.source = l.source),
       (SELECT min(c.cursor_at) FROM billing.sync_cursor c
           WHERE c.system = l.system AND c.account = l.account),
       coalesce(w.succeeded, 0), coalesce(w.failed, 0), coalesce(w.calls, 0)::bigint,
       coalesce(w.throttled, 0)::bigint,
       coalesce(w.fetched, 0)::bigint, coalesce(w.rejected, 0)::bigint, w.p50, w.p95,
       (SELECT count(*) FROM billing.reject r
           WHERE r.system = l.system AND r.account = l.account AND r.resolved_at IS NULL)
FROM latest l LEFT JOIN of_window w USING (system, account) ORDER BY 1, 2
-- name: event_status
-- Per endpoint in use: waiting and parked events, and those of the last hours.
SELECT p.system, coalesce(p.account, ''), p.connection,
       count(*) FILTER (WHERE e.state IN ('received', 'claimed', 'failed')),
       count(*) FILTER (WHERE e.state = 'parked'),
       min(e.received_at) FILTER (WHERE e.state IN ('received', 'claimed', 'failed')),
       count(*) FILTER (WHERE e.is_recent),
       count(*) FILTER (WHERE e.is_recent AND e.state IN ('failed', 'parked')),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY e.ms) FILTER (WHERE e.is_recent),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY e.ms) FILTER (WHERE e.is_recent)
FROM billing.webhook_endpoint p
LEFT JOIN LATERAL (
    SELECT w.event_no, w.state, w.received_at,
           w.received_at > now() - make_interval(hours => %(hours)s) AS is_recent,
           CASE WHEN w.state = 'done'
                THEN round(extract(epoch FROM w.finished_at - w.received_at) * 1000)::bigint
           END AS ms
    FROM billing.webhook_event w
    WHERE w.endpoint_no = p.endpoint_no
      AND (w.state IN ('received', 'claimed', 'failed', 'parked')
          OR w.received_at > now() - make_interval(hours => %(hours)s))
) e ON true
WHERE p.disabled_at IS NULL OR e.event_no IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
