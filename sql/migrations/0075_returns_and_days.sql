-- Returns know the product, and a sale says whether its time is known.
-- Existing installations keep their program: `own_date` or `latest_sales`, and discounts that lower
-- no product. A new installation begins with what the shipped points.toml says.

ALTER TABLE loyalty.program DROP CONSTRAINT program_unlinked_credits_check;
ALTER TABLE loyalty.program
    ADD CONSTRAINT program_unlinked_credits_check
        CHECK (unlinked_credits IN ('own_date', 'latest_sales', 'returned_sales')),
    ADD COLUMN discount_lines text NOT NULL DEFAULT 'ignored'
        CHECK (discount_lines IN ('ignored', 'spread'));
COMMENT ON COLUMN loyalty.program.unlinked_credits IS
    'What a credit document takes back: what the sale gave that it returns, found by its link, its '
    'products or its amount (returned_sales); of one that names no invoice, what the customer''s '
    'latest sales gave (latest_sales); points at its own date (own_date).';
COMMENT ON COLUMN loyalty.program.discount_lines IS
    'Whether a discount lowers the products that it discounts (spread), or the sale only (ignored): '
    'it decides what product bonuses count.';

-- All migrations of a new installation are applied in one transaction, so they have one time.
ALTER TABLE loyalty.program DISABLE TRIGGER program_append_only;
UPDATE loyalty.program SET unlinked_credits = 'returned_sales', discount_lines = 'spread'
WHERE version = 1 AND created_by = 'installation'
  AND (SELECT applied_at = now() FROM public.schema_migration WHERE name = '0004_program_v1');
ALTER TABLE loyalty.program ENABLE TRIGGER program_append_only;

ALTER TABLE billing.invoice
    ADD COLUMN time_known boolean,
    ADD COLUMN original_external_id text COLLATE "C";
COMMENT ON COLUMN billing.invoice.time_known IS
    'Whether issued_at has a time of day. False: the vendor tells a day, and issued_at is its '
    'beginning. Null: read by an older release, and counted as an instant.';
COMMENT ON COLUMN billing.invoice.original_external_id IS
    'Of a credit document: id or number of the sale that it returns; null where the vendor does '
    'not say.';

CREATE OR REPLACE VIEW analytics.sale AS
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status,
       coalesce(o.owner_id, i.member_id) AS member_id, i.currency,
       billing.major_units(i.total_minor, i.currency) AS total,
       billing.major_units(i.subtotal_minor, i.currency) AS subtotal,
       billing.major_units(i.tax_minor, i.currency) AS tax,
       billing.major_units(i.amount_refunded_minor, i.currency) AS refunded,
       coalesce(p.points, 0)::bigint AS points, coalesce(p.entries, 0)::integer AS entries,
       i.issued_at, i.updated_at, i.stored_at, i.time_known, i.original_external_id
FROM billing.invoice i LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
LEFT JOIN LATERAL (SELECT sum(e.points) AS points, count(*) AS entries
    FROM loyalty.award_entry e
    WHERE e.member_id = coalesce(o.owner_id, i.member_id)
      AND e.external_id = i.external_id AND e.account = i.account AND e.system = i.system) p
    ON true;
COMMENT ON COLUMN analytics.sale.time_known IS
    'Whether issued_at has a time of day; false: it is the beginning of the document''s day.';
COMMENT ON COLUMN analytics.sale.original_external_id IS
    'Of a credit document: id or number of the sale that it returns, where the vendor says so.';
