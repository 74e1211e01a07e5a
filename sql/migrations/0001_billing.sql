-- What the billing systems said: raw pages as received, the canonical invoices read from them, and the rejects.
CREATE SCHEMA IF NOT EXISTS billing;
COMMENT ON SCHEMA billing IS 'What the billing systems said: raw pages, canonical invoices, rejects, cursors, tokens.';

CREATE TABLE billing.sync_run (
    sync_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system        text COLLATE "C" NOT NULL,
    account       text COLLATE "C" NOT NULL,
    run_id        text NOT NULL,
    state         text NOT NULL DEFAULT 'extracting'
                  CHECK (state IN ('extracting', 'extracted', 'stored', 'failed', 'abandoned')),
    requested_since timestamptz,
    requested_until timestamptz,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    streams       jsonb NOT NULL DEFAULT '{}',
    summary       jsonb,
    error         text,
    CHECK (requested_until IS NULL OR requested_since IS NULL OR requested_since < requested_until)
);
CREATE INDEX sync_run_recent ON billing.sync_run (system, account, sync_id DESC);
COMMENT ON TABLE billing.sync_run IS 'One row per synchronisation of one account: the permanent run history (Prefect''s own may be vacuumed).';
COMMENT ON COLUMN billing.sync_run.sync_id IS 'Number of the synchronisation.';
COMMENT ON COLUMN billing.sync_run.system IS 'Billing system, e.g. quickbooks, xero, freshbooks.';
COMMENT ON COLUMN billing.sync_run.account IS 'Account at the billing system: realm, tenant or shop.';
COMMENT ON COLUMN billing.sync_run.run_id IS 'Prefect flow run that did (or last continued) this synchronisation.';
COMMENT ON COLUMN billing.sync_run.state IS 'extracting: pages are being stored; extracted: all pages stored; stored: invoices in, cursor moved; failed: stopped, can be continued; abandoned: too old to continue.';
COMMENT ON COLUMN billing.sync_run.requested_since IS 'Lower bound asked for by hand; null: from the cursor.';
COMMENT ON COLUMN billing.sync_run.requested_until IS 'Upper bound asked for by hand; null: up to now. Set: the cursor does not move.';
COMMENT ON COLUMN billing.sync_run.started_at IS 'When extraction began; the cursor moves to this instant.';
COMMENT ON COLUMN billing.sync_run.finished_at IS 'When the invoices were stored, or the run failed.';
COMMENT ON COLUMN billing.sync_run.streams IS 'Per stream: window used and whether its extraction is complete.';
COMMENT ON COLUMN billing.sync_run.summary IS 'Counts for the operator: pages, records, changed, rejected by reason, entries, points.';
COMMENT ON COLUMN billing.sync_run.error IS 'Why it failed, without personal data or secrets.';

CREATE TABLE billing.raw_page (
    page_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sync_id       bigint NOT NULL REFERENCES billing.sync_run,
    system        text COLLATE "C" NOT NULL,
    account       text COLLATE "C" NOT NULL,
    stream        text COLLATE "C" NOT NULL,
    page_no       integer NOT NULL CHECK (page_no >= 1),
    record_count  integer NOT NULL CHECK (record_count >= 0),
    request       jsonb NOT NULL,
    next_request  jsonb,
    content_type  text NOT NULL,
    body_bytes    bigint NOT NULL CHECK (body_bytes >= 0),
    body_zstd     bytea NOT NULL,
    fetched_at    timestamptz NOT NULL
);
-- Bodies are compressed already; a second compression by the database would only cost time.
ALTER TABLE billing.raw_page ALTER COLUMN body_zstd SET STORAGE EXTERNAL;
CREATE INDEX raw_page_sync ON billing.raw_page (sync_id, page_id);
CREATE INDEX raw_page_stream ON billing.raw_page (system, account, stream, fetched_at);
COMMENT ON TABLE billing.raw_page IS 'Every answer of a billing system exactly as received (compressed), stored before it is interpreted.';
COMMENT ON COLUMN billing.raw_page.page_id IS 'Number of the page; invoices and rejects refer to it.';
COMMENT ON COLUMN billing.raw_page.sync_id IS 'Synchronisation that fetched it.';
COMMENT ON COLUMN billing.raw_page.system IS 'Billing system.';
COMMENT ON COLUMN billing.raw_page.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.raw_page.stream IS 'Which list of the vendor: invoices, credit_notes, customers, ...';
COMMENT ON COLUMN billing.raw_page.page_no IS 'Position within the stream of this synchronisation, from 1.';
COMMENT ON COLUMN billing.raw_page.record_count IS 'Records in the page.';
COMMENT ON COLUMN billing.raw_page.request IS 'Method, path and parameters that were asked (never credentials).';
COMMENT ON COLUMN billing.raw_page.next_request IS 'What would be asked next; an interrupted extraction continues here. Null: last page.';
COMMENT ON COLUMN billing.raw_page.content_type IS 'Content type as received.';
COMMENT ON COLUMN billing.raw_page.body_bytes IS 'Size of the body before compression, in bytes.';
COMMENT ON COLUMN billing.raw_page.body_zstd IS 'The body, byte for byte, compressed with zstd.';
COMMENT ON COLUMN billing.raw_page.fetched_at IS 'When the answer arrived.';

CREATE TABLE billing.sync_cursor (
    system     text COLLATE "C" NOT NULL,
    account    text COLLATE "C" NOT NULL,
    stream     text COLLATE "C" NOT NULL,
    cursor_at  timestamptz NOT NULL,
    sync_id    bigint NOT NULL REFERENCES billing.sync_run,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (system, account, stream)
);
COMMENT ON TABLE billing.sync_cursor IS 'Up to when each stream is known to be complete; moves only in the transaction that stores the invoices.';
COMMENT ON COLUMN billing.sync_cursor.system IS 'Billing system.';
COMMENT ON COLUMN billing.sync_cursor.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.sync_cursor.stream IS 'Which list of the vendor.';
COMMENT ON COLUMN billing.sync_cursor.cursor_at IS 'Everything changed at the vendor before this instant is stored. The next window starts an overlap earlier.';
COMMENT ON COLUMN billing.sync_cursor.sync_id IS 'Synchronisation that moved it last.';
COMMENT ON COLUMN billing.sync_cursor.moved_at IS 'When it moved.';

CREATE TABLE billing.connector_token (
    system         text COLLATE "C" NOT NULL,
    account        text COLLATE "C" NOT NULL,
    token_encrypted bytea NOT NULL,
    seed_digest    text NOT NULL,
    expires_at     timestamptz NOT NULL,
    refreshed_at   timestamptz NOT NULL DEFAULT now(),
    refresh_count  bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (system, account)
);
COMMENT ON TABLE billing.connector_token IS 'OAuth tokens, encrypted. A rotating refresh token is replaced under a row lock and committed before use.';
COMMENT ON COLUMN billing.connector_token.system IS 'Billing system.';
COMMENT ON COLUMN billing.connector_token.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.connector_token.token_encrypted IS 'Access and refresh token, encrypted with the installation''s key.';
COMMENT ON COLUMN billing.connector_token.seed_digest IS 'Fingerprint of the credentials in the block that this chain of tokens began with: new credentials in the block start a new chain.';
COMMENT ON COLUMN billing.connector_token.expires_at IS 'When the access token expires.';
COMMENT ON COLUMN billing.connector_token.refreshed_at IS 'When the token was last renewed.';
COMMENT ON COLUMN billing.connector_token.refresh_count IS 'How often it was renewed.';

CREATE TABLE billing.customer (
    system       text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    phone        text COLLATE "C" CHECK (phone ~ '^\+[1-9][0-9]{7,14}$'),
    fetched_at   timestamptz NOT NULL,
    PRIMARY KEY (system, account, external_id)
);
COMMENT ON TABLE billing.customer IS 'Phones of customers, looked up where the invoice does not carry them.';
COMMENT ON COLUMN billing.customer.system IS 'Billing system.';
COMMENT ON COLUMN billing.customer.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.customer.external_id IS 'Customer number at the billing system.';
COMMENT ON COLUMN billing.customer.phone IS 'Personal data. E.164; null: the customer has no usable phone there.';
COMMENT ON COLUMN billing.customer.fetched_at IS 'When the vendor was asked.';

CREATE TABLE billing.item (
    system       text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    sku          text,
    name         text,
    fetched_at   timestamptz NOT NULL,
    PRIMARY KEY (system, account, external_id)
);
COMMENT ON TABLE billing.item IS 'Products of a billing system, looked up where the invoice line does not carry the SKU.';
COMMENT ON COLUMN billing.item.system IS 'Billing system.';
COMMENT ON COLUMN billing.item.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.item.external_id IS 'Item number (or name, where lines have only that) at the billing system.';
COMMENT ON COLUMN billing.item.sku IS 'Stock keeping unit.';
COMMENT ON COLUMN billing.item.name IS 'Product name.';
COMMENT ON COLUMN billing.item.fetched_at IS 'When the vendor was asked.';
