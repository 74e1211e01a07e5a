-- name: rates
-- The rate in force of each currency and day: the one that was entered last.
SELECT rate_id, currency, base_currency, valid_on - date '1970-01-01',
       valid_until - date '1970-01-01', (rate * 1000000000)::bigint
FROM loyalty.fx_rate WHERE base_currency = ANY(%(bases)s) ORDER BY rate_id
-- name: lock
-- One load at a time.
LOCK TABLE loyalty.fx_rate IN SHARE ROW EXCLUSIVE MODE
-- name: known
-- Stored rates of these currencies and days.
SELECT DISTINCT ON (r.currency, r.base_currency, r.valid_on) r.currency, r.base_currency,
       r.valid_on, r.valid_until, r.rate
FROM loyalty.fx_rate r
JOIN unnest(%(currencies)s::text[], %(bases)s::text[], %(days)s::date[]) AS w(currency,
    base_currency, valid_on)
    USING (currency, base_currency, valid_on)
ORDER BY r.currency, r.base_currency, r.valid_on, r.rate_id DESC
-- name: add
-- Adds rates; none is ever changed.
INSERT INTO loyalty.fx_rate (currency, base_currency, valid_on, valid_until, rate, source, run_id)
SELECT w.currency, w.base_currency, w.valid_on, w.valid_until, w.rate, %(source)s, %(run_id)s
FROM unnest(%(currencies)s::text[], %(bases)s::text[], %(days)s::date[], %(ends)s::date[],
    %(rates)s::numeric[])
    AS w(currency, base_currency, valid_on, valid_until, rate)
ORDER BY w.valid_on, w.base_currency, w.currency
