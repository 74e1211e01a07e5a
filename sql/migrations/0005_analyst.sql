-- What analysts read: views without joins to write and without personal data, and a role that sees nothing else.
CREATE SCHEMA IF NOT EXISTS analytics;
COMMENT ON SCHEMA analytics IS 'Views for analysts: amounts in whole currency units, no personal data, nothing to join.';

-- Whole units of an amount in minor units; the exponent follows ISO 4217 (yen has none, dinars three).
CREATE FUNCTION billing.major_units(amount_minor bigint, currency text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF')
            THEN amount_minor::numeric
        WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN round(amount_minor::numeric / 1000, 3)
        WHEN currency IN ('CLF', 'UYW') THEN round(amount_minor::numeric / 10000, 4)
        ELSE round(amount_minor::numeric / 100, 2) END
$$;
COMMENT ON FUNCTION billing.major_units(bigint, text) IS 'Amount in whole units of the currency, from minor units.';

CREATE VIEW analytics.sale AS
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
    WHERE (e.external_id, e.account, e.system) = (i.external_id, i.account, i.system)
) p ON true;
COMMENT ON VIEW analytics.sale IS 'One row per sale, credit note or refund with the points it gave.';
COMMENT ON COLUMN analytics.sale.system IS 'Billing system.';
COMMENT ON COLUMN analytics.sale.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.sale.external_id IS 'Id at the billing system.';
COMMENT ON COLUMN analytics.sale.invoice_number IS 'Number printed on the document.';
COMMENT ON COLUMN analytics.sale.kind IS 'invoice, sale, credit_note or refund.';
COMMENT ON COLUMN analytics.sale.status IS 'draft, open, paid or void.';
COMMENT ON COLUMN analytics.sale.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.sale.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN analytics.sale.total IS 'Total with tax, in whole currency units.';
COMMENT ON COLUMN analytics.sale.subtotal IS 'Total without tax.';
COMMENT ON COLUMN analytics.sale.tax IS 'Tax.';
COMMENT ON COLUMN analytics.sale.refunded IS 'Credited or refunded so far.';
COMMENT ON COLUMN analytics.sale.points IS 'Points posted for it, all corrections included.';
COMMENT ON COLUMN analytics.sale.entries IS 'Number of ledger entries.';
COMMENT ON COLUMN analytics.sale.issued_at IS 'When the sale happened.';
COMMENT ON COLUMN analytics.sale.updated_at IS 'Last change at the vendor.';
COMMENT ON COLUMN analytics.sale.stored_at IS 'When this version reached us.';

CREATE VIEW analytics.sale_line AS
SELECT l.system, l.account, l.external_id, i.invoice_number, i.kind, i.status, i.member_id, i.issued_at,
       l.line_no, l.sku, l.name, l.quantity, l.unit_price, i.currency,
       billing.major_units(l.amount_minor, i.currency) AS amount
FROM billing.invoice_line l
JOIN billing.invoice i USING (external_id, account, system);
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

CREATE VIEW analytics.award AS
SELECT e.system, e.account, e.external_id, i.invoice_number, e.member_id, e.entry_no, e.reason, e.points, e.due_before, e.due_after,
       e.breakdown, e.tier, e.currency, billing.major_units(e.net_minor, e.currency) AS net_amount,
       e.program_version, e.event_at, e.posted_at, e.run_id
FROM loyalty.award_entry e
LEFT JOIN billing.invoice i USING (external_id, account, system);
COMMENT ON VIEW analytics.award IS 'One row per ledger entry, with what explains it.';
COMMENT ON COLUMN analytics.award.system IS 'Billing system of the sale.';
COMMENT ON COLUMN analytics.award.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.award.external_id IS 'Id of the sale.';
COMMENT ON COLUMN analytics.award.invoice_number IS 'Number printed on the document.';
COMMENT ON COLUMN analytics.award.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.award.entry_no IS 'Position in the chain of this sale and member.';
COMMENT ON COLUMN analytics.award.reason IS 'award, edit, refund, void or moved.';
COMMENT ON COLUMN analytics.award.points IS 'What the entry adds to or takes from the balance.';
COMMENT ON COLUMN analytics.award.due_before IS 'Points posted for the sale before.';
COMMENT ON COLUMN analytics.award.due_after IS 'Points due for the sale after.';
COMMENT ON COLUMN analytics.award.breakdown IS 'Points per rule; they sum to due_after.';
COMMENT ON COLUMN analytics.award.tier IS 'Tier in force at the sale.';
COMMENT ON COLUMN analytics.award.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN analytics.award.net_amount IS 'Amount that earned, in whole currency units.';
COMMENT ON COLUMN analytics.award.program_version IS 'Version of the program in force at the sale.';
COMMENT ON COLUMN analytics.award.event_at IS 'When the sale happened.';
COMMENT ON COLUMN analytics.award.posted_at IS 'When the entry was posted.';
COMMENT ON COLUMN analytics.award.run_id IS 'Prefect flow run that posted it.';

CREATE VIEW analytics.member AS
SELECT m.member_id, coalesce(t.tier, p.entry_tier) AS tier, coalesce(b.balance_points, 0) AS balance_points,
       coalesce(b.added_points, 0) AS added_points, coalesce(b.taken_back_points, 0) AS taken_back_points,
       coalesce(b.entries, 0) AS entries, b.last_posted_at, m.created_at
FROM loyalty.member m
CROSS JOIN LATERAL (SELECT entry_tier FROM loyalty.program WHERE valid_from <= now() ORDER BY valid_from DESC LIMIT 1) p
LEFT JOIN loyalty.member_balance b USING (member_id)
LEFT JOIN LATERAL (
    SELECT tier FROM loyalty.member_tier t WHERE t.member_id = m.member_id AND valid_from <= now()
    ORDER BY valid_from DESC, tier_no DESC LIMIT 1
) t ON true;
COMMENT ON VIEW analytics.member IS 'One row per member: tier now and balance. No phone, no name.';
COMMENT ON COLUMN analytics.member.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.member.tier IS 'Tier in force now.';
COMMENT ON COLUMN analytics.member.balance_points IS 'Balance.';
COMMENT ON COLUMN analytics.member.added_points IS 'Points added in all.';
COMMENT ON COLUMN analytics.member.taken_back_points IS 'Points taken back in all, as a positive number.';
COMMENT ON COLUMN analytics.member.entries IS 'Ledger entries.';
COMMENT ON COLUMN analytics.member.last_posted_at IS 'When the last entry was posted.';
COMMENT ON COLUMN analytics.member.created_at IS 'When the member was first seen.';

CREATE VIEW analytics.reject AS
SELECT reject_id, system, account, stream, external_id, reason, first_seen_at, last_seen_at, times_seen, resolved_at
FROM billing.reject;
COMMENT ON VIEW analytics.reject IS 'Records that could not be used, and why.';
COMMENT ON COLUMN analytics.reject.reject_id IS 'Number of the reject.';
COMMENT ON COLUMN analytics.reject.system IS 'Billing system.';
COMMENT ON COLUMN analytics.reject.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.reject.stream IS 'Which list of the vendor.';
COMMENT ON COLUMN analytics.reject.external_id IS 'Id at the billing system, where the record has one.';
COMMENT ON COLUMN analytics.reject.reason IS 'Field and cause.';
COMMENT ON COLUMN analytics.reject.first_seen_at IS 'When it was rejected first.';
COMMENT ON COLUMN analytics.reject.last_seen_at IS 'When it was rejected last.';
COMMENT ON COLUMN analytics.reject.times_seen IS 'How often it was rejected.';
COMMENT ON COLUMN analytics.reject.resolved_at IS 'When it was accepted after all; null: open.';

CREATE VIEW analytics.sync AS
SELECT sync_id, system, account, state, run_id, started_at, finished_at,
       extract(epoch FROM finished_at - started_at)::numeric(12, 3) AS seconds,
       (summary ->> 'fetched')::bigint  AS fetched_records,
       (summary ->> 'new')::bigint      AS new_sales,
       (summary ->> 'changed')::bigint  AS changed_sales,
       (summary ->> 'rejected')::bigint AS rejected_records,
       (summary ->> 'entries')::bigint  AS entries,
       (summary ->> 'points')::bigint   AS points,
       error
FROM billing.sync_run;
COMMENT ON VIEW analytics.sync IS 'One row per synchronisation: when, how long, what came of it.';
COMMENT ON COLUMN analytics.sync.sync_id IS 'Number of the synchronisation.';
COMMENT ON COLUMN analytics.sync.system IS 'Billing system.';
COMMENT ON COLUMN analytics.sync.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.sync.state IS 'extracting, extracted, stored, failed or abandoned.';
COMMENT ON COLUMN analytics.sync.run_id IS 'Prefect flow run.';
COMMENT ON COLUMN analytics.sync.started_at IS 'When it began.';
COMMENT ON COLUMN analytics.sync.finished_at IS 'When it ended.';
COMMENT ON COLUMN analytics.sync.seconds IS 'How long it took.';
COMMENT ON COLUMN analytics.sync.fetched_records IS 'Records fetched from the vendor.';
COMMENT ON COLUMN analytics.sync.new_sales IS 'Sales seen for the first time.';
COMMENT ON COLUMN analytics.sync.changed_sales IS 'Sales whose stored version changed.';
COMMENT ON COLUMN analytics.sync.rejected_records IS 'Records that could not be used.';
COMMENT ON COLUMN analytics.sync.entries IS 'Ledger entries posted.';
COMMENT ON COLUMN analytics.sync.points IS 'Points posted, corrections included.';
COMMENT ON COLUMN analytics.sync.error IS 'Why it failed.';

-- Roles belong to the whole server: two databases may create it at once, and a hosted database may forbid it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN CREATE ROLE analyst NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
GRANT USAGE ON SCHEMA analytics TO analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO analyst;
GRANT USAGE ON SCHEMA billing, loyalty TO analyst;
GRANT SELECT ON loyalty.award_entry, loyalty.member_balance, loyalty.member_tier, loyalty.program, loyalty.promotion TO analyst;
GRANT SELECT ON billing.invoice, billing.invoice_line TO analyst;
