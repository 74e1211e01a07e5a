-- name: enter
-- Asks for permission to send a request: its number, or how long to wait.
SELECT entered, wait_seconds FROM billing.api_enter(
    %(system)s, %(account)s, %(counts)s::int[], %(seconds)s::float8[], %(at_once)s::int,
    %(lease_seconds)s::float8)
-- name: leave
-- A request has ended, and counts from now on.
UPDATE billing.api_call SET answered = true, counts_from = clock_timestamp()
WHERE call_id = %(number)s
-- name: rest
-- Nobody asks before this instant; a pause is never made shorter.
INSERT INTO billing.api_rest (system, account, rest_until)
VALUES (%(system)s, %(account)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (system, account) DO UPDATE SET rest_until = greatest(api_rest.rest_until,
    excluded.rest_until)
