-- name: add_attempt
-- Enters how a synchronisation ended, for the pages.
INSERT INTO billing.sync_attempt (run_id, connection, system, account, kind, outcome, started_at,
    sync_id, records, new_sales, changed_sales,
    rejected, entries, points, calls, failed_calls, throttled, response_ms, error)
VALUES (%(run_id)s, %(connection)s, %(system)s, %(account)s, %(kind)s, %(outcome)s,
    least(%(started_at)s::timestamptz, clock_timestamp()), %(sync_id)s, %(records)s,
    %(new_sales)s, %(changed_sales)s, %(rejected)s, %(entries)s, %(points)s, %(calls)s,
    %(failed_calls)s, %(throttled)s, %(response_ms)s, %(error)s)
-- name: accounts
-- Per account: last success, how far it is complete, open rejects.
SELECT a.system, a.account,
       (SELECT o.finished_at FROM billing.sync_run o
           WHERE o.system = a.system AND o.account = a.account AND o.source = 'poll'
             AND o.state = 'stored'
        ORDER BY o.sync_id DESC LIMIT 1),
       (SELECT min(c.cursor_at) FROM billing.sync_cursor c
           WHERE c.system = a.system AND c.account = a.account),
       (SELECT count(*) FROM billing.reject r
        WHERE r.system = a.system AND r.account = a.account AND r.resolved_at IS NULL),
       coalesce(c.records, 0), coalesce(c.points, 0)::bigint
FROM (SELECT DISTINCT system, account FROM billing.sync_cursor
    UNION SELECT DISTINCT system, account FROM billing.reject WHERE resolved_at IS NULL) a
LEFT JOIN (SELECT system, account, count(*) AS records, sum(abs(points_at_stake)) AS points
           FROM analytics.refused_correction
           WHERE resolved_at IS NULL AND points_at_stake IS DISTINCT FROM 0
           GROUP BY 1, 2) c USING (system, account)
-- name: last_attempts
-- The latest attempt of each connection.
SELECT l.* FROM unnest(%(connections)s::text[]) AS c(name) CROSS JOIN LATERAL (
    SELECT connection, outcome, finished_at, run_id, error FROM billing.sync_attempt
    WHERE connection = c.name ORDER BY attempt_no DESC LIMIT 1) l
-- name: addresses
-- Webhook addresses in use.
SELECT p.connection, p.system, p.endpoint_id, p.handshake, p.is_default,
       EXISTS (SELECT FROM billing.webhook_secret s
           WHERE s.endpoint_no = p.endpoint_no AND coalesce(s.expires_at > now(), true)),
       (SELECT max(e.received_at) FROM billing.webhook_event e WHERE e.endpoint_no = p.endpoint_no)
FROM billing.webhook_endpoint p WHERE p.disabled_at IS NULL ORDER BY p.connection, p.endpoint_no
-- name: totals
-- A run that was interrupted is known by its account only: `names` and `accounts` say which
-- connection that is. Each attempt counts twice: for its connection, and for all ("").
WITH named AS (
    SELECT c.name, a.*
    FROM billing.sync_attempt a
    LEFT JOIN unnest(%(names)s::text[], %(systems)s::text[], %(accounts)s::text[]) AS n(name,
        system, account)
        ON a.connection IS NULL AND n.system = a.system AND n.account = a.account
    CROSS JOIN LATERAL (VALUES (''), (coalesce(a.connection, n.name, a.system))) AS c(name)
    WHERE a.finished_at >= %(since)s
), weighed AS (
    SELECT name, ms, sum(weight) OVER (PARTITION BY name ORDER BY ms) AS up_to,
           sum(weight) OVER (PARTITION BY name) AS of_all
    FROM (SELECT a.name, m.ms, a.calls::float8 / cardinality(a.response_ms) AS weight
        FROM named a, unnest(a.response_ms) AS m(ms)) w
), response AS (
    SELECT name, min(ms) FILTER (WHERE up_to >= 0.5 * of_all - 1e-9) AS p50,
           min(ms) FILTER (WHERE up_to >= 0.95 * of_all - 1e-9) AS p95
    FROM weighed GROUP BY name
), attempts AS (
    SELECT name, count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE outcome = 'failed') AS failed,
           count(*) FILTER (WHERE outcome = 'interrupted') AS interrupted,
           sum(records) AS records, sum(new_sales) AS new_sales,
           sum(changed_sales) AS changed_sales, sum(rejected) AS rejected, sum(calls) AS calls,
           sum(failed_calls) AS failed_calls, sum(throttled) AS throttled
    FROM named GROUP BY name
), posted AS (
    -- By the sales' own connection, whichever run posted them.
    SELECT c.name, sum(p.entries) AS entries, sum(p.points) AS points
    FROM loyalty.posting p
    LEFT JOIN unnest(%(names)s::text[], %(systems)s::text[], %(accounts)s::text[]) AS n(name,
        system, account) ON n.system = p.system AND n.account = p.account
    CROSS JOIN LATERAL (VALUES (''), (coalesce(n.name, p.system))) AS c(name)
    WHERE p.posted_at >= %(since)s GROUP BY 1
)
SELECT name, coalesce(a.succeeded, 0), coalesce(a.failed, 0), coalesce(a.interrupted, 0),
       coalesce(a.records, 0)::bigint, coalesce(a.new_sales, 0)::bigint,
       coalesce(a.changed_sales, 0)::bigint, coalesce(a.rejected, 0)::bigint,
       coalesce(p.entries, 0)::bigint, coalesce(p.points, 0)::bigint,
       coalesce(a.calls, 0)::bigint, coalesce(a.failed_calls, 0)::bigint,
       coalesce(a.throttled, 0)::bigint, r.p50, r.p95
FROM attempts a FULL JOIN posted p USING (name) LEFT JOIN response r USING (name) ORDER BY name
-- name: over_time
-- Attempts in equal spans of time, per system.
WITH weighed AS (
    SELECT date_bin(%(step)s, a.finished_at, %(since)s) AS at, m.ms,
           a.calls::float8 / cardinality(a.response_ms) AS weight
    FROM billing.sync_attempt a, unnest(a.response_ms) AS m(ms) WHERE a.finished_at >= %(since)s
), response AS (
    SELECT at, min(ms) FILTER (WHERE up_to >= 0.5 * of_all - 1e-9) AS p50,
           min(ms) FILTER (WHERE up_to >= 0.95 * of_all - 1e-9) AS p95
    FROM (SELECT at, ms, sum(weight) OVER (PARTITION BY at ORDER BY ms) AS up_to,
        sum(weight) OVER (PARTITION BY at) AS of_all FROM weighed) w GROUP BY at
), attempts AS (
    SELECT date_bin(%(step)s, finished_at, %(since)s) AS at, coalesce(system, '') AS system,
           count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE outcome <> 'succeeded') AS failed,
           sum(new_sales + changed_sales) AS sales
    FROM billing.sync_attempt WHERE finished_at >= %(since)s GROUP BY 1, 2
), posted AS (
    SELECT date_bin(%(step)s, posted_at, %(since)s) AS at, system, sum(points) AS points
    FROM loyalty.posting WHERE posted_at >= %(since)s GROUP BY 1, 2
)
SELECT at, system, coalesce(a.succeeded, 0), coalesce(a.failed, 0), coalesce(a.sales, 0)::bigint,
       coalesce(p.points, 0)::bigint, r.p50, r.p95
FROM attempts a FULL JOIN posted p USING (at, system) LEFT JOIN response r USING (at)
ORDER BY at, system
-- name: last_failures
-- The latest failures.
SELECT finished_at, coalesce(connection, system), outcome, run_id, error FROM billing.sync_attempt
WHERE outcome <> 'succeeded' AND finished_at >= %(since)s ORDER BY attempt_no DESC LIMIT %(limit)s
-- name: webhooks_over
-- Per connection: events of a span of time, and how long they took.
SELECT p.connection, count(*), count(*) FILTER (WHERE e.state = 'done'),
       count(*) FILTER (WHERE e.state = 'parked'),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.finished_at
           - e.received_at)::float8) FILTER (WHERE e.state = 'done'),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM e.finished_at
           - e.received_at)::float8) FILTER (WHERE e.state = 'done')
FROM billing.webhook_event e JOIN billing.webhook_endpoint p USING (endpoint_no)
WHERE e.received_at >= %(since)s GROUP BY 1 ORDER BY 1
-- name: ask_for_renewal
-- Numbers the wish; whoever renews compares before and after.
SELECT nextval('billing.page_renewal')
-- name: renewals_asked
SELECT last_value FROM billing.page_renewal
-- name: try_to_renew
-- One at a time; the lock is that of the session.
SELECT pg_try_advisory_lock(hashtextextended('billing.page_renewal', 8))
-- name: end_renewal
SELECT pg_advisory_unlock(hashtextextended('billing.page_renewal', 8))
