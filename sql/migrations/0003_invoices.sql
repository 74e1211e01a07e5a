-- Canonical invoices and lines, each pointing back at the raw record it was read from; and the rejects.
--
-- Bulk tables (invoice, invoice_line, award_entry) have no foreign keys: one check per row doubles the time of a load. What a key
-- would guarantee is held from the other side: members and programs refuse deletion (0002, 0004), and each bulk table has a
-- single writer that takes the numbers from those tables in the same transaction. Their primary keys begin with the
-- most selective column, which halves the cost of maintaining them.
CREATE TABLE billing.invoice (
    system        text COLLATE "C" NOT NULL,
    account       text COLLATE "C" NOT NULL,
    external_id   text COLLATE "C" NOT NULL,
    invoice_number text,
    kind          text NOT NULL CHECK (kind IN ('invoice', 'sale', 'credit_note', 'refund')),
    customer_external_id text COLLATE "C",
    member_id     bigint,
    currency      text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_minor   bigint NOT NULL CHECK (total_minor >= 0),
    subtotal_minor bigint,
    tax_minor     bigint,
    amount_paid_minor bigint,
    amount_refunded_minor bigint NOT NULL DEFAULT 0 CHECK (amount_refunded_minor >= 0),
    status        text NOT NULL CHECK (status IN ('draft', 'open', 'paid', 'void')),
    issued_at     timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    page_id       bigint NOT NULL,
    record_no     integer NOT NULL,
    sync_id       bigint NOT NULL,
    stored_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (external_id, account, system),
    CONSTRAINT refund_within_total CHECK (amount_refunded_minor <= total_minor),
    CONSTRAINT payable_has_member CHECK (status IN ('draft', 'void') OR member_id IS NOT NULL)
);
CREATE INDEX invoice_member ON billing.invoice (member_id);
COMMENT ON TABLE billing.invoice IS 'Every accepted sale, credit note and refund in one shape, whatever the billing system. The newest version known.';
COMMENT ON COLUMN billing.invoice.system IS 'Billing system.';
COMMENT ON COLUMN billing.invoice.account IS 'Account at the billing system: realm, tenant or shop.';
COMMENT ON COLUMN billing.invoice.external_id IS 'Id at the billing system; documents of other kinds carry their type, e.g. CreditMemo/12.';
COMMENT ON COLUMN billing.invoice.invoice_number IS 'Number printed on the document.';
COMMENT ON COLUMN billing.invoice.kind IS 'invoice and sale earn points; credit_note and refund take them back.';
COMMENT ON COLUMN billing.invoice.customer_external_id IS 'Customer number at the billing system.';
COMMENT ON COLUMN billing.invoice.member_id IS 'Member who earns the points, found by the phone; null where a draft or void document has none.';
COMMENT ON COLUMN billing.invoice.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN billing.invoice.total_minor IS 'Total with tax, in minor units of the currency (cents); positive also for credit notes.';
COMMENT ON COLUMN billing.invoice.subtotal_minor IS 'Total without tax, minor units; null where the vendor does not say.';
COMMENT ON COLUMN billing.invoice.tax_minor IS 'Tax, minor units; null where the vendor does not say.';
COMMENT ON COLUMN billing.invoice.amount_paid_minor IS 'Paid so far, minor units; null where the vendor does not say.';
COMMENT ON COLUMN billing.invoice.amount_refunded_minor IS 'Credited or refunded so far, minor units; points follow total - refunded.';
COMMENT ON COLUMN billing.invoice.status IS 'draft and void earn nothing; open and paid earn.';
COMMENT ON COLUMN billing.invoice.issued_at IS 'When the sale happened; a date without time is midnight at the account''s own time zone.';
COMMENT ON COLUMN billing.invoice.updated_at IS 'Last change at the vendor; an older version never replaces a newer one.';
COMMENT ON COLUMN billing.invoice.page_id IS 'Raw page it was read from.';
COMMENT ON COLUMN billing.invoice.record_no IS 'Position of the record in that page, from 0.';
COMMENT ON COLUMN billing.invoice.sync_id IS 'Synchronisation that stored this version.';
COMMENT ON COLUMN billing.invoice.stored_at IS 'When this version was stored.';

CREATE TABLE billing.invoice_line (
    system       text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    line_no      integer NOT NULL CHECK (line_no >= 1),
    sku          text,
    item_external_id text,
    name         text,
    quantity     numeric(20,6),
    unit_price   numeric(20,6),
    amount_minor bigint,
    PRIMARY KEY (external_id, line_no, account, system)
);
COMMENT ON TABLE billing.invoice_line IS 'What was sold: the lines of each invoice.';
COMMENT ON COLUMN billing.invoice_line.system IS 'Billing system.';
COMMENT ON COLUMN billing.invoice_line.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.invoice_line.external_id IS 'Id of the invoice.';
COMMENT ON COLUMN billing.invoice_line.line_no IS 'Position in the invoice, from 1.';
COMMENT ON COLUMN billing.invoice_line.sku IS 'Stock keeping unit.';
COMMENT ON COLUMN billing.invoice_line.item_external_id IS 'Item at the billing system, where the line names one.';
COMMENT ON COLUMN billing.invoice_line.name IS 'Product name or description.';
COMMENT ON COLUMN billing.invoice_line.quantity IS 'Quantity sold.';
COMMENT ON COLUMN billing.invoice_line.unit_price IS 'Price of one, in whole currency units.';
COMMENT ON COLUMN billing.invoice_line.amount_minor IS 'Amount of the line, minor units of the invoice''s currency; negative for a discount.';

CREATE TABLE billing.reject (
    reject_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    stream      text COLLATE "C" NOT NULL,
    record_key  text COLLATE "C" NOT NULL,
    external_id text COLLATE "C",
    reason      text NOT NULL,
    problems    jsonb NOT NULL,
    page_id     bigint REFERENCES billing.raw_page,
    record_no   integer,
    first_sync_id bigint NOT NULL REFERENCES billing.sync_run,
    last_sync_id bigint NOT NULL REFERENCES billing.sync_run,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    times_seen  integer NOT NULL DEFAULT 1,
    resolved_at timestamptz,
    resolved_sync_id bigint REFERENCES billing.sync_run
);
CREATE UNIQUE INDEX reject_open ON billing.reject (system, account, stream, record_key) WHERE resolved_at IS NULL;
COMMENT ON TABLE billing.reject IS 'Records that could not be used, with the reason and the raw record they came from. Nothing is lost: fix the cause and they are used.';
COMMENT ON COLUMN billing.reject.reject_id IS 'Number of the reject.';
COMMENT ON COLUMN billing.reject.system IS 'Billing system.';
COMMENT ON COLUMN billing.reject.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.reject.stream IS 'Which list of the vendor.';
COMMENT ON COLUMN billing.reject.record_key IS 'What makes the record recognisable when it is seen again: its id, or else its place.';
COMMENT ON COLUMN billing.reject.external_id IS 'Id at the billing system, where the record has one.';
COMMENT ON COLUMN billing.reject.reason IS 'Why, in one line: field and cause.';
COMMENT ON COLUMN billing.reject.problems IS 'Each field that failed: field, source path, reason, masked example.';
COMMENT ON COLUMN billing.reject.page_id IS 'Raw page that holds the record; null where no single record is at fault.';
COMMENT ON COLUMN billing.reject.record_no IS 'Position of the record in that page, from 0.';
COMMENT ON COLUMN billing.reject.first_sync_id IS 'Synchronisation that rejected it first.';
COMMENT ON COLUMN billing.reject.last_sync_id IS 'Synchronisation that rejected it last.';
COMMENT ON COLUMN billing.reject.first_seen_at IS 'When it was rejected first.';
COMMENT ON COLUMN billing.reject.last_seen_at IS 'When it was rejected last.';
COMMENT ON COLUMN billing.reject.times_seen IS 'How often it was rejected.';
COMMENT ON COLUMN billing.reject.resolved_at IS 'When the record was accepted after all; null: still open.';
COMMENT ON COLUMN billing.reject.resolved_sync_id IS 'Synchronisation that accepted it.';
