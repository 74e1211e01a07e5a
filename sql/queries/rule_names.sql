-- name: accounts
-- Accounts of billing systems that were read.
SELECT DISTINCT system, account FROM billing.sync_run ORDER BY 1, 2
-- name: currencies
-- Sales per currency.
SELECT currency, count(*) FROM billing.invoice WHERE status <> 'void' GROUP BY currency
-- name: tiers
-- Members per tier that was set for them last.
SELECT tier, count(*) FROM (
    SELECT DISTINCT ON (member_id) tier FROM loyalty.member_tier
    ORDER BY member_id, valid_from DESC, tier_no DESC) latest GROUP BY tier
-- name: lists
-- Lists that anybody is on.
SELECT DISTINCT list FROM loyalty.list_span
-- name: events
-- Names of events that became known.
SELECT DISTINCT name FROM loyalty.member_event
-- name: places
-- Stores, channels, cities and regions of sales.
SELECT DISTINCT p.place, p.name FROM billing.invoice i CROSS JOIN LATERAL (VALUES
    ('store', i.store), ('channel', i.channel), ('city', i.city), ('region', i.region)
) AS p(place, name)
WHERE (i.store IS NOT NULL OR i.channel IS NOT NULL OR i.city IS NOT NULL OR i.region IS NOT NULL)
  AND p.name IS NOT NULL
-- name: skus
-- Codes of products sold.
SELECT DISTINCT sku FROM billing.invoice_line WHERE sku IS NOT NULL
-- name: names
-- What lines say.
SELECT DISTINCT name FROM billing.invoice_line WHERE name IS NOT NULL
