-- Keys of the bulk tables that fill from left to right: maintaining an index on long random texts costs more than the rows themselves.
--
-- A line is a part of one raw record, so it is named by that record's place (page, record) and its own number; the invoice
-- names the same record as its source. An entry's chain begins with its member, as every reader but one asks.
CREATE TABLE billing.line_by_record (
    page_id      bigint NOT NULL,
    record_no    integer NOT NULL,
    line_no      integer NOT NULL CHECK (line_no >= 1),
    sku          text,
    item_external_id text,
    name         text,
    quantity     numeric(20,6),
    unit_price   numeric(20,6),
    amount_minor bigint,
    PRIMARY KEY (page_id, record_no, line_no)
);
INSERT INTO billing.line_by_record
SELECT i.page_id, i.record_no, l.line_no, l.sku, l.item_external_id, l.name, l.quantity, l.unit_price, l.amount_minor
FROM billing.invoice_line l JOIN billing.invoice i USING (external_id, account, system)
ORDER BY 1, 2, 3;
DROP VIEW analytics.sale_line;
DROP TABLE billing.invoice_line;
ALTER TABLE billing.line_by_record RENAME TO invoice_line;
ALTER TABLE billing.invoice_line RENAME CONSTRAINT line_by_record_pkey TO invoice_line_pkey;
ALTER TABLE billing.invoice_line RENAME CONSTRAINT line_by_record_line_no_check TO invoice_line_line_no_check;
COMMENT ON TABLE billing.invoice_line IS 'What was sold: the lines of each invoice. They belong to the invoice with the same page_id and record_no.';
COMMENT ON COLUMN billing.invoice_line.page_id IS 'Raw page the invoice was read from.';
COMMENT ON COLUMN billing.invoice_line.record_no IS 'Position of the invoice in that page, from 0.';
COMMENT ON COLUMN billing.invoice_line.line_no IS 'Position in the invoice, from 1.';
COMMENT ON COLUMN billing.invoice_line.sku IS 'Stock keeping unit.';
COMMENT ON COLUMN billing.invoice_line.item_external_id IS 'Item at the billing system, where the line names one.';
COMMENT ON COLUMN billing.invoice_line.name IS 'Product name or description.';
COMMENT ON COLUMN billing.invoice_line.quantity IS 'Quantity sold.';
COMMENT ON COLUMN billing.invoice_line.unit_price IS 'Price of one, in whole currency units.';
COMMENT ON COLUMN billing.invoice_line.amount_minor IS 'Amount of the line, minor units of the invoice''s currency; negative for a discount.';

CREATE VIEW analytics.sale_line AS
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status, i.member_id, i.issued_at,
       l.line_no, l.sku, l.name, l.quantity, l.unit_price, i.currency,
       billing.major_units(l.amount_minor, i.currency) AS amount
FROM billing.invoice_line l
JOIN billing.invoice i USING (page_id, record_no);
COMMENT ON VIEW analytics.sale_line IS 'One row per product line, with the sale''s own facts beside it.';
COMMENT ON VIEW analytics.sale_line IS 'One row per product line, with the sale''s own facts beside it.';
COMMENT ON COLUMN analytics.sale_line.system IS 'Billing system.';
COMMENT ON COLUMN analytics.sale_line.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.sale_line.external_id IS 'Id of the sale.';
COMMENT ON COLUMN analytics.sale_line.invoice_number IS 'Number printed on the document.';
COMMENT ON COLUMN analytics.sale_line.kind IS 'invoice, sale, credit_note or refund.';
COMMENT ON COLUMN analytics.sale_line.status IS 'draft, open, paid or void.';
COMMENT ON COLUMN analytics.sale_line.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.sale_line.issued_at IS 'When the sale happened.';
COMMENT ON COLUMN analytics.sale_line.line_no IS 'Position in the sale, from 1.';
COMMENT ON COLUMN analytics.sale_line.sku IS 'Stock keeping unit.';
COMMENT ON COLUMN analytics.sale_line.name IS 'Product name or description.';
COMMENT ON COLUMN analytics.sale_line.quantity IS 'Quantity sold.';
COMMENT ON COLUMN analytics.sale_line.unit_price IS 'Price of one.';
COMMENT ON COLUMN analytics.sale_line.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN analytics.sale_line.amount IS 'Amount of the line in whole currency units; negative for a discount.';

ALTER TABLE loyalty.award_entry DROP CONSTRAINT award_entry_pkey;
DROP INDEX loyalty.award_entry_member;
ALTER TABLE loyalty.award_entry ADD PRIMARY KEY (member_id, external_id, account, system, entry_no);
-- Only corrections are looked for by document: who else ever had points for it. The first entry is found by the invoice's member.
CREATE INDEX award_entry_corrected ON loyalty.award_entry (external_id) WHERE entry_no > 1;

CREATE OR REPLACE VIEW analytics.sale AS
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status, i.member_id, i.currency,
       billing.major_units(i.total_minor, i.currency)           AS total,
       billing.major_units(i.subtotal_minor, i.currency)        AS subtotal,
       billing.major_units(i.tax_minor, i.currency)             AS tax,
       billing.major_units(i.amount_refunded_minor, i.currency) AS refunded,
       coalesce(p.points, 0)::bigint                            AS points,
       coalesce(p.entries, 0)::integer                          AS entries,
       i.issued_at, i.updated_at, i.stored_at
FROM billing.invoice i
LEFT JOIN LATERAL (
    SELECT sum(e.points) AS points, count(*) AS entries FROM loyalty.award_entry e
    WHERE (e.member_id, e.external_id, e.account, e.system) = (i.member_id, i.external_id, i.account, i.system)
) p ON true;
COMMENT ON VIEW analytics.sale IS 'One row per sale, credit note or refund with the points it gave its member.';
COMMENT ON COLUMN analytics.sale.entries IS 'Number of ledger entries of its member.';

GRANT SELECT ON analytics.sale_line, billing.invoice_line TO analyst;
