-- The schema of the ledger database as it is after all migrations, for reading.
-- Made by `python -m scripts.schema` from a migrated database. Do not edit it, and make no database
-- of it: sql/migrations is what counts, and a test holds this file equal to it.
-- Left out: the monthly partitions of billing.http_attempt (see billing.keep_attempt_months).


-- ==================== billing ====================

-- What the billing systems said: raw pages, canonical invoices, rejects, cursors, tokens.
CREATE SCHEMA billing;
GRANT USAGE ON SCHEMA billing TO analyst;
GRANT USAGE ON SCHEMA billing TO twezah_api;
GRANT USAGE ON SCHEMA billing TO twezah_panel;
GRANT USAGE ON SCHEMA billing TO twezah_worker;

-- One row per synchronisation of one account: the permanent run history (Prefect's own may be
-- vacuumed).
CREATE TABLE billing.sync_run (
    -- Number of the synchronisation.
    sync_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Billing system, e.g. quickbooks, xero, freshbooks.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system: realm, tenant or shop.
    account text COLLATE "C" NOT NULL,
    -- Prefect flow run that did (or last continued) this synchronisation.
    run_id text NOT NULL,
    -- extracting: pages are being stored; extracted: all pages stored; stored: invoices in, cursor
    -- moved; failed: stopped, can be continued; abandoned: too old to continue.
    state text NOT NULL DEFAULT 'extracting',
    -- Lower bound asked for by hand; null: from the cursor.
    requested_since timestamptz,
    -- Upper bound asked for by hand; null: up to now. Set: the cursor does not move.
    requested_until timestamptz,
    -- When extraction began; the cursor moves to this instant.
    started_at timestamptz NOT NULL DEFAULT now(),
    -- When the invoices were stored, or the run failed.
    finished_at timestamptz,
    -- Per list of the vendor, as JSON: the window that is read, and whether its pages are all
    -- stored. An interrupted run continues by it.
    streams jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- Counts for the operator: pages, records, changed, rejected by reason, entries, points.
    summary jsonb,
    -- Why it failed, without personal data or secrets.
    error text,
    -- poll: the vendor's lists were read, and cursors moved. webhook: the vendor announced the
    -- sales, and no cursor moved.
    source text NOT NULL DEFAULT 'poll',
    CONSTRAINT sync_run_pkey PRIMARY KEY (sync_id),
    CONSTRAINT sync_run_check CHECK (requested_until IS NULL OR requested_since IS NULL
        OR requested_since < requested_until),
    CONSTRAINT sync_run_source_check CHECK (source IN ('poll', 'webhook')),
    CONSTRAINT sync_run_state_check CHECK (state IN ('extracting', 'extracted', 'stored', 'failed',
        'abandoned'))
);
-- The newest synchronisation of an account that read lists.
CREATE INDEX sync_run_poll ON billing.sync_run (system, account, sync_id DESC)
    WHERE (source = 'poll');
-- The newest synchronisations of an account, of either source.
CREATE INDEX sync_run_recent ON billing.sync_run (system, account, sync_id DESC);
CREATE TRIGGER continued AFTER UPDATE OF run_id ON billing.sync_run FOR EACH ROW
    WHEN (old.source = 'poll' AND (old.state IN ('extracting', 'extracted')))
    EXECUTE FUNCTION billing.note_interrupted();
CREATE TRIGGER set_aside AFTER UPDATE OF state ON billing.sync_run FOR EACH ROW
    WHEN (old.source = 'poll' AND (old.state IN ('extracting', 'extracted'))
    AND new.state = 'abandoned' AND new.finished_at IS NOT NULL)
    EXECUTE FUNCTION billing.note_interrupted();
CREATE TRIGGER sync_run_audited AFTER INSERT OR UPDATE ON billing.sync_run FOR EACH ROW
    WHEN (new.source = 'poll') EXECUTE FUNCTION audit.on_sync_run();
GRANT SELECT ON billing.sync_run TO twezah_api;
GRANT SELECT ON billing.sync_run TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.sync_run TO twezah_worker;

-- Every answer of a billing system exactly as received (compressed), stored before it is
-- interpreted.
CREATE TABLE billing.raw_page (
    -- Number of the page; invoices and rejects refer to it. A higher number was stored later.
    page_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Synchronisation that fetched it.
    sync_id bigint NOT NULL,
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Which list of the vendor: invoices, credit_notes, customers, ...
    stream text COLLATE "C" NOT NULL,
    -- Position within the stream of this synchronisation, from 1.
    page_no integer NOT NULL,
    -- Records in the page.
    record_count integer NOT NULL,
    -- Personal data where a customer was looked up by number. Method, path and parameters that were
    -- asked (never credentials).
    request jsonb NOT NULL,
    -- The request for the page after this one: an interrupted extraction continues with it. Null:
    -- this is the last page.
    next_request jsonb,
    -- Content type as received.
    content_type text NOT NULL,
    -- Size of the body before compression, in bytes.
    body_bytes bigint NOT NULL,
    -- Personal data. The body as received, packed; null: its retention ended.
    body_zstd bytea STORAGE EXTERNAL,
    -- When the answer arrived.
    fetched_at timestamptz NOT NULL,
    -- When the request was sent; fetched_at is when the answer had arrived. Null: not recorded
    -- (pages of older releases), read as fetched_at.
    asked_at timestamptz,
    CONSTRAINT raw_page_pkey PRIMARY KEY (page_id),
    CONSTRAINT raw_page_body_bytes_check CHECK (body_bytes >= 0),
    CONSTRAINT raw_page_page_no_check CHECK (page_no >= 1),
    CONSTRAINT raw_page_record_count_check CHECK (record_count >= 0),
    CONSTRAINT raw_page_sync_id_fkey FOREIGN KEY (sync_id) REFERENCES billing.sync_run(sync_id)
);
CREATE INDEX raw_page_stream ON billing.raw_page (system, account, stream, fetched_at);
CREATE INDEX raw_page_sync ON billing.raw_page (sync_id, page_id);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.raw_page TO twezah_worker;

-- Up to when each stream is known to be complete; moves only in the transaction that stores the
-- invoices.
CREATE TABLE billing.sync_cursor (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Which list of the vendor.
    stream text COLLATE "C" NOT NULL,
    -- Every change at the vendor before this instant is stored. The next read begins an overlap
    -- earlier, because vendors' indexes lag.
    cursor_at timestamptz NOT NULL,
    -- Synchronisation that moved it last.
    sync_id bigint NOT NULL,
    -- When it moved.
    moved_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sync_cursor_pkey PRIMARY KEY (system, account, stream),
    CONSTRAINT sync_cursor_sync_id_fkey FOREIGN KEY (sync_id) REFERENCES billing.sync_run(sync_id)
);
GRANT SELECT ON billing.sync_cursor TO twezah_api;
GRANT SELECT ON billing.sync_cursor TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.sync_cursor TO twezah_worker;

-- OAuth tokens, encrypted. A rotating refresh token is replaced under a row lock and committed
-- before use.
CREATE TABLE billing.connector_token (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account whose connection renewed it last; others may use it too.
    account text COLLATE "C" NOT NULL,
    -- Access and refresh token, encrypted with the installation's key.
    token_encrypted bytea NOT NULL,
    -- Fingerprint of the credentials in the block that this chain of tokens began with: new
    -- credentials in the block start a new chain.
    seed_digest text NOT NULL,
    -- When the access token expires.
    expires_at timestamptz NOT NULL,
    -- When the token was last renewed.
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    -- How often it was renewed.
    refresh_count bigint NOT NULL DEFAULT 1,
    CONSTRAINT connector_token_pkey PRIMARY KEY (system, seed_digest)
);
CREATE TRIGGER connector_token_audited AFTER INSERT ON billing.connector_token FOR EACH ROW
    EXECUTE FUNCTION audit.on_token();
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.connector_token TO twezah_worker;

-- Phones of customers, looked up where the invoice does not carry them.
CREATE TABLE billing.customer (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Pseudonym. Customer number at the billing system.
    external_id text COLLATE "C" NOT NULL,
    -- Personal data. E.164; null: the customer has no usable phone there.
    phone text COLLATE "C",
    -- When the vendor was asked.
    fetched_at timestamptz NOT NULL,
    CONSTRAINT customer_pkey PRIMARY KEY (system, account, external_id),
    CONSTRAINT customer_phone_check CHECK (phone ~ '^\+[1-9][0-9]{7,14}$')
);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.customer TO twezah_worker;

-- Products of a billing system, looked up where the invoice line does not carry the SKU.
CREATE TABLE billing.item (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Item number (or name, where lines have only that) at the billing system.
    external_id text COLLATE "C" NOT NULL,
    -- Stock keeping unit.
    sku text,
    -- Product name.
    name text,
    -- When the vendor was asked.
    fetched_at timestamptz NOT NULL,
    CONSTRAINT item_pkey PRIMARY KEY (system, account, external_id)
);
GRANT SELECT ON billing.item TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.item TO twezah_worker;

-- Every accepted sale, credit note and refund in one shape, whatever the billing system. The newest
-- version known.
CREATE TABLE billing.invoice (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system: realm, tenant or shop.
    account text COLLATE "C" NOT NULL,
    -- Id at the billing system; documents of other kinds carry their type, e.g. CreditMemo/12.
    external_id text COLLATE "C" NOT NULL,
    -- Number printed on the document.
    invoice_number text,
    -- invoice and sale earn points; credit_note and refund take them back.
    kind text NOT NULL,
    -- Pseudonym. Customer number at the billing system.
    customer_external_id text COLLATE "C",
    -- Member who earns the points, found by the phone; null where a draft or void document has
    -- none.
    member_id bigint,
    -- ISO 4217 code.
    currency text COLLATE "C" NOT NULL,
    -- Total with tax, in minor units of the currency (cents); positive also for credit notes.
    total_minor bigint NOT NULL,
    -- Total without tax, minor units; null where the vendor does not say.
    subtotal_minor bigint,
    -- Tax, minor units; null where the vendor does not say.
    tax_minor bigint,
    -- Paid so far, minor units; null where the vendor does not say.
    amount_paid_minor bigint,
    -- Credited or refunded so far, minor units; points follow total - refunded.
    amount_refunded_minor bigint NOT NULL DEFAULT 0,
    -- draft and void earn nothing; open and paid earn.
    status text NOT NULL,
    -- When the sale happened; a date without time is midnight at the account's own time zone.
    issued_at timestamptz NOT NULL,
    -- Last change at the vendor, in the vendor's time. Where that time was in the future when it
    -- was read: the time of reading (see claimed_at).
    updated_at timestamptz NOT NULL,
    -- Raw page of the stored version. With record_no it is the key of the sale's lines.
    page_id bigint NOT NULL,
    -- Position of the record in that page, from 0.
    record_no integer NOT NULL,
    -- Synchronisation that stored this version.
    sync_id bigint NOT NULL,
    -- When this version was stored.
    stored_at timestamptz NOT NULL DEFAULT now(),
    -- The vendor's time of change where it cannot be right, because it was in the future. Null for
    -- nearly all sales.
    claimed_at timestamptz,
    -- Raw page that says that the sale is void, where that is not the page of the sale itself: a
    -- list of deletions, or the newest page when a deletion came without one. Null otherwise.
    seen_page_id bigint,
    -- Ids of the same sale in other systems, divided by blanks: payment:ID (given by a payment
    -- service) and order:ID (number or id of an order or invoice elsewhere). Null: none are named.
    reference_ids text,
    -- Whether issued_at has a time of day. False: the vendor tells a day, and issued_at is its
    -- beginning. Null: read by an older release, and counted as an instant.
    time_known boolean,
    -- Of a credit document: id or number of the sale that it returns; null where the vendor does
    -- not say.
    original_external_id text COLLATE "C",
    -- Shop, branch or warehouse that sold it: its name, else its id; null where the vendor does not
    -- say.
    store text,
    -- How it was sold, as the vendor says: pos, web, ...; null where it does not say.
    channel text,
    -- City that it went to, else that of the customer; null where the vendor does not say.
    city text,
    -- Province or state of that city; null where the vendor does not say.
    region text,
    CONSTRAINT invoice_pkey PRIMARY KEY (external_id, account, system),
    CONSTRAINT invoice_amount_refunded_minor_check CHECK (amount_refunded_minor >= 0),
    CONSTRAINT invoice_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT invoice_kind_check CHECK (kind IN ('invoice', 'sale', 'credit_note', 'refund')),
    CONSTRAINT invoice_status_check CHECK (status IN ('draft', 'open', 'paid', 'void')),
    CONSTRAINT invoice_total_minor_check CHECK (total_minor >= 0),
    CONSTRAINT payable_has_member CHECK ((status IN ('draft', 'void')) OR member_id IS NOT NULL),
    CONSTRAINT refund_within_total CHECK (amount_refunded_minor <= total_minor)
);
CREATE INDEX invoice_issued ON billing.invoice (issued_at);
CREATE INDEX invoice_member ON billing.invoice (member_id);
-- Finds the id of a document that a webhook names by its number.
CREATE INDEX invoice_number ON billing.invoice (account, invoice_number, system)
    WHERE ((system IN ('custom', 'push')) AND (external_id IS DISTINCT FROM invoice_number));
GRANT SELECT ON billing.invoice TO twezah_api;
GRANT SELECT ON billing.invoice TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.invoice TO twezah_worker;
GRANT SELECT (system, account, kind, member_id, currency, total_minor, subtotal_minor, tax_minor, amount_paid_minor, amount_refunded_minor, status, issued_at, updated_at, page_id, record_no, sync_id, stored_at, claimed_at, time_known) ON billing.invoice TO analyst;

-- Records that could not be used, with the reason and the raw record they came from. Nothing is
-- lost: fix the cause and they are used.
CREATE TABLE billing.reject (
    -- Number of the reject.
    reject_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Which list of the vendor.
    stream text COLLATE "C" NOT NULL,
    -- Personal data where a row of a file names a person. Recognises the record when it is rejected
    -- again: its id; for a row of a file without an id, the file's name and what the row holds.
    record_key text COLLATE "C" NOT NULL,
    -- Id at the billing system, where the record has one.
    external_id text COLLATE "C",
    -- Why, in one line: field and cause.
    reason text NOT NULL,
    -- Personal data, masked. Each field that failed: field, source path, reason, masked example.
    problems jsonb NOT NULL,
    -- Raw page that holds the record; null where no single record is at fault.
    page_id bigint,
    -- Position of the record in that page, from 0.
    record_no integer,
    -- Synchronisation that rejected it first.
    first_sync_id bigint NOT NULL,
    -- Synchronisation that rejected it last.
    last_sync_id bigint NOT NULL,
    -- When it was rejected first.
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    -- When it was rejected last.
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    -- How often it was rejected.
    times_seen integer NOT NULL DEFAULT 1,
    -- When the record was accepted after all; null: still open.
    resolved_at timestamptz,
    -- Synchronisation that accepted it.
    resolved_sync_id bigint,
    -- Pseudonym. Customer number at the billing system, where the record could be read so far: once
    -- a phone is known of it, the record is tried again.
    customer_external_id text COLLATE "C",
    -- Fingerprint of the mapping that rejected it last: once it is another one, the record is tried
    -- again.
    mapping_digest text,
    -- correction: the record changes or takes back a sale that has points, which stay until it is
    -- accepted. record: any other.
    class text NOT NULL DEFAULT 'record',
    -- invoice, sale, credit_note or refund, as read. This and the next three are null where the
    -- record does not say, and of records rejected by older releases until they are tried again.
    sale_kind text,
    -- Currency as read; it may be why it is rejected.
    currency text,
    -- Total with tax as read, minor units.
    total_minor bigint,
    -- When the sale happened, as read.
    issued_at timestamptz,
    -- When the vendor last changed the record, as read; null where it does not say, and of records
    -- rejected by older releases until they are tried again.
    updated_at timestamptz,
    CONSTRAINT reject_pkey PRIMARY KEY (reject_id),
    CONSTRAINT reject_class_check CHECK (class IN ('record', 'correction')),
    CONSTRAINT reject_first_sync_id_fkey FOREIGN KEY (first_sync_id)
        REFERENCES billing.sync_run(sync_id),
    CONSTRAINT reject_last_sync_id_fkey FOREIGN KEY (last_sync_id)
        REFERENCES billing.sync_run(sync_id),
    CONSTRAINT reject_page_id_fkey FOREIGN KEY (page_id) REFERENCES billing.raw_page(page_id),
    CONSTRAINT reject_resolved_sync_id_fkey FOREIGN KEY (resolved_sync_id)
        REFERENCES billing.sync_run(sync_id)
);
-- Open rejects that hold back a correction: alerts read them.
CREATE INDEX reject_correction ON billing.reject (system, account) WHERE ((resolved_at IS NULL)
    AND (class = 'correction'));
-- A record has one open reject; being rejected again updates it.
CREATE UNIQUE INDEX reject_open ON billing.reject (system, account, stream, record_key)
    WHERE (resolved_at IS NULL);
-- Open rejects by raw page: the next run tries them again in that order.
CREATE INDEX reject_open_page ON billing.reject (system, account, page_id)
    WHERE (resolved_at IS NULL);
GRANT SELECT ON billing.reject TO twezah_api;
GRANT SELECT ON billing.reject TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.reject TO twezah_worker;

-- What was sold: the lines of each invoice. They belong to the invoice with the same page_id and
-- record_no.
CREATE TABLE billing.invoice_line (
    -- Raw page of the sale. With record_no it names the sale: join billing.invoice on both.
    page_id bigint NOT NULL,
    -- Position of the invoice in that page, from 0.
    record_no integer NOT NULL,
    -- Position in the invoice, from 1.
    line_no integer NOT NULL,
    -- Stock keeping unit.
    sku text,
    -- Item at the billing system, where the line names one.
    item_external_id text,
    -- Product name or description.
    name text,
    -- Quantity sold.
    quantity numeric(20,6),
    -- Price of one, in whole currency units.
    unit_price numeric(20,6),
    -- Amount of the line, minor units of the invoice's currency; negative for a discount.
    amount_minor bigint,
    CONSTRAINT invoice_line_pkey PRIMARY KEY (page_id, record_no, line_no),
    CONSTRAINT invoice_line_line_no_check CHECK (line_no >= 1)
);
GRANT SELECT ON billing.invoice_line TO twezah_api;
GRANT SELECT ON billing.invoice_line TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.invoice_line TO twezah_worker;
GRANT SELECT (page_id, record_no, line_no, quantity, unit_price, amount_minor) ON billing.invoice_line TO analyst;

-- Requests sent to the billing systems within their longest limit, of all workers. Emptied by
-- itself.
CREATE UNLOGGED TABLE billing.api_call (
    -- Number of the request.
    call_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Whether the request has ended.
    answered boolean NOT NULL DEFAULT false,
    -- Answered: when the answer came; the request counts for the length of each window after it.
    -- Not answered: from then on the request is taken for lost.
    counts_from timestamptz NOT NULL,
    CONSTRAINT api_call_pkey PRIMARY KEY (call_id)
);
CREATE INDEX api_call_account ON billing.api_call (system, account, counts_from) INCLUDE (answered);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.api_call TO twezah_worker;

-- Accounts whose billing system asked all of us to wait.
CREATE UNLOGGED TABLE billing.api_rest (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- No worker sends a request before: the vendor asked for a pause.
    rest_until timestamptz NOT NULL,
    CONSTRAINT api_rest_pkey PRIMARY KEY (system, account)
);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.api_rest TO twezah_worker;

-- When the sales of an account earn, as its block says, versioned. No row: once issued.
CREATE TABLE billing.award_policy (
    -- Order of entry. Where two rows are valid for a sale, the one entered later decides.
    policy_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- issued: open and paid sales earn; paid: fully paid ones only. Credit notes and refunds take
    -- back at once in either case.
    award_when text NOT NULL,
    -- Sales issued from this instant on follow it, whenever they arrive.
    valid_from timestamptz NOT NULL,
    -- When a run found the block changed.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that did.
    run_id text NOT NULL,
    CONSTRAINT award_policy_pkey PRIMARY KEY (policy_no),
    CONSTRAINT award_policy_award_when_check CHECK (award_when IN ('issued', 'paid')),
    CONSTRAINT award_policy_valid_from_check CHECK (valid_from < 'infinity'::timestamptz)
);
CREATE INDEX award_policy_account ON billing.award_policy (system, account, policy_no DESC);
CREATE TRIGGER award_policy_audited AFTER INSERT ON billing.award_policy FOR EACH ROW
    EXECUTE FUNCTION audit.on_award_policy();
CREATE TRIGGER award_policy_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.award_policy
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT SELECT ON billing.award_policy TO analyst;
GRANT SELECT ON billing.award_policy TO twezah_api;
GRANT SELECT ON billing.award_policy TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.award_policy TO twezah_worker;

-- Fields seen in the records of a billing system, mapped or not: paths and types, never values. A
-- few records of a few pages are looked at.
CREATE TABLE billing.vendor_field (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Which list of the vendor.
    stream text COLLATE "C" NOT NULL,
    -- Where it is in a page; * stands for every element, and for keys that are no names.
    path text COLLATE "C" NOT NULL,
    -- text, number, yes or no, object or list. A path seen with two types has two rows.
    json_type text NOT NULL,
    -- true: the field was in the first records of the list that we ever saw. false: it appeared
    -- later, and was reported as new.
    base_line boolean NOT NULL,
    -- When it was seen first.
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    -- Synchronisation that saw it first.
    first_sync_id bigint NOT NULL,
    -- When it was seen last.
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    -- Records looked at that had it.
    records_with bigint NOT NULL,
    -- Records looked at since it was seen first.
    records_since bigint NOT NULL,
    -- Records looked at since it was seen last.
    records_without bigint NOT NULL DEFAULT 0,
    -- When the field was reported as missing from all records; null: it is still there.
    gone_at timestamptz,
    CONSTRAINT vendor_field_pkey PRIMARY KEY (system, account, stream, path, json_type),
    CONSTRAINT vendor_field_json_type_check CHECK (json_type IN ('text', 'number', 'yes or no',
        'object', 'list')),
    CONSTRAINT vendor_field_path_check CHECK (length(path) <= 1000),
    CONSTRAINT vendor_field_first_sync_id_fkey FOREIGN KEY (first_sync_id)
        REFERENCES billing.sync_run(sync_id)
);
GRANT SELECT ON billing.vendor_field TO analyst;
GRANT SELECT ON billing.vendor_field TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.vendor_field TO twezah_worker;

-- Where billing systems send webhooks: one unguessable address per connected account.
CREATE TABLE billing.webhook_endpoint (
    -- Number of the endpoint; events and attempts refer to it.
    endpoint_no bigint GENERATED ALWAYS AS IDENTITY,
    -- The unguessable part of its address.
    endpoint_id text COLLATE "C" NOT NULL,
    -- Billing system: decides how its webhooks are signed and read.
    system text COLLATE "C" NOT NULL,
    -- Connection (Prefect block) with which its invoices are fetched and mapped.
    connection text COLLATE "C" NOT NULL,
    -- Account at the billing system; null: the events name it.
    account text COLLATE "C",
    -- What was said of this address itself, e.g. signature scheme and header. It counts before
    -- block_options. No secrets.
    options jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- Only senders in these networks are heard; empty: all.
    allowed_networks cidr[] NOT NULL DEFAULT '{}'::cidr[],
    -- Largest body, in bytes.
    body_bytes_max integer NOT NULL DEFAULT 1048576,
    -- Rate limit of the endpoint.
    events_per_minute integer NOT NULL DEFAULT 60000,
    -- Reached as /api/webhooks/billing as well.
    is_default boolean NOT NULL DEFAULT false,
    -- none: the vendor has none; awaited: its verification may still come; seen: it came and was
    -- stored; confirmed: it was answered.
    handshake text NOT NULL DEFAULT 'none',
    -- When it was made.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- From then on it answers 410; null: in use.
    disabled_at timestamptz,
    -- What the connection's block says about its webhooks, where it is not the default. Taken over
    -- by itself. No secrets.
    block_options jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT webhook_endpoint_pkey PRIMARY KEY (endpoint_no),
    CONSTRAINT webhook_endpoint_endpoint_id_key UNIQUE (endpoint_id),
    CONSTRAINT webhook_endpoint_block_options_check CHECK (jsonb_typeof(block_options) = 'object'),
    CONSTRAINT webhook_endpoint_body_bytes_max_check CHECK (body_bytes_max >= 1024
        AND body_bytes_max <= 16777216),
    CONSTRAINT webhook_endpoint_endpoint_id_check CHECK (endpoint_id ~ '^[A-Za-z0-9_-]{22,64}$'),
    CONSTRAINT webhook_endpoint_events_per_minute_check CHECK (events_per_minute >= 1
        AND events_per_minute <= 1000000),
    CONSTRAINT webhook_endpoint_handshake_check CHECK (handshake IN ('none', 'awaited', 'seen',
        'confirmed')),
    CONSTRAINT webhook_endpoint_options_check CHECK (jsonb_typeof(options) = 'object')
);
-- One endpoint in use, at most, is the default.
CREATE UNIQUE INDEX webhook_endpoint_default ON billing.webhook_endpoint (is_default)
    WHERE (is_default AND (disabled_at IS NULL));
CREATE TRIGGER webhook_endpoint_audited AFTER INSERT OR DELETE OR UPDATE
    ON billing.webhook_endpoint FOR EACH ROW EXECUTE FUNCTION audit.on_endpoint();
GRANT SELECT ON billing.webhook_endpoint TO twezah_api;
GRANT SELECT ON billing.webhook_endpoint TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.webhook_endpoint TO twezah_worker;
GRANT UPDATE (handshake) ON billing.webhook_endpoint TO twezah_api;

-- Signing secrets of an endpoint, encrypted; several are active while one replaces another.
CREATE TABLE billing.webhook_secret (
    -- Number of the secret.
    secret_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Endpoint.
    endpoint_no bigint NOT NULL,
    -- The secret, encrypted with the installation's key.
    secret_encrypted bytea NOT NULL,
    -- When it was entered.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Until when signatures made with it are accepted; null: no end.
    expires_at timestamptz,
    CONSTRAINT webhook_secret_pkey PRIMARY KEY (secret_no),
    CONSTRAINT webhook_secret_endpoint_no_fkey FOREIGN KEY (endpoint_no)
        REFERENCES billing.webhook_endpoint(endpoint_no)
);
CREATE INDEX webhook_secret_endpoint ON billing.webhook_secret (endpoint_no);
CREATE TRIGGER webhook_secret_audited AFTER INSERT ON billing.webhook_secret FOR EACH ROW
    EXECUTE FUNCTION audit.on_secret();
GRANT SELECT ON billing.webhook_secret TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.webhook_secret TO twezah_worker;
GRANT SELECT (secret_no, endpoint_no, created_at, expires_at) ON billing.webhook_secret TO twezah_panel;

-- Webhooks with a valid signature, exactly as received, stored before they are acknowledged. Each
-- is awarded by a run that claims it.
CREATE TABLE billing.webhook_event (
    -- Number of the event, in order of arrival.
    event_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Endpoint it came in at.
    endpoint_no bigint NOT NULL,
    -- What makes a repeated delivery recognisable: the sender's event id, or else a fingerprint.
    -- Kept for good.
    dedup_key text COLLATE "C" NOT NULL,
    -- What it is about, as the sender calls it, e.g. invoice.created.
    kind text NOT NULL,
    -- Personal data in some laws. Headers that reading it again needs; never signatures or
    -- credentials.
    headers jsonb NOT NULL,
    -- Size of the body before compression, in bytes.
    body_bytes integer NOT NULL,
    -- Personal data. The body as received, packed; null: its retention ended.
    body_zstd bytea STORAGE EXTERNAL,
    -- Personal data in some laws. Address of the sender.
    source_ip inet,
    -- When it arrived.
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- received: to be awarded; claimed: a run works on it; done; failed: tried again at
    -- next_attempt_at; parked: given up, see reason.
    state text NOT NULL DEFAULT 'received',
    -- How often a run has claimed it.
    attempts integer NOT NULL DEFAULT 0,
    -- When a run may claim the event. Of a claimed event: the end of the claim's lease, from when
    -- another run may take it.
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it was done or parked.
    finished_at timestamptz,
    -- Why it failed or was parked, without personal data.
    reason text,
    -- Synchronisation that brought it into the ledger.
    sync_id bigint,
    -- Prefect flow run that claimed it last.
    run_id text,
    -- Why it could not be used at first; it stays, also after a replay. Null: it never failed.
    first_reason text,
    -- When that was.
    first_failed_at timestamptz,
    -- Ids of the documents that it brought or changed, as they are stored; empty: none.
    documents text[] NOT NULL DEFAULT '{}'::text[],
    CONSTRAINT webhook_event_pkey PRIMARY KEY (event_no),
    CONSTRAINT webhook_event_once UNIQUE (endpoint_no, dedup_key),
    CONSTRAINT finished_when_done CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'parked'))),
    CONSTRAINT webhook_event_attempts_check CHECK (attempts >= 0),
    CONSTRAINT webhook_event_body_bytes_check CHECK (body_bytes >= 0),
    CONSTRAINT webhook_event_dedup_key_check CHECK (length(dedup_key) >= 1
        AND length(dedup_key) <= 300),
    CONSTRAINT webhook_event_headers_check CHECK (jsonb_typeof(headers) = 'object'),
    CONSTRAINT webhook_event_state_check CHECK (state IN ('received', 'claimed', 'done', 'failed',
        'parked')),
    CONSTRAINT webhook_event_endpoint_no_fkey FOREIGN KEY (endpoint_no)
        REFERENCES billing.webhook_endpoint(endpoint_no),
    CONSTRAINT webhook_event_sync_id_fkey FOREIGN KEY (sync_id)
        REFERENCES billing.sync_run(sync_id)
);
-- Events to be claimed, in the order in which they are due.
CREATE INDEX webhook_event_due ON billing.webhook_event (next_attempt_at, event_no)
    WHERE (state IN ('received', 'claimed', 'failed'));
CREATE INDEX webhook_event_parked ON billing.webhook_event (endpoint_no, event_no)
    WHERE (state = 'parked');
CREATE INDEX webhook_event_received ON billing.webhook_event (received_at);
GRANT INSERT ON billing.webhook_event TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.webhook_event TO twezah_worker;
GRANT SELECT (event_no, endpoint_no, dedup_key, kind, body_bytes, received_at, state, attempts, next_attempt_at, finished_at, reason, sync_id, run_id, first_reason, first_failed_at, documents) ON billing.webhook_event TO twezah_api;
GRANT SELECT (event_no, endpoint_no, dedup_key, kind, body_bytes, received_at, state, attempts, next_attempt_at, finished_at, reason, sync_id, run_id, first_reason, first_failed_at, documents) ON billing.webhook_event TO twezah_panel;

-- Keys of the HTTP API. The key itself is shown once and not stored.
CREATE TABLE billing.api_key (
    -- Number of the key.
    key_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Its first characters, by which it is found and named; they open nothing.
    prefix text COLLATE "C" NOT NULL,
    -- SHA-256 of the whole key, which is 256 random bits.
    key_sha256 bytea NOT NULL,
    -- Who uses it, as the administrator calls it.
    name text NOT NULL,
    -- What it may do.
    scopes text[] NOT NULL,
    -- Rate limit of the key.
    requests_per_minute integer NOT NULL DEFAULT 600,
    -- When it was made.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When it ends.
    expires_at timestamptz NOT NULL,
    -- Key that it replaces; that one works a while longer.
    rotated_from bigint,
    -- When it was last used, to the minute.
    last_used_at timestamptz,
    -- When it was withdrawn; null: not.
    revoked_at timestamptz,
    CONSTRAINT api_key_pkey PRIMARY KEY (key_no),
    CONSTRAINT api_key_prefix_key UNIQUE (prefix),
    CONSTRAINT api_key_check CHECK (expires_at > created_at),
    CONSTRAINT api_key_key_sha256_check CHECK (length(key_sha256) = 32),
    CONSTRAINT api_key_name_check CHECK (length(name) >= 1 AND length(name) <= 100),
    CONSTRAINT api_key_requests_per_minute_check CHECK (requests_per_minute >= 1
        AND requests_per_minute <= 1000000),
    CONSTRAINT api_key_scopes_check CHECK (cardinality(scopes) > 0),
    CONSTRAINT api_key_rotated_from_fkey FOREIGN KEY (rotated_from)
        REFERENCES billing.api_key(key_no)
);
CREATE TRIGGER api_key_audited AFTER INSERT OR DELETE ON billing.api_key FOR EACH ROW
    EXECUTE FUNCTION audit.on_api_key();
CREATE TRIGGER api_key_change_audited AFTER UPDATE ON billing.api_key FOR EACH ROW
    WHEN (old.prefix IS DISTINCT FROM new.prefix OR old.key_sha256 IS DISTINCT FROM new.key_sha256
    OR old.scopes IS DISTINCT FROM new.scopes OR old.requests_per_minute IS DISTINCT
    FROM new.requests_per_minute OR old.expires_at IS DISTINCT FROM new.expires_at
    OR old.revoked_at IS DISTINCT FROM new.revoked_at) EXECUTE FUNCTION audit.on_api_key();
GRANT SELECT ON billing.api_key TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.api_key TO twezah_worker;
GRANT UPDATE (last_used_at) ON billing.api_key TO twezah_api;

-- Requests with an Idempotency-Key: repeated, they get the first one's answer. Kept for a day.
CREATE TABLE billing.api_request (
    -- API key that sent it.
    key_no bigint NOT NULL,
    -- The sender's name for the request.
    idempotency_key text COLLATE "C" NOT NULL,
    -- Fingerprint of the request: the same name with another request is refused.
    request_sha256 bytea NOT NULL,
    -- When it was first seen.
    started_at timestamptz NOT NULL DEFAULT now(),
    -- HTTP status of the answer; null: under way.
    status integer,
    -- The answer.
    answer jsonb,
    CONSTRAINT api_request_pkey PRIMARY KEY (key_no, idempotency_key),
    CONSTRAINT api_request_check CHECK ((status IS NULL) = (answer IS NULL)),
    CONSTRAINT api_request_idempotency_key_check CHECK (length(idempotency_key) >= 1
        AND length(idempotency_key) <= 255),
    CONSTRAINT api_request_request_sha256_check CHECK (length(request_sha256) = 32),
    CONSTRAINT api_request_key_no_fkey FOREIGN KEY (key_no) REFERENCES billing.api_key(key_no)
);
CREATE INDEX api_request_age ON billing.api_request (started_at);
GRANT DELETE, INSERT, SELECT, UPDATE ON billing.api_request TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.api_request TO twezah_worker;

-- Rate limits of what comes in, shared by all processes of the API: one token bucket per key,
-- endpoint or source.
CREATE UNLOGGED TABLE billing.rate_bucket (
    -- Whose requests are counted; a source's address as a keyed fingerprint.
    subject text COLLATE "C" NOT NULL,
    -- Requests left at filled_at.
    tokens double precision NOT NULL,
    -- When that was.
    filled_at timestamptz NOT NULL,
    CONSTRAINT rate_bucket_pkey PRIMARY KEY (subject)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON billing.rate_bucket TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.rate_bucket TO twezah_worker;

-- Every request to the HTTP API and every webhook, accepted or refused, without personal data. One
-- partition per month.
CREATE TABLE billing.http_attempt (
    -- When it was answered.
    attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- HTTP method.
    method text NOT NULL,
    -- Path as documented, with names in place of values; "unknown" for any other.
    route text NOT NULL,
    -- HTTP status of the answer.
    status integer NOT NULL,
    -- stored, duplicate, handshake or ok; or why it was refused, e.g. signature_mismatch,
    -- rate_limited.
    outcome text NOT NULL,
    -- Webhook endpoint, where there is one.
    endpoint_no bigint,
    -- Event that was stored.
    event_no bigint,
    -- API key, where a valid one was shown.
    key_no bigint,
    -- Personal data in some laws. Network of the sender: /24 (IPv6: /48), no single address.
    source_network cidr,
    -- Size of the request's body as far as it was read, in bytes.
    body_bytes bigint,
    -- From the first byte to the answer, milliseconds; of several, the longest.
    elapsed_ms integer NOT NULL,
    -- How many attempts the row stands for: equal refusals of the same second are one row.
    repeats integer NOT NULL DEFAULT 1,
    CONSTRAINT http_attempt_repeats_check CHECK (repeats >= 1)
) PARTITION BY RANGE (attempt_at);
CREATE INDEX http_attempt_time ON ONLY billing.http_attempt (attempt_at);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.http_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
GRANT INSERT, SELECT ON billing.http_attempt TO twezah_api;
GRANT SELECT ON billing.http_attempt TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.http_attempt TO twezah_worker;

-- Documents that webhooks held whole and that do not say when they were changed: an event that
-- happened earlier changes them no more.
CREATE TABLE billing.pushed_document (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Id of the document.
    external_id text COLLATE "C" NOT NULL,
    -- When the latest event about it happened.
    occurred_at timestamptz NOT NULL,
    -- Whether the event named the document by its printed number. If a list later shows the
    -- document's id, this sale becomes void and counts under the id.
    by_number boolean NOT NULL,
    CONSTRAINT pushed_document_pkey PRIMARY KEY (external_id, account, system)
);
CREATE INDEX pushed_document_by_number ON billing.pushed_document (account, external_id)
    WHERE by_number;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.pushed_document TO twezah_worker;

-- How each attempt of a run to synchronise ended, append-only. Dry runs leave no trace; webhooks
-- have billing.webhook_event.
CREATE TABLE billing.sync_attempt (
    -- Number of the attempt.
    attempt_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Prefect flow run; one that was retried has several attempts.
    run_id text NOT NULL,
    -- Name of the connection (its block); null: of a run that was interrupted, see account.
    connection text COLLATE "C",
    -- Billing system; null: there was no block to tell.
    system text COLLATE "C",
    -- Account at the billing system; null: there was no usable block to tell.
    account text COLLATE "C",
    -- poll: from the cursor on; window: a period was asked for; replay: stored pages were mapped
    -- again.
    kind text NOT NULL,
    -- succeeded, failed, or interrupted: its process ended before it did (noted by the run that
    -- continued or replaced it).
    outcome text NOT NULL,
    -- When it began; of an interrupted one, when the work it continued began.
    started_at timestamptz NOT NULL,
    -- When it ended, or its interruption was noticed.
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The synchronisation it worked on, if it came that far.
    sync_id bigint,
    -- Records read.
    records bigint NOT NULL DEFAULT 0,
    -- Sales seen for the first time. Nothing was stored by an attempt that failed before that.
    new_sales bigint NOT NULL DEFAULT 0,
    -- Sales whose stored version changed.
    changed_sales bigint NOT NULL DEFAULT 0,
    -- Records that could not be used.
    rejected bigint NOT NULL DEFAULT 0,
    -- Ledger entries posted for this account's sales since the attempt before, whichever
    -- connection's run posted them. Not those that webhooks and changes of rules posted.
    entries bigint NOT NULL DEFAULT 0,
    -- Sum of those entries, corrections included.
    points bigint NOT NULL DEFAULT 0,
    -- Requests to the billing system.
    calls integer NOT NULL DEFAULT 0,
    -- Of those, requests that were not answered, or with an error.
    failed_calls integer NOT NULL DEFAULT 0,
    -- Of those, requests that were told to slow down.
    throttled integer NOT NULL DEFAULT 0,
    -- Response times in milliseconds, ascending: of each request, or of many requests a hundred in
    -- equal steps.
    response_ms integer[] NOT NULL DEFAULT '{}'::integer[],
    -- Why it did not succeed, without personal data or secrets.
    error text,
    CONSTRAINT sync_attempt_pkey PRIMARY KEY (attempt_no),
    CONSTRAINT sync_attempt_check CHECK (started_at <= finished_at),
    CONSTRAINT sync_attempt_check1 CHECK (connection IS NOT NULL OR system IS NOT NULL
        AND account IS NOT NULL),
    CONSTRAINT sync_attempt_check2 CHECK ((outcome = 'succeeded') = (error IS NULL)),
    CONSTRAINT sync_attempt_error_check CHECK (length(error) <= 4000),
    CONSTRAINT sync_attempt_kind_check CHECK (kind IN ('poll', 'window', 'replay')),
    CONSTRAINT sync_attempt_outcome_check CHECK (outcome IN ('succeeded', 'failed', 'interrupted')),
    CONSTRAINT sync_attempt_response_ms_check CHECK (cardinality(response_ms) <= 100),
    CONSTRAINT sync_attempt_sync_id_fkey FOREIGN KEY (sync_id) REFERENCES billing.sync_run(sync_id)
);
CREATE INDEX sync_attempt_connection ON billing.sync_attempt (connection, attempt_no DESC);
CREATE INDEX sync_attempt_time ON billing.sync_attempt (finished_at);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.sync_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
GRANT SELECT ON billing.sync_attempt TO twezah_api;
GRANT SELECT ON billing.sync_attempt TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.sync_attempt TO twezah_worker;

-- A row: this is a restored copy. Schedules are off, stored tokens are not used and webhooks not
-- awarded until `twezah go-live`.
CREATE TABLE billing.standby (
    -- There is one row at most.
    only_row boolean NOT NULL DEFAULT true,
    -- When it was restored.
    since timestamptz NOT NULL DEFAULT now(),
    -- Why it stands by.
    reason text NOT NULL,
    CONSTRAINT standby_pkey PRIMARY KEY (only_row),
    CONSTRAINT standby_only_row_check CHECK (only_row)
);
GRANT SELECT ON billing.standby TO twezah_api;
GRANT SELECT ON billing.standby TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.standby TO twezah_worker;

-- Documents of which something was read otherwise than it is written, and what.
CREATE TABLE billing.document_note (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Id of the document.
    external_id text COLLATE "C" NOT NULL,
    -- What was read otherwise, in one line.
    note text NOT NULL,
    -- Synchronisation that read it so last.
    sync_id bigint NOT NULL,
    -- When it was read so last.
    noted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT document_note_pkey PRIMARY KEY (external_id, account, system, note)
);
GRANT SELECT ON billing.document_note TO twezah_api;
GRANT SELECT ON billing.document_note TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.document_note TO twezah_worker;

-- Documents that were deleted at the billing system before they were stored here: an older version
-- that arrives later is stored as void.
CREATE TABLE billing.deleted_document (
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Document number at the billing system.
    external_id text COLLATE "C" NOT NULL,
    -- When the vendor deleted it. Where the vendor does not say: when we learned of it.
    deleted_at timestamptz NOT NULL,
    -- Raw page that says so; null where a webhook does.
    page_id bigint,
    -- Synchronisation that heard of it last.
    sync_id bigint NOT NULL,
    CONSTRAINT deleted_document_pkey PRIMARY KEY (system, account, external_id),
    CONSTRAINT deleted_document_sync_id_fkey FOREIGN KEY (sync_id)
        REFERENCES billing.sync_run(sync_id)
);
GRANT SELECT ON billing.deleted_document TO twezah_api;
GRANT SELECT ON billing.deleted_document TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.deleted_document TO twezah_worker;

-- What documents name of other systems' documents, where that proves that they tell one sale. Empty
-- before a precedence is declared.
CREATE TABLE billing.sale_reference (
    -- A payment's id, or an id that is too long to be a running number.
    value text COLLATE "C" NOT NULL,
    -- Whether a payment service gave it: then all documents that name it tell one sale.
    is_payment boolean NOT NULL,
    -- Billing system of the document that names it.
    system text COLLATE "C" NOT NULL,
    -- Its account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Its id at the billing system.
    external_id text COLLATE "C" NOT NULL,
    CONSTRAINT sale_reference_pkey PRIMARY KEY (external_id, account, system, value, is_payment)
);
-- Which documents name an id.
CREATE INDEX sale_reference_value ON billing.sale_reference (value);
GRANT SELECT ON billing.sale_reference TO twezah_api;
GRANT SELECT ON billing.sale_reference TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.sale_reference TO twezah_worker;

-- Subscriptions of webhooks that the program makes and keeps alive at the billing system, one row
-- per connection. No secrets: those are in billing.webhook_secret.
CREATE TABLE billing.webhook_subscription (
    -- Connection (Prefect block).
    connection text COLLATE "C" NOT NULL,
    -- Billing system.
    system text COLLATE "C" NOT NULL,
    -- subscribed; waiting: the vendor's verification is under way; elsewhere: the subscription of
    -- another connection serves it; paused: a person paused it at the vendor; by hand: the vendor
    -- lets no program do it for this account; not needed: the account has no use for webhooks; no
    -- address: this installation has no public https address; off: switched off in the block;
    -- failed: see detail.
    state text NOT NULL,
    -- What is wrong and who must act, without personal data or secrets; empty: nothing.
    detail text NOT NULL DEFAULT '',
    -- The vendor's ids of subscriptions that the program made or changed, and whose secret is
    -- stored.
    vendor_ids text[] NOT NULL DEFAULT '{}'::text[],
    -- When the first of them ends unless it is renewed; null: they do not end.
    expires_at timestamptz,
    -- The settings of the last check: with others, the next one is due at once.
    basis text NOT NULL,
    -- When the vendor was asked last.
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the next check is due.
    next_at timestamptz NOT NULL,
    CONSTRAINT webhook_subscription_pkey PRIMARY KEY (connection),
    CONSTRAINT webhook_subscription_state_check CHECK (state IN ('subscribed', 'waiting',
        'elsewhere', 'paused', 'by hand', 'not needed', 'no address', 'off', 'failed'))
);
GRANT SELECT ON billing.webhook_subscription TO twezah_api;
GRANT SELECT ON billing.webhook_subscription TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.webhook_subscription TO twezah_worker;

-- Texts that people typed (product names, reasons) and that concern three members or more: such a
-- text is about nobody, and analysts see it. Made anew by the flow refresh-analytics.
CREATE TABLE billing.common_text (
    -- MD5 of the text.
    digest uuid NOT NULL,
    CONSTRAINT common_text_pkey PRIMARY KEY (digest)
);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.common_text TO twezah_worker;

-- How often a run has asked for the page "Billing systems" to be renewed.
CREATE SEQUENCE billing.page_renewal;
GRANT SELECT, USAGE ON SEQUENCE billing.page_renewal TO twezah_worker;

-- The partition of http_attempt for the month of a day (UTC), unless it is there.
CREATE FUNCTION billing.add_attempt_month(of_month date)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    first date := date_trunc('month', of_month)::date;
    name text := 'http_attempt_' || to_char(first, 'YYYYMM');
BEGIN
    IF to_regclass('billing.' || name) IS NOT NULL THEN RETURN; END IF;
    -- Bounds in UTC: they must not depend on who adds the month.
    EXECUTE format('CREATE TABLE billing.%I (LIKE billing.http_attempt INCLUDING ALL)', name);
    EXECUTE format('COMMENT ON TABLE billing.%I IS %L', name, 'Attempts of ' || to_char(first, 'YYYY-MM') || ' (UTC).');
    EXECUTE format('ALTER TABLE billing.http_attempt ATTACH PARTITION billing.%I FOR VALUES FROM (%L) TO (%L)',
                   name, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00');
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change()', name);
END $function$;
REVOKE EXECUTE ON FUNCTION billing.add_attempt_month(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing.add_attempt_month(date) TO twezah_api;
GRANT EXECUTE ON FUNCTION billing.add_attempt_month(date) TO twezah_panel;
GRANT EXECUTE ON FUNCTION billing.add_attempt_month(date) TO twezah_worker;

-- Counts a request in: its number and 0, or 0 and the seconds until it is worth asking again.
CREATE FUNCTION billing.api_enter(of_system text, of_account text, counts integer[],
    window_seconds double precision[], at_once integer, lease_seconds double precision)
 RETURNS TABLE(entered bigint, wait_seconds double precision)
 LANGUAGE plpgsql
AS $function$
DECLARE
    clock timestamptz;
    used bigint;
    free_at timestamptz;
BEGIN
    -- One at a time per account; each statement below sees what the one before us did.
    PERFORM pg_advisory_xact_lock(hashtextextended(of_system || '/' || of_account, 3));
    clock := clock_timestamp();
    entered := 0;
    SELECT greatest(0, extract(epoch FROM r.rest_until - clock)) INTO wait_seconds
    FROM billing.api_rest r WHERE r.system = of_system AND r.account = of_account;
    wait_seconds := coalesce(wait_seconds, 0);
    SELECT count(*) INTO used FROM billing.api_call c
    WHERE c.system = of_system AND c.account = of_account AND c.counts_from > clock AND NOT c.answered;
    IF used >= at_once THEN wait_seconds := greatest(wait_seconds, 0.05); END IF;
    FOR n IN 1 .. cardinality(counts) LOOP
        SELECT count(*) INTO used FROM billing.api_call c
        WHERE c.system = of_system AND c.account = of_account
          AND c.counts_from > clock - make_interval(secs => window_seconds[n]);
        IF used >= counts[n] THEN
            SELECT c.counts_from INTO free_at FROM billing.api_call c
            WHERE c.system = of_system AND c.account = of_account
              AND c.counts_from > clock - make_interval(secs => window_seconds[n])
            ORDER BY c.counts_from OFFSET used - counts[n] LIMIT 1;
            wait_seconds := greatest(wait_seconds, 0.001, window_seconds[n] + extract(epoch FROM least(free_at, clock) - clock));
        END IF;
    END LOOP;
    IF wait_seconds = 0 THEN
        INSERT INTO billing.api_call (system, account, counts_from)
        VALUES (of_system, of_account, clock + make_interval(secs => lease_seconds)) RETURNING call_id INTO entered;
        IF entered % 100 = 0 THEN
            DELETE FROM billing.api_call c WHERE c.system = of_system AND c.account = of_account
              AND c.counts_from < clock - make_interval(secs => (SELECT max(s) FROM unnest(window_seconds) s));
        END IF;
    END IF;
    RETURN NEXT;
END $function$;

-- Drops the months of billing.http_attempt that ended before; how many.
CREATE FUNCTION billing.drop_attempt_months(before timestamptz)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    oldest text := 'http_attempt_' || to_char(before AT TIME ZONE 'UTC', 'YYYYMM');
    dropped integer := 0;
    name text;
BEGIN
    -- One at a time, with billing.keep_attempt_months.
    PERFORM pg_advisory_xact_lock(hashtextextended('billing.http_attempt', 4));
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'billing.http_attempt'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE billing.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $function$;
REVOKE EXECUTE ON FUNCTION billing.drop_attempt_months(timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing.drop_attempt_months(timestamp with time zone) TO twezah_api;
GRANT EXECUTE ON FUNCTION billing.drop_attempt_months(timestamp with time zone) TO twezah_panel;
GRANT EXECUTE ON FUNCTION billing.drop_attempt_months(timestamp with time zone) TO twezah_worker;

-- Details of an operation, without phones and e-mail addresses in their texts.
CREATE FUNCTION billing.json_without_contacts(said jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    -- Numbers outside of quotation marks are amounts and counts: they stay.
    SELECT regexp_replace(regexp_replace(regexp_replace(said::text,
        '[^[:space:]@"]+@[^[:space:]@"]+\.[[:alpha:]]+', '(masked)', 'g'),
        '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}', '(masked)', 'g'),
        '"(00)?(244)?[ ]?9[1-9]([ ().\-]?[0-9]){7}"', '"(masked)"', 'g')::jsonb
$function$;

-- Adds the partitions of this month and the next, and drops those older than so many months;
-- returns how many.
CREATE FUNCTION billing.keep_attempt_months(months_kept integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    oldest text := 'http_attempt_' || to_char(today - make_interval(months => months_kept), 'YYYYMM');
    dropped integer := 0;
    name text;
BEGIN
    -- One at a time; a second caller finds it done.
    PERFORM pg_advisory_xact_lock(hashtextextended('billing.http_attempt', 4));
    PERFORM billing.add_attempt_month(today);
    PERFORM billing.add_attempt_month((today + interval '1 month')::date);
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'billing.http_attempt'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE billing.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $function$;
REVOKE EXECUTE ON FUNCTION billing.keep_attempt_months(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing.keep_attempt_months(integer) TO twezah_api;
GRANT EXECUTE ON FUNCTION billing.keep_attempt_months(integer) TO twezah_panel;
GRANT EXECUTE ON FUNCTION billing.keep_attempt_months(integer) TO twezah_worker;

-- Amount in whole units of the currency, from minor units.
CREATE FUNCTION billing.major_units(amount_minor bigint, currency text)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT CASE
        WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF')
            THEN amount_minor::numeric
        WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN round(amount_minor::numeric / 1000, 3)
        WHEN currency IN ('CLF', 'UYW') THEN round(amount_minor::numeric / 10000, 4)
        ELSE round(amount_minor::numeric / 100, 2) END
$function$;

-- Whether a number or id looks like a phone, an e-mail address or a name in two words.
CREATE FUNCTION billing.names_person(said text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT said ~ '[^[:space:]@]+@[^[:space:]@]+\.[[:alpha:]]'
        OR said ~ '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}'
        OR said ~ '(^|[^0-9])00[1-9]([ ().\-/]{0,3}[0-9]){9,14}($|[^0-9])'
        OR said ~ '(^|[^0-9])(244[ ().\-]{0,3})?9[1-9]([ ().\-]?[0-9]){7}($|[^0-9])'
        OR said COLLATE "default"
           ~ '[[:upper:]][[:lower:]]{2,}([ ._-]+[[:lower:]]{1,3})?[ ._-]+[[:upper:]][[:lower:]]{2,}'
$function$;

-- An id without unseen characters, surplus or odd spaces, or the .0 of a number: as
-- connectors/kit/mapping/ids.py.
CREATE FUNCTION billing.normal_id(said text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT regexp_replace(btrim(regexp_replace(normalize(regexp_replace(said,
        '[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]',
        '', 'g'), NFC),
        '[\u0009-\u000d \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+',
        ' ', 'g'), ' '), '^(-?[0-9]+)[.,]0{1,2}$', '\1')
$function$;

-- Notes that the run which worked on a synchronisation was interrupted.
CREATE FUNCTION billing.note_interrupted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO billing.sync_attempt (run_id, system, account, kind, outcome, started_at, finished_at, sync_id, error)
    VALUES (OLD.run_id, OLD.system, OLD.account,
            CASE WHEN EXISTS (SELECT FROM jsonb_object_keys(OLD.streams) k WHERE k LIKE 'replay of %') THEN 'replay'
                 WHEN OLD.requested_since IS NOT NULL OR OLD.requested_until IS NOT NULL THEN 'window' ELSE 'poll' END,
            'interrupted', OLD.started_at, greatest(OLD.started_at, clock_timestamp()), OLD.sync_id,
            'Interrupted: its process ended before the run did (killed, out of memory, or the machine restarted). A later run went on.');
    RETURN NULL;
END $function$;

-- Points posted for a document, to the member who has it now.
CREATE FUNCTION billing.points_of(wanted_system text, wanted_account text, wanted_id text)
 RETURNS bigint
 LANGUAGE sql
 STABLE
AS $function$
    -- By the member first, as the key of the ledger is; the sales of a merged member are posted
    -- to the other one.
    SELECT coalesce(sum(e.points), 0)::bigint
    FROM billing.invoice i
    LEFT JOIN loyalty.merged_member m ON m.member_id = i.member_id
    JOIN loyalty.award_entry e ON e.member_id IN (i.member_id, m.owner_id)
        AND (e.external_id, e.account, e.system) = (i.external_id, i.account, i.system)
    WHERE (i.external_id, i.account, i.system) = (wanted_id, wanted_account, wanted_system)
$function$;

-- Of invoice.reference_ids the ids that prove that two documents tell one sale.
CREATE FUNCTION billing.proving_references(reference_ids text)
 RETURNS TABLE(value text, is_payment boolean)
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT substr(t, position(':' IN t) + 1), t LIKE 'payment:%'
    FROM unnest(string_to_array(reference_ids, ' ')) AS t
    WHERE t LIKE 'payment:%' OR (t LIKE 'order:%' AND length(t) >= 12 + length('order:'))
$function$;

-- Refuses the statement: history is kept as it was written.
CREATE FUNCTION billing.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION '%.% keeps its history: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $function$;

-- Whether who asks may read phones, and so everything. The setting twezah.hide_persons = on hides
-- persons from them as well; it shows nobody anything.
CREATE FUNCTION billing.sees_persons()
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT has_column_privilege('loyalty.member', 'phone', 'SELECT')
       AND coalesce(current_setting('twezah.hide_persons', true), '') <> 'on'
$function$;

-- Takes up to so many requests from a bucket: how many were granted, or 0 and the seconds until one
-- is; and what is left in it.
CREATE FUNCTION billing.take_tokens(of_subject text, wanted integer, per_second double precision,
    burst double precision)
 RETURNS TABLE(granted integer, wait_seconds double precision, tokens_left double precision)
 LANGUAGE plpgsql
AS $function$
DECLARE
    clock timestamptz := clock_timestamp();
    had float8;
BEGIN
    INSERT INTO billing.rate_bucket AS b (subject, tokens, filled_at)
    VALUES (of_subject, burst, clock)
    ON CONFLICT (subject) DO UPDATE SET
        tokens = least(burst, b.tokens + per_second
            * greatest(0, extract(epoch FROM excluded.filled_at - b.filled_at))),
        filled_at = greatest(b.filled_at, excluded.filled_at)
    RETURNING b.tokens INTO had;
    granted := greatest(0, least(wanted, floor(had)::integer));
    wait_seconds := CASE WHEN granted > 0 THEN 0 ELSE (1 - had) / per_second END;
    tokens_left := had - granted;
    IF granted > 0 THEN
        UPDATE billing.rate_bucket SET tokens = tokens - granted WHERE subject = of_subject;
    END IF;
    RETURN NEXT;
END $function$;

-- A text that a program wrote, without phones and e-mail addresses in it.
CREATE FUNCTION billing.without_contacts(said text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(said,
        '[^[:space:]@"]+@[^[:space:]@"]+\.[[:alpha:]]+', '(masked)', 'g'),
        '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}', '(masked)', 'g'),
        '(^|[^0-9])00[1-9]([ ().\-/]{0,3}[0-9]){9,14}(?![0-9])', '\1(masked)', 'g'),
        '(^|[^0-9])(244[ ().\-]{0,3})?9[1-9]([ ().\-]?[0-9]){7}(?![0-9])', '\1(masked)', 'g')
$function$;

-- The same without overlaps: each sale's date is in one span at most.
-- system: Billing system.
-- account: Account at the billing system.
-- award_when: issued or paid.
-- valid_from: First instant.
-- valid_to: First instant after it; null: open.
CREATE VIEW billing.award_policy_span AS
 SELECT system, account, award_when, valid_from, valid_to
   FROM ( SELECT award_policy.system, award_policy.account,
            award_policy.award_when, award_policy.valid_from,
            min(award_policy.valid_from) OVER (PARTITION BY award_policy.system,
                award_policy.account ORDER BY award_policy.policy_no DESC ROWS BETWEEN UNBOUNDED PRECEDING
                AND 1 PRECEDING) AS valid_to
           FROM billing.award_policy) version
  WHERE valid_to IS NULL OR valid_from < valid_to;
GRANT SELECT ON billing.award_policy_span TO analyst;
GRANT SELECT ON billing.award_policy_span TO twezah_api;
GRANT SELECT ON billing.award_policy_span TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.award_policy_span TO twezah_worker;

-- How each raw page was read: decides which of two versions of a document counts.
-- page_id: Raw page.
-- system: Billing system.
-- account: Account at the billing system.
-- asked_at: When the request was sent; of pages of older releases, when the answer had arrived.
-- fetched_at: When the answer had arrived.
-- is_read: Whether the vendor was asked for its state of that moment. A webhook or a file may be as
--     old as it likes.
CREATE VIEW billing.page_reading AS
 SELECT page_id, system, account, COALESCE(asked_at, fetched_at) AS asked_at,
    fetched_at,
    system <> 'file' AND (request ->> 'method') IS DISTINCT FROM 'WEBHOOK' AS is_read
   FROM billing.raw_page;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON billing.page_reading TO twezah_worker;


-- ==================== loyalty ====================

-- Members, tiers, the points program and the append-only ledger of awards.
CREATE SCHEMA loyalty;
GRANT USAGE ON SCHEMA loyalty TO analyst;
GRANT USAGE ON SCHEMA loyalty TO twezah_api;
GRANT USAGE ON SCHEMA loyalty TO twezah_panel;
GRANT USAGE ON SCHEMA loyalty TO twezah_worker;

-- A customer of the loyalty app, found by phone. The ledger refers to the number only, so the phone
-- can be erased and the sums stay.
CREATE TABLE loyalty.member (
    -- Pseudonymous number used everywhere else.
    member_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Personal data. E.164; null once erased.
    phone text COLLATE "C",
    -- When the first sale or the loyalty app made the member.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Personal data. IANA time zone of the customer, for promotions that look at their clock; null:
    -- the program's.
    timezone text,
    -- Random id of the member for the app and for links: it says nothing and cannot be guessed.
    -- Null once erased.
    public_id uuid DEFAULT gen_random_uuid(),
    CONSTRAINT member_pkey PRIMARY KEY (member_id),
    CONSTRAINT member_phone_key UNIQUE (phone),
    CONSTRAINT member_public_id_key UNIQUE (public_id),
    CONSTRAINT member_phone_check CHECK (phone ~ '^\+[1-9][0-9]{7,14}$'),
    CONSTRAINT member_timezone_check CHECK (timezone ~ '^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$')
);
CREATE TRIGGER member_kept BEFORE DELETE OR TRUNCATE ON loyalty.member FOR EACH STATEMENT
    EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER member_timezone_marks AFTER UPDATE OF timezone ON loyalty.member FOR EACH ROW
    WHEN (old.timezone IS DISTINCT FROM new.timezone) EXECUTE FUNCTION loyalty.mark_timezone();
GRANT SELECT ON loyalty.member TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member TO twezah_worker;
GRANT INSERT (phone) ON loyalty.member TO twezah_api;
GRANT UPDATE (phone) ON loyalty.member TO twezah_api;
GRANT SELECT (member_id, created_at, timezone) ON loyalty.member TO twezah_panel;

-- The points program, versioned: the highest version that has begun speaks; it replaces all earlier
-- ones from its valid_from on.
CREATE TABLE loyalty.program (
    -- Version number, named by every award.
    version integer NOT NULL,
    -- Sales issued from this instant on follow this version.
    valid_from timestamptz NOT NULL,
    -- Per currency (ISO 4217): points per whole currency unit, or per full amount of
    -- per_full_minor, in basis points; 100000 = 10 points. A sale in a currency that is not named
    -- is rejected or converted.
    base_rate_bps jsonb NOT NULL,
    -- Per tier: multiplier in basis points; 12000 = 1.2x. A tier not named here is refused.
    tier_rate_bps jsonb NOT NULL,
    -- Tier of a member who has none recorded yet.
    entry_tier text NOT NULL,
    -- How fractions of a point are rounded, once per invoice, on the magnitude.
    rounding text NOT NULL DEFAULT 'down',
    -- Amount that earns: the invoice total, or the subtotal without tax.
    basis text NOT NULL DEFAULT 'total',
    -- When the version was entered.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Who entered it.
    created_by text NOT NULL DEFAULT CURRENT_USER,
    -- issued: open and paid documents earn; paid: paid ones only. Either way by the document's own
    -- date.
    award_when text NOT NULL DEFAULT 'issued',
    -- IANA time zone of days, hours and calendar periods.
    timezone text NOT NULL DEFAULT 'Africa/Luanda',
    -- Sales in a currency without a rate are converted to this one at the rate of their date; null:
    -- they are rejected.
    base_currency text COLLATE "C",
    -- Product categories: name to a list of SKU patterns (* and ?).
    categories jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- What a credit document takes back: what the sale gave that it returns, found by its link, its
    -- products or its amount (returned_sales); of one that names no invoice, what the customer's
    -- latest sales gave (latest_sales); points at its own date (own_date).
    unlinked_credits text NOT NULL DEFAULT 'own_date',
    -- How tiers are evaluated: metric, currency, window_days, thresholds, period, grace_days; null:
    -- the loyalty app sets them.
    tier_policy jsonb,
    -- When points expire: months, end_of; null: never.
    expiry jsonb,
    -- Whether a discount lowers the products that it discounts (spread), or the sale only
    -- (ignored): it decides what product bonuses count.
    discount_lines text NOT NULL DEFAULT 'ignored',
    -- The program's own currency (ISO 4217), which has a rate; null in versions that do not name
    -- it: base_currency, else AOA.
    currency text COLLATE "C",
    -- Per currency: the amount in minor units of which only full ones earn; not named: every unit
    -- earns, and its fractions.
    per_full_minor jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- Most points of all promotions together: per_sale, per_period (points, period), per_member;
    -- null: as many as they give.
    promotion_limits jsonb,
    -- Until when points of a sale cannot be spent: days, until_paid; null: they can at once.
    pending jsonb,
    -- Points of events by name: points, and at most how many of a member count in all or in a day.
    events jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT program_pkey PRIMARY KEY (version),
    CONSTRAINT program_award_when_check CHECK (award_when IN ('issued', 'paid')),
    CONSTRAINT program_base_rate_bps_check CHECK (jsonb_typeof(base_rate_bps) = 'object'),
    CONSTRAINT program_basis_check CHECK (basis IN ('total', 'subtotal')),
    CONSTRAINT program_categories_check CHECK (jsonb_typeof(categories) = 'object'),
    CONSTRAINT program_check CHECK (tier_rate_bps ? entry_tier),
    CONSTRAINT program_check1 CHECK (base_rate_bps ? base_currency),
    CONSTRAINT program_check2 CHECK (base_rate_bps ? currency),
    CONSTRAINT program_discount_lines_check CHECK (discount_lines IN ('ignored', 'spread')),
    CONSTRAINT program_events_check CHECK (jsonb_typeof(events) = 'object'),
    CONSTRAINT program_expiry_check CHECK (jsonb_typeof(expiry) = 'object'),
    CONSTRAINT program_pending_check CHECK (jsonb_typeof(pending) = 'object'),
    CONSTRAINT program_per_full_minor_check CHECK (jsonb_typeof(per_full_minor) = 'object'),
    CONSTRAINT program_promotion_limits_check CHECK (jsonb_typeof(promotion_limits) = 'object'),
    CONSTRAINT program_rounding_check CHECK (rounding IN ('down', 'half_up', 'up')),
    CONSTRAINT program_tier_policy_check CHECK (jsonb_typeof(tier_policy) = 'object'),
    CONSTRAINT program_tier_rate_bps_check CHECK (jsonb_typeof(tier_rate_bps) = 'object'),
    CONSTRAINT program_unlinked_credits_check CHECK (unlinked_credits IN ('own_date',
        'latest_sales', 'returned_sales')),
    CONSTRAINT program_valid_from_check CHECK (valid_from < 'infinity'::timestamptz),
    CONSTRAINT program_version_check CHECK (version >= 1)
);
CREATE TRIGGER program_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.program
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER program_audited AFTER INSERT ON loyalty.program FOR EACH ROW
    EXECUTE FUNCTION audit.on_version();
CREATE TRIGGER program_marks AFTER INSERT ON loyalty.program FOR EACH STATEMENT
    EXECUTE FUNCTION loyalty.mark_rejected_awards();
GRANT SELECT ON loyalty.program TO twezah_api;
GRANT SELECT ON loyalty.program TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.program TO twezah_worker;
GRANT SELECT (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier, rounding, basis, created_at, award_when, timezone, base_currency, categories, unlinked_credits, tier_policy, expiry, discount_lines, currency, per_full_minor, promotion_limits) ON loyalty.program TO analyst;

-- Tier history: a tier is in force from valid_from until the member's next row. To correct one,
-- enter another for the same instant: the last entered counts.
CREATE TABLE loyalty.member_tier (
    -- Order of entry.
    tier_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member.
    member_id bigint NOT NULL,
    -- A tier of the program.
    tier text,
    -- Sales issued from this instant on use this tier.
    valid_from timestamptz NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Personal data of staff. Who entered it.
    recorded_by text NOT NULL DEFAULT CURRENT_USER,
    -- Why. No names and no phone numbers. Null: entered without one.
    reason text,
    -- Prefect flow run, command or request of the API that entered it; null: a database user.
    run_id text,
    CONSTRAINT member_tier_pkey PRIMARY KEY (tier_no),
    CONSTRAINT member_tier_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT member_tier_tier_check CHECK (tier ~ '^[a-z][a-z0-9_]{0,31}$'),
    CONSTRAINT member_tier_valid_from_check CHECK (isfinite(valid_from)),
    CONSTRAINT member_tier_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE INDEX member_tier_history ON loyalty.member_tier (member_id, valid_from, tier_no);
CREATE TRIGGER member_tier_audited AFTER INSERT ON loyalty.member_tier REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_tiers();
CREATE TRIGGER member_tier_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.member_tier
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER member_tier_marks AFTER INSERT ON loyalty.member_tier REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_tier_change();
CREATE TRIGGER member_tier_noted AFTER INSERT ON loyalty.member_tier REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_tiers();
GRANT INSERT, SELECT ON loyalty.member_tier TO twezah_api;
GRANT SELECT ON loyalty.member_tier TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_tier TO twezah_worker;
GRANT SELECT (tier_no, member_id, tier, valid_from, recorded_at, run_id) ON loyalty.member_tier TO analyst;

-- Promotions: the kind of rule is code, its parameters are here, valid in [valid_from, valid_to).
-- The highest version that has begun speaks.
CREATE TABLE loyalty.promotion (
    -- Name of the promotion.
    promotion_id text COLLATE "C" NOT NULL,
    -- Version of its parameters.
    version integer NOT NULL,
    -- Which rule evaluates it.
    kind text NOT NULL,
    -- Parameters of the rule, conditions (when), stacking and limits; see docs/points-rules.md.
    parameters jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- First instant of validity.
    valid_from timestamptz NOT NULL,
    -- First instant after validity; null: open.
    valid_to timestamptz,
    -- When it was entered.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Who entered it.
    created_by text NOT NULL DEFAULT CURRENT_USER,
    CONSTRAINT promotion_pkey PRIMARY KEY (promotion_id, version),
    CONSTRAINT promotion_check CHECK (valid_to IS NULL OR valid_from < valid_to),
    CONSTRAINT promotion_kind_check CHECK (kind IN ('product_bonus', 'seasonal_multiplier',
        'purchase_bonus', 'referral_reward')),
    CONSTRAINT promotion_parameters_check CHECK (jsonb_typeof(parameters) = 'object'),
    CONSTRAINT promotion_version_check CHECK (version >= 1)
);
CREATE TRIGGER promotion_audited AFTER INSERT ON loyalty.promotion FOR EACH ROW
    EXECUTE FUNCTION audit.on_version();
CREATE TRIGGER promotion_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.promotion
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT SELECT ON loyalty.promotion TO twezah_api;
GRANT SELECT ON loyalty.promotion TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.promotion TO twezah_worker;
GRANT SELECT (promotion_id, version, kind, parameters, valid_from, valid_to, created_at) ON loyalty.promotion TO analyst;

-- Members whose stored history changed and whose points are still to be recomputed: the work list
-- of the award step.
CREATE TABLE loyalty.member_dirty (
    -- Member.
    member_id bigint NOT NULL,
    -- How many changes marked the member since the last award. Each mark updates the row, so that
    -- marking waits for an award in progress.
    marks bigint NOT NULL DEFAULT 1,
    -- When the first change asked for it.
    marked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT member_dirty_pkey PRIMARY KEY (member_id)
);
GRANT SELECT ON loyalty.member_dirty TO twezah_api;
GRANT SELECT ON loyalty.member_dirty TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_dirty TO twezah_worker;

-- The ledger: append-only. One chain of entries per sale and member; each entry posts the
-- difference between what is due now and what was posted.
CREATE TABLE loyalty.award_entry (
    -- Billing system of the sale.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- The sale's id at the billing system.
    external_id text COLLATE "C" NOT NULL,
    -- Member who earns or returns the points.
    member_id bigint NOT NULL,
    -- Position in the chain of this sale and member, from 1.
    entry_no integer NOT NULL,
    -- Points posted for this sale and member before this entry.
    due_before bigint NOT NULL,
    -- Points due for this sale and member from this entry on.
    due_after bigint NOT NULL,
    -- due_after - due_before: what this entry adds to (or takes from) the balance.
    points bigint NOT NULL,
    -- award: first entry of the sale; edit, refund, void: the document changed so; moved: it
    -- belongs to another member now; referral: the friend's sale brings the referrer no reward any
    -- more; duplicate: another system's document of the same sale counts.
    reason text NOT NULL,
    -- How due_after came about: points per rule, e.g. {"base": 1500, "tier": 300}; their sum is
    -- due_after.
    breakdown jsonb NOT NULL,
    -- Amount that earned: total (or subtotal) less refunds, in minor units; negative for credit
    -- notes and refunds.
    net_minor bigint NOT NULL,
    -- Currency of net_minor, ISO 4217.
    currency text COLLATE "C" NOT NULL,
    -- Tier in force for the member at event_at.
    tier text NOT NULL,
    -- Version of the program that was in force at the sale.
    program_version integer NOT NULL,
    -- When the sale happened: decides tier and promotions.
    event_at timestamptz NOT NULL,
    -- When we posted it.
    posted_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that posted it.
    run_id text NOT NULL,
    CONSTRAINT award_entry_pkey PRIMARY KEY (member_id, external_id, account, system, entry_no),
    CONSTRAINT award_entry_entry_no_check CHECK (entry_no >= 1),
    CONSTRAINT award_entry_reason_check CHECK (reason IN ('award', 'edit', 'refund', 'void',
        'moved', 'referral', 'duplicate')),
    CONSTRAINT chain_starts_at_zero CHECK (entry_no > 1 OR due_before = 0),
    CONSTRAINT no_empty_entry CHECK (points <> 0),
    CONSTRAINT points_is_the_difference CHECK (points = (due_after - due_before))
);
-- Sales with more than one entry: explanations ask by the sale, all else by the member.
CREATE INDEX award_entry_corrected ON loyalty.award_entry (external_id) WHERE (entry_no > 1);
CREATE TRIGGER award_entry_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.award_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER award_entry_chain AFTER INSERT ON loyalty.award_entry REFERENCING NEW TABLE
    AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.check_chain();
CREATE TRIGGER award_entry_noted AFTER INSERT ON loyalty.award_entry REFERENCING NEW TABLE
    AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_awards();
GRANT SELECT ON loyalty.award_entry TO twezah_api;
GRANT SELECT ON loyalty.award_entry TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.award_entry TO twezah_worker;
GRANT SELECT (system, account, member_id, entry_no, due_before, due_after, points, reason, breakdown, net_minor, currency, tier, program_version, event_at, posted_at, run_id) ON loyalty.award_entry TO analyst;

-- Who brought whom: one referrer per friend. To correct or withdraw one, enter another row: the
-- last row of a friend counts.
CREATE TABLE loyalty.referral (
    -- Member who was referred.
    friend_id bigint NOT NULL,
    -- Member who referred them; null: nobody did after all.
    referrer_id bigint,
    -- When: sales of the friend from then on count.
    referred_at timestamptz NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Personal data of staff. Who entered it.
    recorded_by text NOT NULL DEFAULT CURRENT_USER,
    -- Order of entry.
    referral_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Why. No names and no phone numbers. Null: entered without one.
    reason text,
    -- Prefect flow run, command or request of the API that entered it; null: a database user.
    run_id text,
    CONSTRAINT referral_pkey PRIMARY KEY (referral_no),
    CONSTRAINT no_self_referral CHECK (friend_id <> referrer_id),
    CONSTRAINT referral_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT referral_referred_at_check CHECK (isfinite(referred_at)),
    CONSTRAINT referral_friend_id_fkey FOREIGN KEY (friend_id) REFERENCES loyalty.member(member_id),
    CONSTRAINT referral_referrer_id_fkey FOREIGN KEY (referrer_id)
        REFERENCES loyalty.member(member_id)
);
CREATE INDEX referral_friend ON loyalty.referral (friend_id, referral_no);
CREATE INDEX referral_referrer ON loyalty.referral (referrer_id);
CREATE TRIGGER referral_audited AFTER INSERT ON loyalty.referral REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION audit.on_referral();
CREATE TRIGGER referral_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.referral
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER referral_marks AFTER INSERT ON loyalty.referral REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_referrers();
GRANT INSERT, SELECT ON loyalty.referral TO twezah_api;
GRANT SELECT ON loyalty.referral TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.referral TO twezah_worker;
GRANT SELECT (friend_id, referrer_id, referred_at, recorded_at, referral_no, run_id) ON loyalty.referral TO analyst;

-- Members that are one customer: the sales of member_id count for into_id. The last row of a member
-- counts; into itself undoes.
CREATE TABLE loyalty.member_merge (
    -- Order of entry.
    merge_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member whose sales go over.
    member_id bigint NOT NULL,
    -- Member who has them now; its phone counts, its tiers as `tiers` says, and of two referrals
    -- the earlier one.
    into_id bigint NOT NULL,
    -- Why: a second account, a new phone. No names and no phone numbers: analysts read it.
    reason text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Personal data of staff. Who decided it.
    recorded_by text NOT NULL DEFAULT CURRENT_USER,
    -- Prefect flow run or command that entered it.
    run_id text,
    -- Tiers that were set: better: of both the better one at each instant; into: those of into_id
    -- alone.
    tiers text NOT NULL DEFAULT 'better',
    CONSTRAINT member_merge_pkey PRIMARY KEY (merge_no),
    CONSTRAINT member_merge_reason_check CHECK (reason <> ''),
    CONSTRAINT member_merge_tiers_check CHECK (tiers IN ('better', 'into')),
    CONSTRAINT member_merge_into_id_fkey FOREIGN KEY (into_id) REFERENCES loyalty.member(member_id),
    CONSTRAINT member_merge_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE INDEX member_merge_into ON loyalty.member_merge (into_id);
CREATE INDEX member_merge_member ON loyalty.member_merge (member_id, merge_no);
CREATE TRIGGER member_merge_audited AFTER INSERT ON loyalty.member_merge FOR EACH ROW
    EXECUTE FUNCTION audit.on_merge();
CREATE TRIGGER member_merge_checked AFTER INSERT ON loyalty.member_merge REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.check_merge();
CREATE TRIGGER member_merge_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.member_merge
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER member_merge_locks BEFORE INSERT ON loyalty.member_merge FOR EACH ROW
    EXECUTE FUNCTION loyalty.lock_merging();
CREATE TRIGGER member_merge_marks AFTER INSERT ON loyalty.member_merge REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_former_owners();
CREATE TRIGGER member_merge_noted AFTER INSERT ON loyalty.member_merge FOR EACH ROW
    EXECUTE FUNCTION loyalty.note_merge();
GRANT INSERT, SELECT ON loyalty.member_merge TO twezah_api;
GRANT SELECT ON loyalty.member_merge TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_merge TO twezah_worker;
GRANT SELECT (merge_no, member_id, into_id, recorded_at, run_id, tiers) ON loyalty.member_merge TO analyst;

-- What sales would get from promotions with a budget, and what the budget leaves of it. Derived
-- from the sales: it can be emptied and is made again.
CREATE TABLE loyalty.promotion_claim (
    -- Promotion.
    promotion_id text COLLATE "C" NOT NULL,
    -- Its version; each has a budget of its own.
    version integer NOT NULL,
    -- Member who would get the points.
    member_id bigint NOT NULL,
    -- Billing system of the sale.
    system text COLLATE "C" NOT NULL,
    -- Account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- The sale's id.
    external_id text COLLATE "C" NOT NULL,
    -- When the sale happened: budgets are used up in the order of issued_at, system, account,
    -- external_id, member_id.
    issued_at timestamptz NOT NULL,
    -- Points that the promotion would give for the sale if it had no budget.
    wanted bigint NOT NULL,
    -- Points that the budget allows. What is left is given to the sales in the order of issued_at.
    granted bigint NOT NULL DEFAULT 0,
    -- The claim changed: the budget has to be divided again among all sales from this instant on.
    -- Null: the claim is settled.
    unsettled_from timestamptz,
    CONSTRAINT promotion_claim_pkey PRIMARY KEY (promotion_id, version, member_id, external_id,
        account, system),
    CONSTRAINT promotion_claim_granted_check CHECK (granted >= 0),
    CONSTRAINT promotion_claim_wanted_check CHECK (wanted >= 0)
);
CREATE INDEX promotion_claim_member ON loyalty.promotion_claim (member_id);
-- The order in which claims use a budget up.
CREATE INDEX promotion_claim_order ON loyalty.promotion_claim (promotion_id, version, issued_at,
    system, account, external_id, member_id);
-- Claims because of which a budget has to be divided again.
CREATE INDEX promotion_claim_unsettled ON loyalty.promotion_claim (promotion_id, version,
    unsettled_from) WHERE (unsettled_from IS NOT NULL);
GRANT SELECT ON loyalty.promotion_claim TO twezah_api;
GRANT SELECT ON loyalty.promotion_claim TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.promotion_claim TO twezah_worker;
GRANT SELECT (promotion_id, version, member_id, system, account, issued_at, wanted, granted, unsettled_from) ON loyalty.promotion_claim TO analyst;

-- Points that expired, append-only: one chain per member and instant of expiry, each entry the
-- difference to what was posted.
CREATE TABLE loyalty.expiry_entry (
    -- Member.
    member_id bigint NOT NULL,
    -- When the points expired.
    expires_at timestamptz NOT NULL,
    -- Position in the chain, from 1: a later correction of a sale changes what expired.
    entry_no integer NOT NULL,
    -- Points expired then, as posted before this entry.
    due_before bigint NOT NULL,
    -- Points expired then, from this entry on.
    due_after bigint NOT NULL,
    -- What it adds to the balance: due_before - due_after, so an expiry is negative.
    points bigint NOT NULL,
    -- When it was posted.
    posted_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that posted it.
    run_id text NOT NULL,
    CONSTRAINT expiry_entry_pkey PRIMARY KEY (member_id, expires_at, entry_no),
    CONSTRAINT chain_starts_at_zero CHECK (entry_no > 1 OR due_before = 0),
    CONSTRAINT expiry_entry_entry_no_check CHECK (entry_no >= 1),
    CONSTRAINT no_empty_entry CHECK (points <> 0),
    CONSTRAINT points_is_the_difference CHECK (points = (due_before - due_after))
);
CREATE TRIGGER expiry_entry_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.expiry_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER expiry_entry_noted AFTER INSERT ON loyalty.expiry_entry REFERENCING NEW TABLE
    AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_expiries();
GRANT SELECT ON loyalty.expiry_entry TO analyst;
GRANT SELECT ON loyalty.expiry_entry TO twezah_api;
GRANT SELECT ON loyalty.expiry_entry TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.expiry_entry TO twezah_worker;

-- Up to when expiries have been asked for: whose points expired since is marked by the next award
-- step.
CREATE TABLE loyalty.expiry_watch (
    -- There is one row.
    only_row boolean NOT NULL DEFAULT true,
    -- Every member with points that expired before this instant was marked for the award step.
    watched_until timestamptz NOT NULL,
    -- Every member with points that expire before this instant was marked, so that they are told.
    noticed_until timestamptz,
    CONSTRAINT expiry_watch_pkey PRIMARY KEY (only_row),
    CONSTRAINT expiry_watch_only_row_check CHECK (only_row)
);
GRANT SELECT ON loyalty.expiry_watch TO twezah_api;
GRANT SELECT ON loyalty.expiry_watch TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.expiry_watch TO twezah_worker;

-- Members whose phone was changed by hand, append-only. The numbers themselves are not kept here.
CREATE TABLE loyalty.phone_change (
    -- Number of the change.
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Member.
    member_id bigint NOT NULL,
    -- Member who holds the former number and was merged into this one, so that sales under it still
    -- count; null: the number was given up.
    former_member_id bigint,
    -- Why. No names and no phone numbers.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Command that entered it.
    run_id text NOT NULL,
    CONSTRAINT phone_change_pkey PRIMARY KEY (change_id),
    CONSTRAINT phone_change_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT phone_change_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT phone_change_former_member_id_fkey FOREIGN KEY (former_member_id)
        REFERENCES loyalty.member(member_id),
    CONSTRAINT phone_change_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE TRIGGER phone_change_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.phone_change
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER phone_change_audited AFTER INSERT ON loyalty.phone_change FOR EACH ROW
    EXECUTE FUNCTION audit.on_phone_change();
GRANT INSERT, SELECT ON loyalty.phone_change TO twezah_api;
GRANT SELECT ON loyalty.phone_change TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.phone_change TO twezah_worker;

-- Points given or taken by hand, append-only; they count in the balance like ledger entries. To
-- take one back, a row that voids it is added.
CREATE TABLE loyalty.adjustment (
    -- Number of the adjustment.
    adjustment_id bigint GENERATED ALWAYS AS IDENTITY,
    -- The same key never counts twice.
    idempotency_key text COLLATE "C" NOT NULL,
    -- Member as named when it was entered; after a merge it counts for whoever earns for them
    -- (loyalty.merged_member).
    member_id bigint NOT NULL,
    -- What it adds to the balance; negative: takes.
    points bigint NOT NULL,
    -- The adjustment that this row takes back, whole; null: this row is an adjustment.
    voids_id bigint,
    -- Why. No names and no phone numbers: analysts read it.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- Personal data where a birthday is the reason. From when on the points count, for what depends
    -- on dates (expiry).
    event_at timestamptz NOT NULL DEFAULT now(),
    -- When it was entered.
    posted_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that entered it.
    run_id text NOT NULL,
    -- adjustment: decided by hand; opening balance: points of an earlier program, imported; event:
    -- points that a rule gives for what a member did. A void has the kind of what it takes back.
    kind text NOT NULL DEFAULT 'adjustment',
    -- Of the kind event: which event; else null.
    event_no bigint,
    CONSTRAINT adjustment_pkey PRIMARY KEY (adjustment_id),
    CONSTRAINT adjustment_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT adjustment_voids_id_key UNIQUE (voids_id),
    CONSTRAINT adjustment_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT adjustment_event_at_check CHECK (isfinite(event_at)),
    CONSTRAINT adjustment_idempotency_key_check CHECK (length(idempotency_key) >= 1
        AND length(idempotency_key) <= 200),
    CONSTRAINT adjustment_kind_check CHECK (kind IN ('adjustment', 'opening balance', 'event')),
    CONSTRAINT adjustment_names_its_event CHECK ((kind = 'event') = (event_no IS NOT NULL)),
    CONSTRAINT adjustment_points_check CHECK (points <> 0 AND points >= '-1000000000000'::bigint
        AND points <= '1000000000000'::bigint),
    CONSTRAINT adjustment_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT adjustment_event_no_fkey FOREIGN KEY (event_no)
        REFERENCES loyalty.member_event(event_no),
    CONSTRAINT adjustment_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id),
    CONSTRAINT adjustment_voids_id_fkey FOREIGN KEY (voids_id)
        REFERENCES loyalty.adjustment(adjustment_id)
);
-- What is posted for an event.
CREATE INDEX adjustment_event ON loyalty.adjustment (event_no) WHERE (event_no IS NOT NULL);
CREATE INDEX adjustment_member ON loyalty.adjustment (member_id, event_at);
CREATE INDEX adjustment_opening ON loyalty.adjustment (member_id, event_at)
    WHERE (kind = 'opening balance');
CREATE TRIGGER adjustment_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.adjustment
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER adjustment_audited AFTER INSERT ON loyalty.adjustment FOR EACH ROW
    WHEN (new.kind = 'adjustment' OR new.kind = 'opening balance' AND new.voids_id IS NOT NULL)
    EXECUTE FUNCTION audit.on_adjustment();
CREATE TRIGGER adjustment_marks AFTER INSERT ON loyalty.adjustment REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_adjustment();
CREATE TRIGGER adjustment_noted AFTER INSERT ON loyalty.adjustment REFERENCING NEW TABLE AS posted
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_adjustments();
CREATE TRIGGER adjustment_void_is_exact BEFORE INSERT ON loyalty.adjustment FOR EACH ROW
    EXECUTE FUNCTION loyalty.check_adjustment();
GRANT SELECT ON loyalty.adjustment TO twezah_api;
GRANT SELECT ON loyalty.adjustment TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.adjustment TO twezah_worker;

-- Exchange rates, append-only. For a day the one with the latest valid_on counts, and of those the
-- last entered; a day without one has none.
CREATE TABLE loyalty.fx_rate (
    -- Order of entry.
    rate_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Currency of the sale, ISO 4217.
    currency text COLLATE "C" NOT NULL,
    -- Currency it is converted to.
    base_currency text COLLATE "C" NOT NULL,
    -- First day, in the program's time zone.
    valid_on date NOT NULL,
    -- Last day: a weekend's days belong to the rate of the Friday only if its source says so.
    valid_until date NOT NULL,
    -- Units of base_currency for one unit of currency; nine decimals at most.
    rate numeric NOT NULL,
    -- Who says so.
    source text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that entered it.
    run_id text NOT NULL,
    CONSTRAINT fx_rate_pkey PRIMARY KEY (rate_id),
    CONSTRAINT fx_rate_base_currency_check CHECK (base_currency ~ '^[A-Z]{3}$'),
    CONSTRAINT fx_rate_check CHECK (currency <> base_currency),
    CONSTRAINT fx_rate_check1 CHECK (valid_until >= valid_on AND valid_until <= (valid_on + 366)),
    CONSTRAINT fx_rate_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT fx_rate_rate_check CHECK (rate > 0::numeric AND rate < 1000000000::numeric
        AND rate = round(rate, 9)),
    CONSTRAINT fx_rate_source_check CHECK (btrim(source) <> '' AND length(source) <= 200),
    CONSTRAINT fx_rate_valid_on_check CHECK (isfinite(valid_on))
);
CREATE INDEX fx_rate_day ON loyalty.fx_rate (base_currency, currency, valid_on, rate_id);
CREATE TRIGGER fx_rate_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.fx_rate
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER fx_rate_audited AFTER INSERT ON loyalty.fx_rate REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION audit.on_fx_rates();
CREATE TRIGGER fx_rate_marks AFTER INSERT ON loyalty.fx_rate REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_fx_rate();
GRANT SELECT ON loyalty.fx_rate TO analyst;
GRANT SELECT ON loyalty.fx_rate TO twezah_api;
GRANT SELECT ON loyalty.fx_rate TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.fx_rate TO twezah_worker;

-- Changes of the rules, append-only: who, when, why, and the file as it was applied.
CREATE TABLE loyalty.program_change (
    -- Number of the change.
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- Why.
    reason text NOT NULL,
    -- When it was applied.
    applied_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that applied it.
    run_id text NOT NULL,
    -- The rules as they were written (points.toml).
    file_text text NOT NULL,
    -- The versions it made, e.g. {"program": 2, "black-november": 1}.
    versions jsonb NOT NULL,
    -- First instant at which the rules differ from before; null: nowhere.
    reaches timestamptz,
    -- Whether past sales were recomputed.
    recomputed boolean NOT NULL,
    -- Members whose points for stored sales changed, as found beforehand.
    members bigint NOT NULL,
    -- By how many points, all together.
    points bigint NOT NULL,
    CONSTRAINT program_change_pkey PRIMARY KEY (change_id),
    CONSTRAINT program_change_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT program_change_members_check CHECK (members >= 0),
    CONSTRAINT program_change_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT program_change_versions_check CHECK (jsonb_typeof(versions) = 'object')
);
CREATE TRIGGER program_change_append_only BEFORE DELETE OR UPDATE OR TRUNCATE
    ON loyalty.program_change FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER program_change_audited AFTER INSERT ON loyalty.program_change FOR EACH ROW
    EXECUTE FUNCTION audit.on_program_change();
GRANT SELECT ON loyalty.program_change TO twezah_api;
GRANT SELECT ON loyalty.program_change TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.program_change TO twezah_worker;
GRANT SELECT (change_id, applied_at, run_id, versions, reaches, recomputed, members, points) ON loyalty.program_change TO analyst;

-- Members whose personal data was removed, append-only. Documents that were theirs stay theirs,
-- also when they are read again.
CREATE TABLE loyalty.member_erasure (
    -- Number of the erasure.
    erasure_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member; whoever was merged into them is erased with them, by a row of their own.
    member_id bigint NOT NULL,
    -- Why, e.g. the request's number. No names.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- When.
    erased_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run, or command.
    run_id text NOT NULL,
    CONSTRAINT member_erasure_pkey PRIMARY KEY (erasure_no),
    CONSTRAINT member_erasure_member_id_key UNIQUE (member_id),
    CONSTRAINT member_erasure_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT member_erasure_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT member_erasure_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE TRIGGER member_erasure_audited AFTER INSERT ON loyalty.member_erasure FOR EACH ROW
    EXECUTE FUNCTION audit.on_erasure();
CREATE TRIGGER member_erasure_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.member_erasure
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER member_erasure_noted AFTER INSERT ON loyalty.member_erasure FOR EACH ROW
    EXECUTE FUNCTION loyalty.note_erasure();
GRANT SELECT ON loyalty.member_erasure TO twezah_api;
GRANT SELECT ON loyalty.member_erasure TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_erasure TO twezah_worker;

-- Steps of evaluated tiers, append-only: one chain per member and instant; the last entry of a
-- chain counts. Derived from the stored sales; awards do not read it.
CREATE TABLE loyalty.tier_entry (
    -- Member.
    member_id bigint NOT NULL,
    -- From when the member has the tier.
    valid_from timestamptz NOT NULL,
    -- Position in the chain, from 1: a late or corrected sale changes what the tier was.
    entry_no integer NOT NULL,
    -- The tier from valid_from on. Null: an earlier entry for this instant is taken back.
    tier text,
    -- When it was found out.
    posted_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that did.
    run_id text NOT NULL,
    CONSTRAINT tier_entry_pkey PRIMARY KEY (member_id, valid_from, entry_no),
    CONSTRAINT chain_starts_with_a_tier CHECK (entry_no > 1 OR tier IS NOT NULL),
    CONSTRAINT tier_entry_entry_no_check CHECK (entry_no >= 1),
    CONSTRAINT tier_entry_valid_from_check CHECK (isfinite(valid_from)),
    CONSTRAINT tier_entry_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE TRIGGER tier_entry_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.tier_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER tier_entry_noted AFTER INSERT ON loyalty.tier_entry REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_tiers();
GRANT SELECT ON loyalty.tier_entry TO analyst;
GRANT SELECT ON loyalty.tier_entry TO twezah_api;
GRANT SELECT ON loyalty.tier_entry TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.tier_entry TO twezah_worker;

-- Which billing system's document counts where several tell one sale; append-only, the last row is
-- in force.
CREATE TABLE loyalty.sale_precedence (
    -- Number of the declaration.
    precedence_no integer GENERATED ALWAYS AS IDENTITY,
    -- Systems, or system/account, the one that counts first. Empty: none is declared any more.
    systems text[] NOT NULL,
    -- The rule: sales of one member with the same amount within so many hours are one. Null: off.
    within_hours integer,
    -- Sales dated earlier count as if nothing were declared; -infinity: for all sales.
    valid_from timestamptz NOT NULL DEFAULT '-infinity'::timestamptz,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- Why.
    reason text NOT NULL,
    -- When it was declared.
    declared_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that declared it.
    run_id text NOT NULL,
    -- Members whose points for stored sales changed, as found beforehand.
    members bigint NOT NULL,
    -- By how many points, all together.
    points bigint NOT NULL,
    CONSTRAINT sale_precedence_pkey PRIMARY KEY (precedence_no),
    CONSTRAINT sale_precedence_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT sale_precedence_members_check CHECK (members >= 0),
    CONSTRAINT sale_precedence_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT sale_precedence_systems_check CHECK (cardinality(systems) <> 1),
    CONSTRAINT sale_precedence_within_hours_check CHECK (within_hours >= 1 AND within_hours <= 168)
);
CREATE TRIGGER sale_precedence_append_only BEFORE DELETE OR UPDATE OR TRUNCATE
    ON loyalty.sale_precedence FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER sale_precedence_audited AFTER INSERT ON loyalty.sale_precedence FOR EACH ROW
    EXECUTE FUNCTION audit.on_sale_precedence();
GRANT SELECT ON loyalty.sale_precedence TO twezah_api;
GRANT SELECT ON loyalty.sale_precedence TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.sale_precedence TO twezah_worker;
GRANT SELECT (precedence_no, systems, within_hours, valid_from, declared_at, run_id, members, points) ON loyalty.sale_precedence TO analyst;

-- Documents that earn nothing now, because another system's document of the same sale counts.
CREATE TABLE loyalty.left_out_sale (
    -- Billing system of the document left out.
    system text COLLATE "C" NOT NULL,
    -- Its account at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Its id at the billing system.
    external_id text COLLATE "C" NOT NULL,
    -- Member who would earn for it.
    member_id bigint NOT NULL,
    -- How much of its amount counts elsewhere, in minor units; a credit may count in part.
    settled_minor bigint NOT NULL,
    -- Billing system of the document that counts.
    by_system text COLLATE "C" NOT NULL,
    -- Its account.
    by_account text COLLATE "C" NOT NULL,
    -- Its id.
    by_external_id text COLLATE "C" NOT NULL,
    -- How the two were recognised as one sale.
    matched_by text NOT NULL,
    -- Since when it is left out.
    left_out_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that left it out.
    run_id text NOT NULL,
    CONSTRAINT left_out_sale_pkey PRIMARY KEY (member_id, external_id, account, system),
    CONSTRAINT left_out_sale_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- What one document leaves out: marking asks for it.
CREATE INDEX left_out_by ON loyalty.left_out_sale (by_external_id);
-- What was left out last: the page shows it.
CREATE INDEX left_out_recent ON loyalty.left_out_sale (left_out_at);
GRANT SELECT ON loyalty.left_out_sale TO twezah_api;
GRANT SELECT ON loyalty.left_out_sale TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.left_out_sale TO twezah_worker;

-- Requests to spend points, append-only. What became of each is in loyalty.redemption_step.
CREATE TABLE loyalty.redemption (
    -- Number of the redemption.
    redemption_id bigint GENERATED ALWAYS AS IDENTITY,
    -- The sender's name for the request: the same name never spends twice.
    idempotency_key text COLLATE "C" NOT NULL,
    -- Member as named in the request; after a merge it counts for whoever earns for them.
    member_id bigint NOT NULL,
    -- Points to spend.
    points bigint NOT NULL,
    -- What the points are spent on, as the sender numbers it: a reward, an order.
    reference text NOT NULL,
    -- Why, in words that the member reads. No names and no phone numbers.
    reason text NOT NULL,
    -- When the member was locked for it. For expiry the points count as taken from here on.
    requested_at timestamptz NOT NULL,
    -- A hold reserves the points until this instant; null: they were spent at once.
    hold_ends_at timestamptz,
    -- API key or person.
    requested_by text NOT NULL,
    -- Request of the API, or command.
    run_id text NOT NULL,
    CONSTRAINT redemption_pkey PRIMARY KEY (redemption_id),
    CONSTRAINT redemption_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT redemption_check CHECK (isfinite(hold_ends_at) AND hold_ends_at > requested_at),
    CONSTRAINT redemption_idempotency_key_check CHECK (length(idempotency_key) >= 1
        AND length(idempotency_key) <= 255),
    CONSTRAINT redemption_points_check CHECK (points >= 1 AND points <= '1000000000000'::bigint),
    CONSTRAINT redemption_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT redemption_reference_check CHECK (btrim(reference) <> ''
        AND length(reference) <= 200),
    CONSTRAINT redemption_requested_at_check CHECK (isfinite(requested_at)),
    CONSTRAINT redemption_requested_by_check CHECK (btrim(requested_by) <> ''
        AND length(requested_by) <= 200),
    CONSTRAINT redemption_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
CREATE INDEX redemption_hold_end ON loyalty.redemption (hold_ends_at)
    WHERE (hold_ends_at IS NOT NULL);
CREATE INDEX redemption_member ON loyalty.redemption (member_id, redemption_id);
CREATE TRIGGER redemption_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.redemption
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER redemption_audited AFTER INSERT ON loyalty.redemption FOR EACH ROW
    WHEN (new.hold_ends_at IS NOT NULL) EXECUTE FUNCTION audit.on_redemption();
GRANT INSERT, SELECT ON loyalty.redemption TO twezah_api;
GRANT SELECT ON loyalty.redemption TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.redemption TO twezah_worker;

-- What became of a redemption, append-only: each step once. The points of all steps count in the
-- balance.
CREATE TABLE loyalty.redemption_step (
    -- Redemption.
    redemption_id bigint NOT NULL,
    -- redeemed: the points are spent (at once, or a hold was confirmed); cancelled: the hold was
    -- given up; reversed: spent points were given back.
    step text NOT NULL,
    -- Member of the redemption.
    member_id bigint NOT NULL,
    -- What the step adds to the balance: minus the points if redeemed, 0 if cancelled, the points
    -- if reversed.
    points bigint NOT NULL,
    -- The sender's name for the request; null: it is the redemption's own.
    idempotency_key text COLLATE "C",
    -- Why, of a step with a reason of its own. No names and no phone numbers.
    reason text,
    -- When it was posted.
    posted_at timestamptz NOT NULL,
    -- API key or person.
    posted_by text NOT NULL,
    -- Request of the API, or command.
    run_id text NOT NULL,
    CONSTRAINT redemption_step_pkey PRIMARY KEY (redemption_id, step),
    CONSTRAINT redemption_step_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT redemption_step_idempotency_key_check CHECK (length(idempotency_key) >= 1
        AND length(idempotency_key) <= 255),
    CONSTRAINT redemption_step_posted_by_check CHECK (btrim(posted_by) <> ''
        AND length(posted_by) <= 200),
    CONSTRAINT redemption_step_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT redemption_step_step_check CHECK (step IN ('redeemed', 'cancelled', 'reversed')),
    CONSTRAINT redemption_step_redemption_id_fkey FOREIGN KEY (redemption_id)
        REFERENCES loyalty.redemption(redemption_id)
);
CREATE INDEX redemption_step_member ON loyalty.redemption_step (member_id, posted_at);
CREATE TRIGGER redemption_step_append_only BEFORE DELETE OR UPDATE OR TRUNCATE
    ON loyalty.redemption_step FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER redemption_step_audited AFTER INSERT ON loyalty.redemption_step FOR EACH ROW
    EXECUTE FUNCTION audit.on_redemption_step();
CREATE TRIGGER redemption_step_fits BEFORE INSERT ON loyalty.redemption_step FOR EACH ROW
    EXECUTE FUNCTION loyalty.check_redemption_step();
CREATE TRIGGER redemption_step_marks AFTER INSERT ON loyalty.redemption_step FOR EACH ROW
    WHEN (new.step <> 'redeemed') EXECUTE FUNCTION loyalty.mark_released();
CREATE TRIGGER redemption_step_noted AFTER INSERT ON loyalty.redemption_step REFERENCING NEW TABLE
    AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_redemption_steps();
GRANT INSERT, SELECT ON loyalty.redemption_step TO twezah_api;
GRANT SELECT ON loyalty.redemption_step TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.redemption_step TO twezah_worker;

-- What one point is worth in a currency, for reports, append-only. To correct one, enter another
-- for the same instant: the last entered counts.
CREATE TABLE loyalty.point_value (
    -- Order of entry.
    value_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Currency, ISO 4217.
    currency text COLLATE "C" NOT NULL,
    -- In force from this instant until the next one of the currency.
    valid_from timestamptz NOT NULL,
    -- Worth of one point in whole currency units: 0.10 is a tenth of a kwanza.
    value_per_point numeric(20,9) NOT NULL,
    -- Why. No names and no phone numbers.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Command that entered it.
    run_id text NOT NULL,
    CONSTRAINT point_value_pkey PRIMARY KEY (value_no),
    CONSTRAINT point_value_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT point_value_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT point_value_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT point_value_valid_from_check CHECK (isfinite(valid_from)),
    CONSTRAINT point_value_value_per_point_check CHECK (value_per_point >= 0::numeric)
);
CREATE INDEX point_value_history ON loyalty.point_value (currency, valid_from, value_no);
CREATE TRIGGER point_value_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.point_value
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER point_value_audited AFTER INSERT ON loyalty.point_value FOR EACH ROW
    EXECUTE FUNCTION audit.on_point_value();
GRANT SELECT ON loyalty.point_value TO twezah_api;
GRANT SELECT ON loyalty.point_value TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.point_value TO twezah_worker;

-- Changes that are noted and not published yet. Each goes into loyalty.change, with a number.
CREATE TABLE loyalty.change_pending (
    -- Order in which they were noted.
    pending_no bigint GENERATED ALWAYS AS IDENTITY,
    -- As in loyalty.change.
    kind text COLLATE "C" NOT NULL,
    -- Member.
    member_id bigint NOT NULL,
    -- As in loyalty.change.
    data jsonb NOT NULL,
    -- When it was entered.
    happened_at timestamptz NOT NULL DEFAULT now(),
    -- It is published from then on: a tier that begins later is told when it begins.
    due_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT change_pending_pkey PRIMARY KEY (pending_no),
    CONSTRAINT change_pending_data_check CHECK (jsonb_typeof(data) = 'object'
        AND octet_length(data::text) <= 8000),
    CONSTRAINT change_pending_kind_check CHECK (kind ~ '^[a-z_]+([.][a-z_]+)+$')
);
CREATE INDEX change_pending_due ON loyalty.change_pending (due_at);
GRANT SELECT ON loyalty.change_pending TO twezah_api;
GRANT SELECT ON loyalty.change_pending TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.change_pending TO twezah_worker;

-- What changed for members, append-only and without personal data: what the loyalty app reads and
-- is told by webhooks.
CREATE TABLE loyalty.change (
    -- Position in the feed. It rises, may leave numbers out, and is seen only when all lower ones
    -- are.
    change_no bigint GENERATED ALWAYS AS IDENTITY,
    -- points.changed, points.expiring, redemption.reversed, tier.changed, member.merged,
    -- member.unmerged, member.erased, or one that another ledger notes.
    kind text COLLATE "C" NOT NULL,
    -- Member.
    member_id bigint NOT NULL,
    -- What changed, by kind. No personal data.
    data jsonb NOT NULL,
    -- The member's balance when this was published. That of the last change is the balance of
    -- today.
    balance_points bigint NOT NULL,
    -- When it was entered.
    happened_at timestamptz NOT NULL,
    -- When it got its number.
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT change_pkey PRIMARY KEY (change_no)
);
CREATE INDEX change_member ON loyalty.change (member_id, change_no);
CREATE TRIGGER change_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.change
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER change_queued AFTER INSERT ON loyalty.change REFERENCING NEW TABLE AS published
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.queue_deliveries();
GRANT SELECT ON loyalty.change TO twezah_api;
GRANT SELECT ON loyalty.change TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.change TO twezah_worker;
GRANT SELECT (change_no, kind, member_id, balance_points, happened_at, published_at) ON loyalty.change TO analyst;

-- The tier of each member as it was published last, so that only real changes are told.
CREATE TABLE loyalty.tier_published (
    -- Member.
    member_id bigint NOT NULL,
    -- Tier.
    tier text NOT NULL,
    CONSTRAINT tier_published_pkey PRIMARY KEY (member_id),
    CONSTRAINT tier_published_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
GRANT SELECT ON loyalty.tier_published TO twezah_api;
GRANT SELECT ON loyalty.tier_published TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.tier_published TO twezah_worker;

-- Points that were told to expire soon: once for each member and instant.
CREATE TABLE loyalty.expiry_notice (
    -- Member.
    member_id bigint NOT NULL,
    -- When they expire.
    expires_at timestamptz NOT NULL,
    -- How many, as far as it was known when it was told.
    points bigint NOT NULL,
    -- When it was told.
    noticed_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run that told it.
    run_id text NOT NULL,
    CONSTRAINT expiry_notice_pkey PRIMARY KEY (member_id, expires_at),
    CONSTRAINT expiry_notice_points_check CHECK (points > 0)
);
CREATE TRIGGER expiry_notice_noted AFTER INSERT ON loyalty.expiry_notice REFERENCING NEW TABLE
    AS noticed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_expiry_notices();
GRANT SELECT ON loyalty.expiry_notice TO analyst;
GRANT SELECT ON loyalty.expiry_notice TO twezah_api;
GRANT SELECT ON loyalty.expiry_notice TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.expiry_notice TO twezah_worker;

-- Addresses that are told of changes by webhook, signed per Standard Webhooks.
CREATE TABLE loyalty.receiver (
    -- Number of the receiver.
    receiver_no bigint GENERATED ALWAYS AS IDENTITY,
    -- What operators call it.
    name text COLLATE "C" NOT NULL,
    -- What the ids of its messages begin with, behind msg_: those of two installations differ.
    message_prefix text COLLATE "C" NOT NULL,
    -- Where messages go. Holds no user, password or query.
    url text NOT NULL,
    -- Kinds of changes that it is told; empty: all.
    kinds text[] NOT NULL DEFAULT '{}'::text[],
    -- When it was entered first.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- From then on it is told nothing; null: in use.
    ended_at timestamptz,
    -- Why: an operator, or its own answer 410.
    end_reason text,
    -- Attempts that failed since the last success.
    failures integer NOT NULL DEFAULT 0,
    -- When the first of them was.
    failing_since timestamptz,
    -- Nothing is sent before: it asked for that, or failed several times in a row.
    resting_until timestamptz,
    -- Why the last attempt failed that did.
    last_error text,
    -- When it last accepted a message.
    last_delivered_at timestamptz,
    CONSTRAINT receiver_pkey PRIMARY KEY (receiver_no),
    CONSTRAINT receiver_message_prefix_key UNIQUE (message_prefix),
    CONSTRAINT receiver_name_key UNIQUE (name),
    CONSTRAINT receiver_failures_check CHECK (failures >= 0),
    CONSTRAINT receiver_last_error_check CHECK (length(last_error) <= 300),
    CONSTRAINT receiver_message_prefix_check CHECK (message_prefix ~ '^[a-z0-9]{12}$'),
    CONSTRAINT receiver_name_check CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    CONSTRAINT receiver_url_check CHECK (url ~ '^https?://' AND length(url) <= 2000)
);
CREATE TRIGGER receiver_audited AFTER INSERT ON loyalty.receiver FOR EACH ROW
    EXECUTE FUNCTION audit.on_receiver();
CREATE TRIGGER receiver_change_audited AFTER UPDATE OF url, kinds, ended_at ON loyalty.receiver
    FOR EACH ROW WHEN (old.url IS DISTINCT FROM new.url OR old.kinds IS DISTINCT FROM new.kinds
    OR old.ended_at IS DISTINCT FROM new.ended_at) EXECUTE FUNCTION audit.on_receiver();
GRANT SELECT ON loyalty.receiver TO twezah_api;
GRANT SELECT ON loyalty.receiver TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.receiver TO twezah_worker;

-- Secrets that messages are signed with, encrypted. While several are in force, each signs.
CREATE TABLE loyalty.receiver_secret (
    -- Number of the secret.
    secret_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Receiver.
    receiver_no bigint NOT NULL,
    -- The secret, encrypted with the installation's key.
    secret_encrypted bytea NOT NULL,
    -- When it was entered.
    created_at timestamptz NOT NULL DEFAULT now(),
    -- It signs until then; null: until it is replaced.
    expires_at timestamptz,
    CONSTRAINT receiver_secret_pkey PRIMARY KEY (secret_no),
    CONSTRAINT receiver_secret_receiver_no_fkey FOREIGN KEY (receiver_no)
        REFERENCES loyalty.receiver(receiver_no)
);
CREATE INDEX receiver_secret_receiver ON loyalty.receiver_secret (receiver_no);
CREATE TRIGGER receiver_secret_audited AFTER INSERT ON loyalty.receiver_secret FOR EACH ROW
    EXECUTE FUNCTION audit.on_receiver_secret();
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.receiver_secret TO twezah_worker;
GRANT SELECT (secret_no, receiver_no, created_at, expires_at) ON loyalty.receiver_secret TO twezah_panel;

-- What was, or is to be, sent to each receiver: one row per receiver and change.
CREATE TABLE loyalty.delivery (
    -- Receiver.
    receiver_no bigint NOT NULL,
    -- Change.
    change_no bigint NOT NULL,
    -- pending: it is (still) tried; delivered: accepted; parked: given up until somebody replays
    -- it.
    state text NOT NULL DEFAULT 'pending',
    -- How often it was sent.
    attempts integer NOT NULL DEFAULT 0,
    -- Since when it is tried.
    queued_at timestamptz NOT NULL DEFAULT now(),
    -- When it is due. While it is being sent: when it is due again if the sender dies.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- Answer to the last attempt; null: none came.
    http_status integer,
    -- Why the last attempt failed.
    error text,
    -- When it was accepted or given up.
    finished_at timestamptz,
    CONSTRAINT delivery_pkey PRIMARY KEY (change_no, receiver_no),
    CONSTRAINT delivery_attempts_check CHECK (attempts >= 0),
    CONSTRAINT delivery_check CHECK ((state = 'pending') = (finished_at IS NULL)),
    CONSTRAINT delivery_error_check CHECK (length(error) <= 300),
    CONSTRAINT delivery_state_check CHECK (state IN ('pending', 'delivered', 'parked')),
    CONSTRAINT delivery_change_no_fkey FOREIGN KEY (change_no) REFERENCES loyalty.change(change_no),
    CONSTRAINT delivery_receiver_no_fkey FOREIGN KEY (receiver_no)
        REFERENCES loyalty.receiver(receiver_no)
);
CREATE INDEX delivery_due ON loyalty.delivery (receiver_no, next_attempt_at, change_no)
    WHERE (state = 'pending');
CREATE INDEX delivery_finished ON loyalty.delivery (finished_at) WHERE (state = 'delivered');
CREATE INDEX delivery_parked ON loyalty.delivery (receiver_no, change_no) WHERE (state = 'parked');
GRANT SELECT ON loyalty.delivery TO twezah_api;
GRANT SELECT ON loyalty.delivery TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.delivery TO twezah_worker;

-- Consent withdrawn and given again, append-only. Without a row a member takes part.
CREATE TABLE loyalty.consent (
    -- Order of entry.
    consent_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member; it counts for all who are merged into one customer.
    member_id bigint NOT NULL,
    -- False: withdrawn. True: given again.
    given boolean NOT NULL,
    -- Why, e.g. the number of the request. No names and no phone numbers.
    reason text NOT NULL,
    -- Personal data of staff. Who entered it.
    author text NOT NULL,
    -- From then on it counts: for sales that happen later, never for earlier ones.
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Prefect flow run or command that entered it.
    run_id text NOT NULL,
    CONSTRAINT consent_pkey PRIMARY KEY (consent_no),
    CONSTRAINT consent_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT consent_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT consent_member_id_fkey FOREIGN KEY (member_id) REFERENCES loyalty.member(member_id)
);
-- What a member decided.
CREATE INDEX consent_member ON loyalty.consent (member_id);
CREATE TRIGGER consent_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.consent
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER consent_audited AFTER INSERT ON loyalty.consent FOR EACH ROW
    EXECUTE FUNCTION audit.on_consent();
CREATE TRIGGER consent_marks AFTER INSERT ON loyalty.consent REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_consent();
GRANT SELECT ON loyalty.consent TO twezah_api;
GRANT SELECT ON loyalty.consent TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.consent TO twezah_worker;

-- Legal holds and their lifting, append-only. While one is in force, retention deletes nothing.
CREATE TABLE loyalty.legal_hold (
    -- Number of the hold.
    hold_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member who must not be erased; null: nobody may be erased.
    member_id bigint,
    -- The hold that this row lifts; null: this row is a hold.
    lifts_no bigint,
    -- Why, e.g. the case's number. No names and no phone numbers.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that entered it.
    run_id text NOT NULL,
    CONSTRAINT legal_hold_pkey PRIMARY KEY (hold_no),
    CONSTRAINT legal_hold_lifts_no_key UNIQUE (lifts_no),
    CONSTRAINT legal_hold_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT legal_hold_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT legal_hold_lifts_no_fkey FOREIGN KEY (lifts_no)
        REFERENCES loyalty.legal_hold(hold_no),
    CONSTRAINT legal_hold_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- Holds on a member.
CREATE INDEX legal_hold_member ON loyalty.legal_hold (member_id);
CREATE TRIGGER legal_hold_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.legal_hold
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER legal_hold_audited AFTER INSERT ON loyalty.legal_hold FOR EACH ROW
    EXECUTE FUNCTION audit.on_hold();
GRANT SELECT ON loyalty.legal_hold TO twezah_api;
GRANT SELECT ON loyalty.legal_hold TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.legal_hold TO twezah_worker;

-- What each erasure removed where, append-only; without anything that names the person.
CREATE TABLE loyalty.erasure_certificate (
    -- Number of the certificate.
    certificate_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member who was erased.
    member_id bigint NOT NULL,
    -- The member and everybody who was merged into them.
    members bigint[] NOT NULL,
    -- Why, e.g. the request's number.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- Per place, how many rows or files.
    erased jsonb NOT NULL,
    -- Per place, how many rows or files still name the person, and are kept on purpose.
    remains jsonb NOT NULL,
    -- Places that could not be looked through or cleaned.
    not_reached text[] NOT NULL,
    -- When.
    issued_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command.
    run_id text NOT NULL,
    CONSTRAINT erasure_certificate_pkey PRIMARY KEY (certificate_no),
    CONSTRAINT erasure_certificate_erased_check CHECK (jsonb_typeof(erased) = 'object'),
    CONSTRAINT erasure_certificate_members_check CHECK (cardinality(members) > 0),
    CONSTRAINT erasure_certificate_remains_check CHECK (jsonb_typeof(remains) = 'object'),
    CONSTRAINT erasure_certificate_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- Certificates of a member.
CREATE INDEX erasure_certificate_member ON loyalty.erasure_certificate (member_id);
CREATE TRIGGER erasure_certificate_append_only BEFORE DELETE OR UPDATE OR TRUNCATE
    ON loyalty.erasure_certificate FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER erasure_certificate_audited AFTER INSERT ON loyalty.erasure_certificate FOR EACH ROW
    EXECUTE FUNCTION audit.on_certificate();
GRANT SELECT ON loyalty.erasure_certificate TO twezah_api;
GRANT SELECT ON loyalty.erasure_certificate TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.erasure_certificate TO twezah_worker;

-- How many entries and points were posted at once for the sales of one account: one row per
-- transaction and account. Their sums are those of loyalty.award_entry.
CREATE TABLE loyalty.posting (
    -- Number of the posting.
    posting_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Billing system of the sales.
    system text COLLATE "C" NOT NULL,
    -- Account of the sales at the billing system.
    account text COLLATE "C" NOT NULL,
    -- Prefect flow run that posted them; it may be the run of another connection.
    run_id text NOT NULL,
    -- Entries appended to loyalty.award_entry.
    entries bigint NOT NULL,
    -- Their sum.
    points bigint NOT NULL,
    -- When they were posted.
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether a run has it in its counts: the run of the sales' own connection, or the change of
    -- rules or recomputation that posted it.
    is_reported boolean NOT NULL DEFAULT false,
    CONSTRAINT posting_pkey PRIMARY KEY (posting_no)
);
-- Points of a span of time: the page Sync status.
CREATE INDEX posting_time ON loyalty.posting (posted_at);
-- What the next run of a connection has to report.
CREATE INDEX posting_unreported ON loyalty.posting (system, account) WHERE (NOT is_reported);
GRANT SELECT ON loyalty.posting TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.posting TO twezah_worker;

-- Sums of loyalty.movement per month of posting. Made anew by the flow refresh-analytics.
CREATE TABLE loyalty.month_movement (
    -- First day of the month, in the time zone of the program.
    month date NOT NULL,
    -- As in loyalty.movement.
    kind text COLLATE "C" NOT NULL,
    -- As in loyalty.movement.
    line text NOT NULL,
    -- Points added; negative: taken.
    points bigint NOT NULL,
    -- How many movements.
    entries bigint NOT NULL,
    CONSTRAINT month_movement_pkey PRIMARY KEY (month, kind, line)
);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.month_movement TO twezah_worker;

-- Month-end reports that were made, append-only: a later one must begin where it ended.
CREATE TABLE loyalty.month_report (
    -- Number of the report.
    report_no bigint GENERATED ALWAYS AS IDENTITY,
    -- First day of the month.
    month date NOT NULL,
    -- Points owed when the month began.
    opening_points bigint NOT NULL,
    -- Points owed when the month ended.
    closing_points bigint NOT NULL,
    -- When it was made.
    made_at timestamptz NOT NULL DEFAULT now(),
    -- Prefect flow run or command that made it.
    run_id text NOT NULL,
    CONSTRAINT month_report_pkey PRIMARY KEY (report_no)
);
CREATE TRIGGER month_report_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.month_report
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.month_report TO twezah_worker;

-- What members did beside buying, append-only. Rules of the program say what an event is worth.
CREATE TABLE loyalty.member_event (
    -- Order of entry.
    event_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member as named when it was entered; after a merge it counts for whoever earns for them.
    member_id bigint NOT NULL,
    -- What happened: sign_up, birthday, or a name of the loyalty app.
    name text COLLATE "C" NOT NULL,
    -- The same event is here once: app/ and the app's own id of it, sign_up/ and the member,
    -- birthday/ with member and year. No names and no phone numbers.
    event_key text COLLATE "C" NOT NULL,
    -- Personal data where the name is birthday. When: decides the rule, and from when on its points
    -- expire.
    happened_at timestamptz NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Personal data of staff. Who entered it, as a rule an API key's prefix.
    recorded_by text NOT NULL,
    -- Prefect flow run, command or request of the API that entered it.
    run_id text NOT NULL,
    CONSTRAINT member_event_pkey PRIMARY KEY (event_no),
    CONSTRAINT member_event_event_key_key UNIQUE (event_key),
    CONSTRAINT member_event_event_key_check CHECK (length(event_key) >= 1
        AND length(event_key) <= 220),
    CONSTRAINT member_event_happened_at_check CHECK (isfinite(happened_at)
        AND happened_at >= '2000-01-01 00:00:00+00'::timestamptz),
    CONSTRAINT member_event_name_check CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT member_event_recorded_by_check CHECK (btrim(recorded_by) <> ''
        AND length(recorded_by) <= 200),
    CONSTRAINT member_event_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- What a member did.
CREATE INDEX member_event_member ON loyalty.member_event (member_id, happened_at);
CREATE TRIGGER member_event_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.member_event
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER member_event_marks AFTER INSERT ON loyalty.member_event REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();
GRANT INSERT, SELECT ON loyalty.member_event TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_event TO twezah_worker;
GRANT SELECT (event_no, member_id, name) ON loyalty.member_event TO twezah_panel;

-- Birthdays of members, without the year. Not kept for good: an erasure, or the member, removes the
-- row.
CREATE TABLE loyalty.member_birthday (
    -- Member.
    member_id bigint NOT NULL,
    -- Personal data. Month of birth, 1 to 12.
    month integer NOT NULL,
    -- Personal data. Day of birth in that month.
    day integer NOT NULL,
    -- Personal data. The next birthday that is no event yet; 28 February for the 29th in other
    -- years.
    next_on date NOT NULL,
    -- When it was entered, or last changed.
    entered_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT member_birthday_pkey PRIMARY KEY (member_id),
    CONSTRAINT member_birthday_is_a_day CHECK (day >= 1 AND day <=
CASE
   
        WHEN month = 2 THEN 29
    WHEN month = ANY (ARRAY[4, 6, 9, 11]) THEN 30
    ELSE 31
END),
    CONSTRAINT member_birthday_month_check CHECK (month >= 1 AND month <= 12),
    CONSTRAINT member_birthday_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- Whose birthday it is.
CREATE INDEX member_birthday_next ON loyalty.member_birthday (next_on);
GRANT DELETE, INSERT, SELECT, UPDATE ON loyalty.member_birthday TO twezah_api;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_birthday TO twezah_worker;

-- Codes of promotions that members entered, append-only: their sales from then on earn by them.
CREATE TABLE loyalty.code_entry (
    -- Order of entry.
    entry_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member as named when it was entered; after a merge it counts for whoever earns for them.
    member_id bigint NOT NULL,
    -- The code, in capital letters.
    code text COLLATE "C" NOT NULL,
    -- Sales from this instant on may earn by it.
    entered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Personal data of staff. Who entered it, as a rule an API key's prefix.
    recorded_by text NOT NULL,
    -- Prefect flow run, command or request of the API that entered it.
    run_id text NOT NULL,
    CONSTRAINT code_entry_pkey PRIMARY KEY (entry_no),
    CONSTRAINT code_entry_code_check CHECK (code ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'),
    CONSTRAINT code_entry_entered_at_check CHECK (isfinite(entered_at)),
    CONSTRAINT code_entry_recorded_by_check CHECK (btrim(recorded_by) <> ''
        AND length(recorded_by) <= 200),
    CONSTRAINT code_entry_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- How often a code was entered.
CREATE INDEX code_entry_code ON loyalty.code_entry (code);
-- Codes of a member.
CREATE INDEX code_entry_member ON loyalty.code_entry (member_id, entry_no);
CREATE TRIGGER code_entry_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.code_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER code_entry_marks AFTER INSERT ON loyalty.code_entry REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();
GRANT INSERT, SELECT ON loyalty.code_entry TO twezah_api;
GRANT SELECT ON loyalty.code_entry TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.code_entry TO twezah_worker;

-- Who is on a list, append-only. To correct a row, enter another for the same member, list and
-- valid_from: the last entered counts.
CREATE TABLE loyalty.list_member (
    -- Order of entry.
    row_no bigint GENERATED ALWAYS AS IDENTITY,
    -- Member as named when it was entered; after a merge it counts for whoever earns for them.
    member_id bigint NOT NULL,
    -- Name of the list.
    list text COLLATE "C" NOT NULL,
    -- Sales from this instant on...
    valid_from timestamptz NOT NULL,
    -- ...until before this one; null: for good; the same instant: never.
    valid_to timestamptz,
    -- Why. No names and no phone numbers.
    reason text NOT NULL,
    -- Personal data of staff. Who decided it.
    author text NOT NULL,
    -- When it was entered.
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Prefect flow run, command or request of the API that entered it.
    run_id text NOT NULL,
    CONSTRAINT list_member_pkey PRIMARY KEY (row_no),
    CONSTRAINT list_member_author_check CHECK (btrim(author) <> '' AND length(author) <= 200),
    CONSTRAINT list_member_check CHECK (isfinite(valid_to) AND valid_to >= valid_from),
    CONSTRAINT list_member_list_check CHECK (list ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT list_member_reason_check CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    CONSTRAINT list_member_valid_from_check CHECK (isfinite(valid_from)),
    CONSTRAINT list_member_member_id_fkey FOREIGN KEY (member_id)
        REFERENCES loyalty.member(member_id)
);
-- Lists of a member.
CREATE INDEX list_member_member ON loyalty.list_member (member_id, list, valid_from, row_no);
CREATE TRIGGER list_member_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.list_member
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER list_member_audited AFTER INSERT ON loyalty.list_member REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_list();
CREATE TRIGGER list_member_marks AFTER INSERT ON loyalty.list_member REFERENCING NEW TABLE
    AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();
GRANT INSERT, SELECT ON loyalty.list_member TO twezah_api;
GRANT SELECT ON loyalty.list_member TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.list_member TO twezah_worker;

-- Points that expire per month, if nothing moves until then. Made anew once a day by the flow
-- refresh-analytics; this month is always there, where points expire at all.
CREATE TABLE loyalty.expiring_month (
    -- First day of the month of the last day on which they can be spent, in the time zone of the
    -- program.
    month date NOT NULL,
    -- Points that expire. What is spent or taken back meanwhile is set against those that expire
    -- first.
    points bigint NOT NULL,
    -- Members of whom points expire.
    members bigint NOT NULL,
    -- As of when.
    computed_at timestamptz NOT NULL,
    CONSTRAINT expiring_month_pkey PRIMARY KEY (month),
    CONSTRAINT expiring_month_members_check CHECK (members >= 0),
    CONSTRAINT expiring_month_points_check CHECK (points >= 0)
);
GRANT SELECT ON loyalty.expiring_month TO twezah_api;
GRANT SELECT ON loyalty.expiring_month TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.expiring_month TO twezah_worker;

-- Refuses a void that is not exactly minus its adjustment, and gives it the same kind.
CREATE FUNCTION loyalty.check_adjustment()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE voided loyalty.adjustment;
BEGIN
    IF NEW.voids_id IS NOT NULL THEN
        SELECT * INTO voided FROM loyalty.adjustment a WHERE a.adjustment_id = NEW.voids_id;
        IF voided.voids_id IS NOT NULL
            OR (voided.member_id, -voided.points) <> (NEW.member_id, NEW.points)
        THEN
            RAISE EXCEPTION 'row % is no adjustment of member % by % points',
                NEW.voids_id, NEW.member_id, -NEW.points USING ERRCODE = 'check_violation';
        END IF;
        NEW.kind := voided.kind;
        NEW.event_no := voided.event_no;
    END IF;
    RETURN NEW;
END $function$;

-- Refuses an entry whose due_before is not the due_after of the entry before it.
CREATE FUNCTION loyalty.check_chain()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE broken record;
BEGIN
    SELECT n.system, n.external_id, n.member_id, n.entry_no INTO broken
    FROM posted n
    LEFT JOIN loyalty.award_entry p
        ON (p.system, p.account, p.external_id, p.member_id, p.entry_no)
         = (n.system, n.account, n.external_id, n.member_id, n.entry_no - 1)
    WHERE n.entry_no > 1 AND p.due_after IS DISTINCT FROM n.due_before
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % of % sale %, member % does not continue its chain',
            broken.entry_no, broken.system, broken.external_id, broken.member_id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $function$;

-- Refuses circles, and marks the members concerned for the next award step.
CREATE FUNCTION loyalty.check_merge()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    -- One at a time: two merges that do not see each other could close a circle.
    PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.member_merge', 3));
    IF EXISTS (
        SELECT FROM changed c WHERE c.into_id <> c.member_id
        AND NOT EXISTS (SELECT FROM loyalty.merged_member m WHERE m.member_id = c.member_id)
    ) THEN
        RAISE EXCEPTION 'these members would be merged in a circle: merge into the one that is kept' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM (
        SELECT member_id FROM changed UNION SELECT into_id FROM changed
        UNION SELECT owner_id FROM loyalty.merged_member WHERE member_id IN (SELECT member_id FROM changed)
        UNION SELECT member_id FROM loyalty.member_merge WHERE into_id IN (SELECT member_id FROM changed)
    ) AS touched(m) ORDER BY m
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.check_merge() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.check_merge() TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.check_merge() TO twezah_worker;

-- Refuses a step that does not fit its redemption and the steps before it.
CREATE FUNCTION loyalty.check_redemption_step()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    asked loyalty.redemption;
    earlier text[];
BEGIN
    SELECT * INTO asked FROM loyalty.redemption r WHERE r.redemption_id = NEW.redemption_id
    FOR NO KEY UPDATE;
    SELECT coalesce(array_agg(s.step), '{}') INTO earlier FROM loyalty.redemption_step s
    WHERE s.redemption_id = NEW.redemption_id;
    IF NEW.member_id <> asked.member_id
        OR NEW.points <> (CASE NEW.step WHEN 'redeemed' THEN -asked.points
                                        WHEN 'reversed' THEN asked.points ELSE 0 END)
        OR (NEW.step = 'redeemed' AND (earlier <> '{}' OR NEW.posted_at >= asked.hold_ends_at))
        OR (NEW.step = 'cancelled' AND (earlier <> '{}' OR asked.hold_ends_at IS NULL))
        OR (NEW.step = 'reversed' AND earlier <> '{redeemed}')
    THEN
        RAISE EXCEPTION 'redemption % cannot be % now', NEW.redemption_id, NEW.step
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.check_redemption_step() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.check_redemption_step() TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.check_redemption_step() TO twezah_worker;

-- Members whose points depend on sales of these members, because a precedence is declared.
CREATE FUNCTION loyalty.counterpart_members(members bigint[])
 RETURNS SETOF bigint
 LANGUAGE plpgsql
AS $function$
BEGIN
    -- A declaration waits for whoever stores sales meanwhile, and the other way round.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('loyalty.sale_precedence', 5));
    IF NOT EXISTS (SELECT FROM loyalty.sale_precedence) THEN
        RETURN;
    END IF;
    -- Of two that store the two documents at once, the second sees the first.
    PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.sale_precedence', 6));
    DELETE FROM billing.sale_reference t USING billing.invoice i
    WHERE i.member_id = ANY(members)
      AND (t.external_id, t.account, t.system) = (i.external_id, i.account, i.system)
      AND NOT EXISTS (SELECT FROM billing.proving_references(i.reference_ids) p
                      WHERE (p.value, p.is_payment) = (t.value, t.is_payment));
    INSERT INTO billing.sale_reference (value, is_payment, system, account, external_id)
    SELECT p.value, p.is_payment, i.system, i.account, i.external_id
    FROM billing.invoice i CROSS JOIN LATERAL billing.proving_references(i.reference_ids) p
    WHERE i.member_id = ANY(members) AND i.reference_ids IS NOT NULL
    ON CONFLICT DO NOTHING;
    RETURN QUERY
        SELECT c.member_id FROM loyalty.sale_counterparts(members) c WHERE c.member_id IS NOT NULL
        -- A document that named another one may name it no more.
        UNION SELECT l.member_id FROM loyalty.left_out_sale l
        JOIN billing.invoice w ON (w.external_id, w.account, w.system)
            = (l.by_external_id, l.by_account, l.by_system)
        WHERE w.member_id = ANY(members);
END $function$;

-- The tier of members who have none, by the program of that instant.
CREATE FUNCTION loyalty.entry_tier_at(at timestamptz)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
    SELECT p.entry_tier FROM loyalty.program p
    WHERE p.valid_from <= at ORDER BY p.version DESC LIMIT 1
$function$;

-- Members who brought, over any number of others, their own referrer.
CREATE FUNCTION loyalty.friends_in_circles()
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_nestloop TO 'off'
AS $function$
DECLARE
    friends bigint[];
    referrers bigint[];
BEGIN
    SELECT array_agg(friend_id), array_agg(referrer_id) INTO friends, referrers
    FROM loyalty.referral_between;
    RETURN QUERY WITH RECURSIVE between_them AS MATERIALIZED (
        SELECT friend_id, referrer_id FROM unnest(friends, referrers) AS t (friend_id, referrer_id)
    ), step AS (
        -- Members at either end of a line of referrals are in no circle.
        SELECT b.friend_id, b.referrer_id FROM between_them b
        WHERE EXISTS (SELECT FROM between_them f WHERE f.referrer_id = b.friend_id)
          AND EXISTS (SELECT FROM between_them r WHERE r.friend_id = b.referrer_id)
        UNION
        SELECT s.friend_id, b.referrer_id
        FROM step s JOIN between_them b ON b.friend_id = s.referrer_id
        WHERE s.referrer_id <> s.friend_id
    )
    SELECT s.friend_id FROM step s WHERE s.referrer_id = s.friend_id;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.friends_in_circles() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.friends_in_circles() TO analyst;
GRANT EXECUTE ON FUNCTION loyalty.friends_in_circles() TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.friends_in_circles() TO twezah_panel;
GRANT EXECUTE ON FUNCTION loyalty.friends_in_circles() TO twezah_worker;

-- Locks a code until the transaction ends: of requests at the same instant no more succeed than it
-- has uses. Fails after two seconds.
CREATE FUNCTION loyalty.lock_code(of_code text)
 RETURNS void
 LANGUAGE sql
 SET lock_timeout TO '2s'
AS $function$
    SELECT pg_advisory_xact_lock(hashtextextended('loyalty.code_entry ' || of_code, 11))
$function$;
GRANT EXECUTE ON FUNCTION loyalty.lock_code(text) TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.lock_code(text) TO twezah_worker;

-- A merge, or its undoing, waits for whoever spends points of the members, and they for it.
CREATE FUNCTION loyalty.lock_merging()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM FROM loyalty.member m
    WHERE m.member_id IN (NEW.member_id, NEW.into_id)
       OR m.member_id IN (SELECT o.owner_id FROM loyalty.merged_member o
                          WHERE o.member_id IN (NEW.member_id, NEW.into_id))
    ORDER BY m.member_id FOR NO KEY UPDATE;
    RETURN NEW;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.lock_merging() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.lock_merging() TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.lock_merging() TO twezah_worker;

-- Locks whoever earns for the member until the transaction ends, and says who it is; null: there is
-- no such member. Whoever spends points holds this lock. Fails after two seconds.
CREATE FUNCTION loyalty.lock_owner(of_member bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET lock_timeout TO '2s'
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    owner bigint;
    locked bigint;
BEGIN
    LOOP
        SELECT coalesce(o.owner_id, m.member_id) INTO owner
        FROM loyalty.member m LEFT JOIN loyalty.merged_member o USING (member_id)
        WHERE m.member_id = of_member;
        IF owner IS NULL OR owner = locked THEN
            RETURN owner;
        END IF;
        -- A queue first, in the order of arrival: whoever comes while a row is being freed would
        -- pass those who have waited for it.
        PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.lock_owner', owner));
        PERFORM FROM loyalty.member m WHERE m.member_id = owner FOR NO KEY UPDATE;
        locked := owner;
    END LOOP;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.lock_owner(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.lock_owner(bigint) TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.lock_owner(bigint) TO twezah_worker;

-- Marks members whose points somebody adjusted, for the next award step.
CREATE FUNCTION loyalty.mark_adjustment()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(
        ARRAY(SELECT DISTINCT member_id FROM changed WHERE kind <> 'event'));
    RETURN NULL;
END $function$;

-- Marks members whose consent changed, for the next award step.
CREATE FUNCTION loyalty.mark_consent()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $function$;

-- Marks members, those who earn for them, who referred them, and whose sales depend on theirs, for
-- the next award step; in order of number, so that two who mark do not wait for each other.
CREATE FUNCTION loyalty.mark_dirty(members bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    members := members || ARRAY(SELECT loyalty.counterpart_members(members));
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM unnest(members) AS m WHERE m IS NOT NULL
    UNION SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members)
    -- A friend's sales are worth points to who referred them.
    UNION SELECT r.referrer_id FROM loyalty.referral_owned r WHERE r.friend_id = ANY(members)
       OR r.friend_id IN (
           SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members))
    ORDER BY 1
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.mark_dirty(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.mark_dirty(bigint[]) TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.mark_dirty(bigint[]) TO twezah_worker;

-- Marks the members of a merge, and all who earned for them before, for the next award step.
CREATE FUNCTION loyalty.mark_former_owners()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT loyalty.referral_line(ARRAY(
        SELECT m.into_id FROM loyalty.member_merge m
        WHERE m.member_id IN (SELECT member_id FROM changed)
        UNION SELECT member_id FROM changed))));
    RETURN NULL;
END $function$;

-- Marks members with sales in the currencies and days of new exchange rates, for the next award
-- step.
CREATE FUNCTION loyalty.mark_fx_rate()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(
        SELECT DISTINCT i.member_id
        FROM (SELECT currency, base_currency, min(valid_on) AS first_day, max(valid_until) AS last_day FROM changed GROUP BY 1, 2) c
        JOIN billing.invoice i ON i.currency = c.currency
            AND i.issued_at >= (c.first_day - 1)::timestamp AT TIME ZONE 'UTC' AND i.issued_at < (c.last_day + 2)::timestamp AT TIME ZONE 'UTC'
        WHERE i.member_id IS NOT NULL AND EXISTS (
            SELECT FROM loyalty.program p WHERE p.base_currency = c.base_currency AND NOT p.base_rate_bps ? c.currency)));
    RETURN NULL;
END $function$;

-- Marks the members that the new rows name, for the next award step.
CREATE FUNCTION loyalty.mark_named()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $function$;

-- Marks all whose rewards may change with a referral, for the next award step.
CREATE FUNCTION loyalty.mark_referrers()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT loyalty.referral_line(ARRAY(
        SELECT friend_id FROM changed UNION SELECT referrer_id FROM changed))));
    RETURN NULL;
END $function$;

-- Marks members whose sales had no rate, for the next award step.
CREATE FUNCTION loyalty.mark_rejected_awards()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(
        SELECT DISTINCT i.member_id FROM billing.reject r JOIN billing.invoice i USING (external_id, account, system)
        WHERE r.stream = 'awards' AND r.resolved_at IS NULL AND i.member_id IS NOT NULL));
    RETURN NULL;
END $function$;

-- Marks a member who got points back, for the next award step, where points can expire.
CREATE FUNCTION loyalty.mark_released()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF EXISTS (SELECT FROM loyalty.program WHERE expiry IS NOT NULL) THEN
        PERFORM loyalty.mark_dirty(ARRAY[NEW.member_id]);
    END IF;
    RETURN NULL;
END $function$;

-- Marks members whose tier history changed, for the next award step.
CREATE FUNCTION loyalty.mark_tier_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $function$;

-- Marks a member whose time zone changed, for the next award step.
CREATE FUNCTION loyalty.mark_timezone()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id) VALUES (NEW.member_id)
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $function$;

-- Notes points given or taken by hand, or brought along from an earlier program, for the member
-- whose balance they move.
CREATE FUNCTION loyalty.note_adjustments()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', coalesce(o.owner_id, p.member_id), jsonb_build_object(
        'points', p.points, 'entries', 1, 'reasons', jsonb_build_array(
            CASE WHEN p.voids_id IS NULL THEN p.kind ELSE p.kind || ' void' END))
    FROM posted p LEFT JOIN loyalty.merged_member o USING (member_id) ORDER BY p.adjustment_id;
    RETURN NULL;
END $function$;

-- Notes one change per member and statement.
CREATE FUNCTION loyalty.note_awards()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', member_id, jsonb_build_object('points', sum(points)::bigint,
        'entries', count(*), 'reasons', jsonb_agg(DISTINCT reason))
    FROM posted GROUP BY member_id ORDER BY member_id;
    RETURN NULL;
END $function$;

-- Notes a change of a member, of any kind, in the transaction that makes it. It is published once
-- that transaction is committed, and not before the given instant.
CREATE FUNCTION loyalty.note_change(of_kind text, of_member bigint,
    of_data jsonb DEFAULT '{}'::jsonb, from_then_on timestamptz DEFAULT now())
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO loyalty.change_pending (kind, member_id, data, due_at)
    VALUES (of_kind, of_member, of_data, greatest(from_then_on, now()))
$function$;
REVOKE EXECUTE ON FUNCTION loyalty.note_change(text,bigint,jsonb,timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.note_change(text,bigint,jsonb,timestamp with time zone) TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.note_change(text,bigint,jsonb,timestamp with time zone) TO twezah_worker;

-- Notes that a member's personal data was removed: the app removes its copy.
CREATE FUNCTION loyalty.note_erasure()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.note_change('member.erased', NEW.member_id);
    RETURN NULL;
END $function$;

-- Notes points that expired, or came back.
CREATE FUNCTION loyalty.note_expiries()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', member_id, jsonb_build_object('points', sum(points)::bigint,
        'entries', count(*), 'reasons', '["expiry"]'::jsonb)
    FROM posted GROUP BY member_id ORDER BY member_id;
    RETURN NULL;
END $function$;

-- Notes points that are about to expire.
CREATE FUNCTION loyalty.note_expiry_notices()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM loyalty.note_change('points.expiring', n.member_id,
        jsonb_build_object('points', n.points, 'expires_at', n.expires_at))
    FROM noticed n ORDER BY n.member_id, n.expires_at;
    RETURN NULL;
END $function$;

-- Notes a merge, or its undoing, for everybody whose balance or tier it can change.
CREATE FUNCTION loyalty.note_merge()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    -- Balances move without an entry (adjustments follow the member), also of whoever earned for
    -- the member before.
    touched bigint[] := ARRAY(
        SELECT NEW.member_id UNION SELECT NEW.into_id
        UNION SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id
        UNION SELECT o.owner_id FROM loyalty.merged_member o
        WHERE o.member_id IN (
            SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id)
        ORDER BY 1);
BEGIN
    PERFORM loyalty.note_change(
        CASE WHEN NEW.into_id = NEW.member_id THEN 'member.unmerged' ELSE 'member.merged' END, m,
        jsonb_build_object('merged_member_id', NEW.member_id, 'into_member_id', NEW.into_id))
    FROM unnest(touched) AS m;
    -- Tiers that were set follow the member too: now, and where one of the future begins.
    PERFORM loyalty.note_change('tier.changed', t.m, '{}', t.at)
    FROM (
        SELECT m, now() AS at FROM unnest(touched) AS m
        UNION SELECT s.member_id, s.valid_from FROM loyalty.tier_set s
        WHERE s.member_id = ANY(touched) AND s.valid_from > now()
    ) t ORDER BY t.m, t.at;
    RETURN NULL;
END $function$;

-- Notes points that were spent, given back, or no longer held, for the member whose points they
-- are.
CREATE FUNCTION loyalty.note_redemption_steps()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT CASE WHEN p.step = 'reversed' THEN 'redemption.reversed' ELSE 'points.changed' END,
           coalesce(o.owner_id, p.member_id), jsonb_build_object('points', p.points, 'entries', 1,
        'reasons', jsonb_build_array(p.step), 'redemption_id', p.redemption_id)
    FROM posted p LEFT JOIN loyalty.merged_member o USING (member_id)
    ORDER BY p.redemption_id, p.posted_at;
    RETURN NULL;
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.note_redemption_steps() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.note_redemption_steps() TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.note_redemption_steps() TO twezah_worker;

-- Notes that members may have another tier. The publisher compares it with the one that was told
-- last.
CREATE FUNCTION loyalty.note_tiers()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    -- At once, and again when a tier of the future begins.
    PERFORM loyalty.note_change('tier.changed', c.member_id, '{}', max(c.valid_from))
    FROM changed c GROUP BY c.member_id, greatest(c.valid_from, now()) ORDER BY c.member_id;
    RETURN NULL;
END $function$;

-- Gives up to so many pending changes their numbers, and returns how many it took; 0: none is due,
-- or somebody else is at it. In a transaction of its own.
CREATE FUNCTION loyalty.publish_changes(at_most integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    numbers bigint[];
    members bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM loyalty.change_pending WHERE due_at <= now()) THEN
        RETURN 0;
    END IF;
    -- One at a time, until its commit: numbers become visible in their order. Whoever comes
    -- meanwhile leaves it to this one.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('loyalty.change', 7)) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(n.pending_no), array_agg(DISTINCT n.member_id) INTO numbers, members
    FROM (SELECT pending_no, member_id FROM loyalty.change_pending
          WHERE due_at <= now() ORDER BY pending_no LIMIT at_most) n;
    -- The balances are read now, after everything that is published here was committed: a later
    -- change never has an older balance.
    WITH news AS MATERIALIZED (
        SELECT * FROM loyalty.tier_news(numbers)
    ), kept AS (
        INSERT INTO loyalty.tier_published (member_id, tier) SELECT member_id, tier FROM news
        ON CONFLICT (member_id) DO UPDATE SET tier = excluded.tier
    )
    INSERT INTO loyalty.change (kind, member_id, data, balance_points, happened_at)
    SELECT p.kind, p.member_id, p.data, coalesce(b.balance_points, 0), p.happened_at
    FROM (
        SELECT pending_no, kind, member_id, data, happened_at FROM loyalty.change_pending
        WHERE pending_no = ANY(numbers) AND kind <> 'tier.changed'
        UNION ALL
        SELECT pending_no, 'tier.changed', member_id, jsonb_build_object(
            'tier', tier, 'tier_before', tier_before, 'valid_from', valid_from), happened_at
        FROM news
    ) p
    LEFT JOIN (SELECT member_id, balance_points FROM loyalty.member_balance
               WHERE member_id = ANY(members)) b USING (member_id)
    ORDER BY p.pending_no;
    DELETE FROM loyalty.change_pending WHERE pending_no = ANY(numbers);
    RETURN coalesce(cardinality(numbers), 0);
END $function$;
REVOKE EXECUTE ON FUNCTION loyalty.publish_changes(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loyalty.publish_changes(integer) TO twezah_api;
GRANT EXECUTE ON FUNCTION loyalty.publish_changes(integer) TO twezah_worker;

-- Queues published changes for every receiver that wants their kind.
CREATE FUNCTION loyalty.queue_deliveries()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO loyalty.delivery (receiver_no, change_no)
    SELECT r.receiver_no, p.change_no FROM published p
    JOIN loyalty.receiver r
      ON r.ended_at IS NULL AND (r.kinds = '{}' OR p.kind = ANY(r.kinds))
    ORDER BY p.change_no;
    RETURN NULL;
END $function$;

-- The members, and everybody above them in the referrals that were ever entered.
CREATE FUNCTION loyalty.referral_line(members bigint[])
 RETURNS SETOF bigint
 LANGUAGE sql
 STABLE
AS $function$
    WITH RECURSIVE owned AS MATERIALIZED (
        SELECT member_id, owner_id FROM loyalty.merged_member
    ), entered AS MATERIALIZED (
        SELECT DISTINCT coalesce(f.owner_id, r.friend_id) AS friend_id,
               coalesce(o.owner_id, r.referrer_id) AS referrer_id
        FROM loyalty.referral r
        LEFT JOIN owned f ON f.member_id = r.friend_id
        LEFT JOIN owned o ON o.member_id = r.referrer_id
        WHERE r.referrer_id IS NOT NULL
    ), line (member_id) AS (
        SELECT m FROM unnest(members) AS m WHERE m IS NOT NULL
        UNION SELECT o.owner_id FROM owned o WHERE o.member_id = ANY(members)
        UNION SELECT e.referrer_id FROM line l JOIN entered e ON e.friend_id = l.member_id
    )
    SELECT member_id FROM line
$function$;

-- Refuses the statement: history is corrected by adding rows.
CREATE FUNCTION loyalty.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'loyalty.% keeps its history: add a correcting row instead of %', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $function$;

-- Documents of other members that certainly tell sales of these members, by the ids they name.
CREATE FUNCTION loyalty.sale_counterparts(members bigint[])
 RETURNS TABLE(system text, account text, external_id text, member_id bigint)
 LANGUAGE sql
 STABLE
AS $function$
    WITH RECURSIVE own AS MATERIALIZED (
        SELECT i.system, i.account, i.external_id FROM billing.invoice i
        WHERE i.member_id = ANY(members)
    ),
    named AS (
        -- Documents that these name, that name these, and that name the same payments.
        SELECT o.system, o.account, o.external_id
        FROM own s JOIN billing.sale_reference t USING (external_id, account, system)
        JOIN billing.invoice o ON o.external_id = t.value
        UNION
        SELECT t.system, t.account, t.external_id
        FROM own s JOIN billing.sale_reference t ON t.value = s.external_id
        UNION
        SELECT n.system, n.account, n.external_id
        FROM own s JOIN billing.sale_reference t USING (external_id, account, system)
        JOIN billing.sale_reference n ON n.value = t.value AND n.is_payment AND t.is_payment
    ),
    foreign_document AS MATERIALIZED (
        SELECT i.system, i.account, i.external_id
        FROM named JOIN billing.invoice i USING (external_id, account, system)
        WHERE NOT EXISTS (SELECT FROM unnest(members) m WHERE m = i.member_id)
    ),
    reached AS (
        SELECT * FROM foreign_document
        UNION
        SELECT n.system, n.account, n.external_id
        FROM reached r CROSS JOIN LATERAL (
            SELECT o.system, o.account, o.external_id
            FROM billing.sale_reference t JOIN billing.invoice o ON o.external_id = t.value
            WHERE (t.external_id, t.account, t.system) = (r.external_id, r.account, r.system)
            UNION ALL
            SELECT t.system, t.account, t.external_id
            FROM billing.sale_reference t WHERE t.value = r.external_id
            UNION ALL
            SELECT o.system, o.account, o.external_id
            FROM billing.sale_reference t
            JOIN billing.sale_reference o ON o.value = t.value AND o.is_payment AND t.is_payment
            WHERE (t.external_id, t.account, t.system) = (r.external_id, r.account, r.system)
        ) n
        JOIN billing.invoice i ON (i.external_id, i.account, i.system)
            = (n.external_id, n.account, n.system)
        WHERE NOT EXISTS (SELECT FROM unnest(members) m WHERE m = i.member_id)
    )
    SELECT i.system, i.account, i.external_id, i.member_id
    FROM reached JOIN billing.invoice i USING (external_id, account, system)
$function$;

-- Leaves out a thousand million numbers of the feed, after a backup was restored: whoever had read
-- on in the original is told so.
CREATE FUNCTION loyalty.skip_change_numbers()
 RETURNS bigint
 LANGUAGE sql
AS $function$
    SELECT setval(pg_get_serial_sequence('loyalty.change', 'change_no'),
                  coalesce(max(change_no), 0) + 1000000000)
    FROM loyalty.change
$function$;
REVOKE EXECUTE ON FUNCTION loyalty.skip_change_numbers() FROM PUBLIC;

-- Of these pending changes: members whose tier now is not the one that was published last.
CREATE FUNCTION loyalty.tier_news(numbers bigint[])
 RETURNS TABLE(pending_no bigint, member_id bigint, tier text, tier_before text, valid_from timestamp with time zone, happened_at timestamp with time zone)
 LANGUAGE sql
 STABLE
AS $function$
    SELECT p.pending_no, p.member_id, t.tier, coalesce(k.tier, e.entry_tier), t.valid_from,
           p.happened_at
    FROM (SELECT min(c.pending_no) AS pending_no, c.member_id, max(c.happened_at) AS happened_at
          FROM loyalty.change_pending c
          WHERE c.pending_no = ANY(numbers) AND c.kind = 'tier.changed' GROUP BY c.member_id) p
    CROSS JOIN LATERAL loyalty.tier_now(p.member_id) t
    CROSS JOIN LATERAL (SELECT entry_tier FROM loyalty.program
                        WHERE program.valid_from <= now() ORDER BY version DESC LIMIT 1) e
    LEFT JOIN loyalty.tier_published k ON k.member_id = p.member_id
    WHERE t.tier <> coalesce(k.tier, e.entry_tier)
$function$;

-- The tier in force now, and since when (null: from the beginning).
CREATE FUNCTION loyalty.tier_now(of_member bigint)
 RETURNS TABLE(tier text, valid_from timestamp with time zone)
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
    SELECT coalesce(s.tier, p.entry_tier), s.valid_from
    FROM (SELECT entry_tier FROM loyalty.program WHERE program.valid_from <= now() ORDER BY version DESC LIMIT 1) p
    LEFT JOIN LATERAL (
        SELECT s.tier, s.valid_from FROM loyalty.tier_step s
        WHERE s.member_id = of_member AND s.valid_from <= now() ORDER BY s.valid_from DESC LIMIT 1
    ) s ON true
$function$;

-- How good a tier was at an instant: its multiplier in basis points; -1: the program had none such.
CREATE FUNCTION loyalty.tier_rank(of_tier text, at timestamptz)
 RETURNS bigint
 LANGUAGE sql
 STABLE
AS $function$
    SELECT coalesce((
        SELECT (p.tier_rate_bps ->> coalesce(of_tier, p.entry_tier))::bigint
        FROM loyalty.program p WHERE p.valid_from <= at ORDER BY p.version DESC LIMIT 1), -1)
$function$;

-- Every entry with its cause: its reason, or "tier" where only the tier differs from the entry
-- before.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: The sale's id at the billing system.
-- member_id: Member who earns or returns the points.
-- entry_no: Position in the chain of this sale and member, from 1.
-- tier: Tier in force at the sale.
-- due_before: Points posted for the sale before it.
-- due_after: Points due for the sale from it on.
-- points: What the entry adds to the balance.
-- run_id: Prefect flow run that posted it.
-- cause: award, tier, edit, refund, void, moved, referral or duplicate.
-- cause_no: Order of the causes in reports, from 1.
CREATE VIEW loyalty.entry_cause AS
 SELECT system, account, external_id, member_id, entry_no, tier, due_before,
    due_after, points, run_id, cause,
    array_position(ARRAY['award', 'tier', 'edit', 'refund', 'void', 'moved', 'referral',
        'duplicate'], cause) AS cause_no
   FROM ( SELECT e.system, e.account, e.external_id, e.member_id, e.entry_no,
            e.due_before, e.due_after, e.points, e.reason, e.breakdown,
            e.net_minor, e.currency, e.tier, e.program_version, e.event_at,
            e.posted_at, e.run_id,
                CASE
                    WHEN e.reason = 'edit' AND b.tier <> e.tier
                        AND b.net_minor = e.net_minor THEN 'tier'
                    ELSE e.reason
                END AS cause
           FROM loyalty.award_entry e
             LEFT JOIN loyalty.award_entry b ON b.system = e.system AND b.account = e.account
                 AND b.external_id = e.external_id AND b.member_id = e.member_id
                 AND b.entry_no = (e.entry_no - 1)) c;
GRANT SELECT ON loyalty.entry_cause TO twezah_api;
GRANT SELECT ON loyalty.entry_cause TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.entry_cause TO twezah_worker;

-- Every entry with the rates and the rounding of the program version that it followed.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: The sale's id at the billing system.
-- entry_no: Position in the chain of this sale and member, from 1.
-- member_id: Member who earns or returns the points.
-- reason: As in loyalty.award_entry.
-- points: What the entry adds to the balance.
-- due_before: Points posted for the sale before it.
-- due_after: Points due for the sale from it on.
-- breakdown: Points per rule; their sum is due_after.
-- net_amount: Amount that earned, in whole currency units.
-- currency: Currency of net_amount, ISO 4217.
-- tier: Tier in force at the sale.
-- program_version: Version of the program.
-- base_rate_bps: Points per currency unit, or per full amount, in basis points; null: the amount
--     was converted first.
-- tier_rate_bps: Multiplier of the tier in basis points.
-- rounding: How fractions of a point were rounded.
-- event_at: When the sale happened.
-- posted_at: When we posted it.
-- run_id: Prefect flow run that posted it.
-- per_full: The amount of which only full ones earn, in whole currency units; null: every unit
--     earns.
CREATE VIEW loyalty.entry_with_rule AS
 SELECT e.system, e.account, e.external_id, e.entry_no, e.member_id, e.reason,
    e.points, e.due_before, e.due_after, e.breakdown,
    billing.major_units(e.net_minor, e.currency) AS net_amount, e.currency,
    e.tier, e.program_version, p.base_rate_bps -> e.currency AS base_rate_bps,
    p.tier_rate_bps -> e.tier AS tier_rate_bps, p.rounding, e.event_at,
    e.posted_at, e.run_id,
    billing.major_units((p.per_full_minor ->> e.currency)::bigint, e.currency) AS per_full
   FROM loyalty.award_entry e
     LEFT JOIN loyalty.program p ON p.version = e.program_version;
GRANT SELECT ON loyalty.entry_with_rule TO twezah_api;
GRANT SELECT ON loyalty.entry_with_rule TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.entry_with_rule TO twezah_worker;

-- Who is on a list, as it counts.
-- member_id: Member.
-- list: Name of the list.
-- valid_from: Sales from this instant on...
-- valid_to: ...until before this one; null: for good.
CREATE VIEW loyalty.list_span AS
 SELECT member_id, list, valid_from, valid_to
   FROM ( SELECT DISTINCT ON (list_member.member_id, list_member.list,
       list_member.valid_from) list_member.member_id,
            list_member.list, list_member.valid_from, list_member.valid_to
           FROM loyalty.list_member
          ORDER BY list_member.member_id, list_member.list, list_member.valid_from,
              list_member.row_no DESC) last
  WHERE valid_to IS NULL OR valid_to > valid_from;
GRANT SELECT ON loyalty.list_span TO twezah_api;
GRANT SELECT ON loyalty.list_span TO twezah_panel;
GRANT SELECT ON loyalty.list_span TO twezah_worker;

-- Balance of each member: always the sum of the ledger, of the adjustments, of what expired and of
-- what was spent, never stored.
-- member_id: Member.
-- balance_points: Sum of everything posted: added_points - taken_back_points - spent_points; may be
--     negative.
-- added_points: Sum of what adds points, without redemptions given back.
-- taken_back_points: Sum of what takes points, without redemptions, as a positive number.
-- entries: Number of entries, adjustments, expiries, redemptions and reversals.
-- last_posted_at: When the last one was posted.
-- spent_points: Points spent, less those given back.
-- held_points: Points reserved by holds now.
-- available_points: Points that can be spent: the balance without held and pending points, and
--     never below 0.
-- pending_points: Points in the balance that cannot be spent yet; see loyalty.pending_sale.
CREATE VIEW loyalty.member_balance AS
 SELECT member_id, sum(points)::bigint AS balance_points,
    COALESCE(sum(points) FILTER (WHERE points > 0 AND spent = 0), 0::numeric)::bigint
        AS added_points,
    COALESCE(- sum(points) FILTER (WHERE points < 0 AND spent = 0), 0::numeric)::bigint
        AS taken_back_points,
    count(posted_at) AS entries, max(posted_at) AS last_posted_at,
    sum(spent)::bigint AS spent_points, sum(held)::bigint AS held_points,
    GREATEST(sum(points) - sum(held) - sum(pending), 0::numeric)::bigint AS available_points,
    sum(pending)::bigint AS pending_points
   FROM ( SELECT award_entry.member_id, award_entry.points, 0::bigint AS spent,
            0::bigint AS held, 0::bigint AS pending, award_entry.posted_at
           FROM loyalty.award_entry
        UNION ALL
         SELECT o.owner_id AS member_id, a.points, 0::bigint AS spent,
            0::bigint AS held, 0::bigint AS pending, a.posted_at
           FROM loyalty.adjustment a
             JOIN loyalty.member_owner o USING (member_id)
        UNION ALL
         SELECT expiry_entry.member_id, expiry_entry.points, 0::bigint AS spent,
            0::bigint AS held, 0::bigint AS pending, expiry_entry.posted_at
           FROM loyalty.expiry_entry
        UNION ALL
         SELECT o.owner_id AS member_id, s.points, - s.points AS spent,
            0::bigint AS held, 0::bigint AS pending, s.posted_at
           FROM loyalty.redemption_step s
             JOIN loyalty.member_owner o USING (member_id)
          WHERE s.points <> 0
        UNION ALL
         SELECT o.owner_id AS member_id, 0::bigint AS points, 0::bigint AS spent,
            r.points AS held, 0::bigint AS pending,
            NULL::timestamptz AS posted_at
           FROM loyalty.redemption r
             JOIN loyalty.member_owner o USING (member_id)
          WHERE r.hold_ends_at > now() AND NOT (EXISTS ( SELECT
                   FROM loyalty.redemption_step s
                  WHERE s.redemption_id = r.redemption_id))
        UNION ALL
         SELECT pending_sale.member_id, 0::bigint AS points, 0::bigint AS spent,
            0::bigint AS held, pending_sale.points AS pending,
            NULL::timestamptz AS posted_at
           FROM loyalty.pending_sale) posted
  GROUP BY member_id;
GRANT SELECT ON loyalty.member_balance TO analyst;
GRANT SELECT ON loyalty.member_balance TO twezah_api;
GRANT SELECT ON loyalty.member_balance TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_balance TO twezah_worker;

-- Every member and who earns for them: the same number, unless they were merged.
-- member_id: Member.
-- owner_id: Member who earns for them.
CREATE VIEW loyalty.member_owner AS
 SELECT m.member_id, m.member_id AS owner_id
   FROM loyalty.member m
  WHERE NOT (EXISTS ( SELECT
           FROM loyalty.merged_member o
          WHERE o.member_id = m.member_id))
UNION ALL
 SELECT o.member_id, o.owner_id
   FROM loyalty.merged_member o;
GRANT SELECT ON loyalty.member_owner TO twezah_api;
GRANT SELECT ON loyalty.member_owner TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.member_owner TO twezah_worker;

-- Members that were merged into another, and who has their sales in the end.
-- member_id: Member that was merged away.
-- owner_id: Member who has the sales.
CREATE VIEW loyalty.merged_member AS
 WITH RECURSIVE link AS (
         SELECT DISTINCT ON (member_merge.member_id) member_merge.member_id,
            member_merge.into_id
           FROM loyalty.member_merge
          ORDER BY member_merge.member_id, member_merge.merge_no DESC
        ), path(member_id, into_id) AS (
         SELECT link.member_id, link.into_id
           FROM link
          WHERE link.into_id <> link.member_id
        UNION
         SELECT p_1.member_id, l.into_id
           FROM path p_1
             JOIN link l ON l.member_id = p_1.into_id
          WHERE l.into_id <> l.member_id
        )
 SELECT member_id, into_id AS owner_id
   FROM path p
  WHERE NOT (EXISTS ( SELECT
           FROM link l
          WHERE l.member_id = p.into_id AND l.into_id <> l.member_id));
GRANT SELECT ON loyalty.merged_member TO analyst;
GRANT SELECT ON loyalty.merged_member TO twezah_api;
GRANT SELECT ON loyalty.merged_member TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.merged_member TO twezah_worker;

-- Everything that moved a balance, with its line in the roll-forward.
-- member_id: Member.
-- posted_at: When it was posted.
-- event_at: When the sale happened.
-- kind: As in analytics.points_history.
-- points: What it adds to the balance.
-- system: Billing system of the sale; null: of no sale.
-- account: Account at the billing system.
-- line: earned, spent, expired or corrected; unknown: loyalty.movement_kind lacks the kind.
CREATE VIEW loyalty.movement AS
 SELECT h.member_id, h.posted_at, h.event_at, h.kind, h.points, h.system,
    h.account,
    COALESCE(
        CASE
            WHEN h.points > 0 THEN k.added_line
            ELSE k.taken_line
        END, 'unknown') AS line
   FROM analytics.points_history h
     LEFT JOIN loyalty.movement_kind k USING (kind);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.movement TO twezah_worker;

-- In which line of the roll-forward each kind of movement (analytics.points_history) counts:
-- earned, spent, expired or corrected. A kind that is not here is shown as unknown, and no report
-- is made until a migration enters it.
-- kind: As in analytics.points_history.
-- added_line: Where it counts when it adds points.
-- taken_line: Where it counts when it takes points.
CREATE VIEW loyalty.movement_kind AS
 SELECT kind, added_line, taken_line
   FROM ( VALUES ('award','earned','corrected'), ('edit','corrected','corrected'),
       ('refund','corrected','corrected'), ('void','corrected','corrected'),
       ('moved','corrected','corrected'), ('referral','corrected','corrected'),
       ('duplicate','corrected','corrected'), ('adjustment','corrected','corrected'),
       ('adjustment void','corrected','corrected'), ('opening balance','corrected','corrected'),
       ('opening balance void','corrected','corrected'), ('event','earned','corrected'),
       ('event void','corrected','corrected'), ('expiry','expired','expired'),
       ('redemption','spent','spent'), ('redemption reversal','spent','spent')) kinds(kind,
       added_line, taken_line);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.movement_kind TO twezah_worker;

-- Points of sales that cannot be spent yet, one row per sale and member: the one definition.
-- member_id: Member who has the points; of a referral also who referred the buyer.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: The sale's id at the billing system.
-- points: Points posted for the sale and member; they are in the balance.
-- event_at: When the sale happened.
-- available_at: When the days are over; null: they are over, or the program names none.
-- awaits_payment: Whether the points wait for the payment of the sale.
CREATE VIEW loyalty.pending_sale AS
 SELECT e.member_id, e.system, e.account, e.external_id,
    sum(e.points)::bigint AS points, i.issued_at AS event_at,
        CASE
            WHEN w.available_at > now() THEN w.available_at
            ELSE NULL::timestamptz
        END AS available_at,
    w.awaits_payment
   FROM loyalty.award_entry e
     JOIN billing.invoice i USING (external_id, account, system)
     CROSS JOIN LATERAL ( SELECT v.pending, v.timezone
           FROM loyalty.program v
          WHERE v.valid_from <= i.issued_at
          ORDER BY v.version DESC
         LIMIT 1) p
     CROSS JOIN LATERAL ( SELECT ((date_trunc('day', ((i.issued_at +
                CASE
                    WHEN i.time_known IS FALSE THEN '12:00:00'::interval
                    ELSE '00:00:00'::interval
                END) AT TIME ZONE p.timezone)) + make_interval(days => 1 + ((p.pending ->> 'days')::integer))) AT TIME ZONE p.timezone)
                    AS available_at,
            COALESCE((p.pending ->> 'until_paid')::boolean, false) AND i.status <> 'paid'
                AS awaits_payment) w
  WHERE ( SELECT bool_or(v.pending IS NOT NULL) AS bool_or
           FROM loyalty.program v) AND p.pending IS NOT NULL AND (w.available_at > now()
               OR w.awaits_payment)
  GROUP BY e.member_id, e.external_id, e.account, e.system, i.issued_at, w.available_at,
      w.awaits_payment
 HAVING sum(e.points) > 0::numeric;
GRANT SELECT ON loyalty.pending_sale TO twezah_api;
GRANT SELECT ON loyalty.pending_sale TO twezah_panel;
GRANT SELECT ON loyalty.pending_sale TO twezah_worker;

-- Every redemption and what became of it.
-- redemption_id: Number of the redemption.
-- member_id: Member as named in the request.
-- owner_id: Member it counts for.
-- points: Points to spend.
-- state: held: reserved; redeemed: spent; cancelled: the hold was given up; ended: the hold ended
--     by itself; reversed: spent, and given back.
-- reference: What the points are spent on.
-- reason: Why.
-- requested_at: When the points were spent or reserved.
-- hold_ends_at: Until when the hold reserves them; null: it never was a hold.
-- redeemed_at: When the points were spent.
-- cancelled_at: When the hold was cancelled.
-- reversed_at: When the points were given back.
-- released_why: Why the hold was cancelled, or the points were given back.
CREATE VIEW loyalty.redemption_state AS
 SELECT r.redemption_id, r.member_id, o.owner_id, r.points,
        CASE
            WHEN v.step IS NOT NULL THEN 'reversed'
            WHEN s.step IS NOT NULL THEN 'redeemed'
            WHEN c.step IS NOT NULL THEN 'cancelled'
            WHEN r.hold_ends_at > now() THEN 'held'
            ELSE 'ended'
        END AS state,
    r.reference, r.reason, r.requested_at, r.hold_ends_at,
    s.posted_at AS redeemed_at, c.posted_at AS cancelled_at,
    v.posted_at AS reversed_at, COALESCE(v.reason, c.reason) AS released_why
   FROM loyalty.redemption r
     JOIN loyalty.member_owner o USING (member_id)
     LEFT JOIN loyalty.redemption_step s ON s.redemption_id = r.redemption_id
         AND s.step = 'redeemed'
     LEFT JOIN loyalty.redemption_step c ON c.redemption_id = r.redemption_id
         AND c.step = 'cancelled'
     LEFT JOIN loyalty.redemption_step v ON v.redemption_id = r.redemption_id
         AND v.step = 'reversed';
GRANT SELECT ON loyalty.redemption_state TO twezah_api;
GRANT SELECT ON loyalty.redemption_state TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.redemption_state TO twezah_worker;

-- Referrals between the members that earn, merges followed; also those that close a circle.
-- friend_id: Member who was referred.
-- referrer_id: Member who referred them.
-- referred_at: When.
CREATE VIEW loyalty.referral_between AS
 SELECT friend_id, referrer_id, referred_at
   FROM ( SELECT DISTINCT ON ((COALESCE(f.owner_id, r.friend_id))) COALESCE(f.owner_id,
       r.friend_id) AS friend_id,
            COALESCE(o.owner_id, r.referrer_id) AS referrer_id, r.referred_at
           FROM ( SELECT DISTINCT ON (referral.friend_id) referral.friend_id,
                    referral.referrer_id, referral.referred_at
                   FROM loyalty.referral
                  ORDER BY referral.friend_id, referral.referral_no DESC) r
             LEFT JOIN loyalty.merged_member f ON f.member_id = r.friend_id
             LEFT JOIN loyalty.merged_member o ON o.member_id = r.referrer_id
          WHERE r.referrer_id IS NOT NULL
          ORDER BY (COALESCE(f.owner_id, r.friend_id)), r.referred_at, r.friend_id) resolved
  WHERE friend_id <> referrer_id;
GRANT SELECT ON loyalty.referral_between TO analyst;
GRANT SELECT ON loyalty.referral_between TO twezah_api;
GRANT SELECT ON loyalty.referral_between TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.referral_between TO twezah_worker;

-- Friends who brought, over any number of others, their own referrer: nobody did then.
-- friend_id: Member who was referred.
CREATE VIEW loyalty.referral_circle AS
 SELECT friend_id
   FROM loyalty.friends_in_circles() friend_id(friend_id);
GRANT SELECT ON loyalty.referral_circle TO analyst;
GRANT SELECT ON loyalty.referral_circle TO twezah_api;
GRANT SELECT ON loyalty.referral_circle TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.referral_circle TO twezah_worker;

-- Referrals that count, between the members that earn: merges are followed, and circles left out.
-- friend_id: Member who was referred.
-- referrer_id: Member who referred them.
-- referred_at: When.
CREATE VIEW loyalty.referral_owned AS
 SELECT friend_id, referrer_id, referred_at
   FROM loyalty.referral_between b
  WHERE NOT (EXISTS ( SELECT
           FROM loyalty.referral_circle c
          WHERE c.friend_id = b.friend_id));
GRANT SELECT ON loyalty.referral_owned TO analyst;
GRANT SELECT ON loyalty.referral_owned TO twezah_api;
GRANT SELECT ON loyalty.referral_owned TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.referral_owned TO twezah_worker;

-- Tiers that were set, as they count: the last row for an instant, merges followed.
-- member_id: Member.
-- valid_from: Sales from this instant on use this tier.
-- tier: The tier; where one ended, the entry tier.
CREATE VIEW loyalty.tier_set AS
 SELECT entered.member_id, entered.valid_from,
    COALESCE(entered.tier, loyalty.entry_tier_at(entered.valid_from)) AS tier
   FROM ( SELECT DISTINCT ON (t.member_id, t.valid_from) t.member_id,
            t.valid_from, t.tier
           FROM loyalty.member_tier t
          ORDER BY t.member_id, t.valid_from, t.tier_no DESC) entered
  WHERE NOT (EXISTS ( SELECT
           FROM loyalty.member_merge g
          WHERE g.into_id = entered.member_id AND g.member_id <> g.into_id AND g.tiers = 'better'))
UNION ALL
 SELECT w.member_id, w.valid_from, best.tier
   FROM ( SELECT DISTINCT o.member_id, t.valid_from
           FROM ( SELECT DISTINCT g.into_id AS member_id
                   FROM loyalty.member_merge g
                  WHERE g.member_id <> g.into_id AND g.tiers = 'better') o
             CROSS JOIN LATERAL ( SELECT o.member_id AS source_id
                UNION ALL
                 SELECT s.source_id
                   FROM loyalty.tier_source s
                  WHERE s.member_id = o.member_id) who
             JOIN loyalty.member_tier t ON t.member_id = who.source_id) w
     CROSS JOIN LATERAL ( SELECT COALESCE(latest.tier, loyalty.entry_tier_at(w.valid_from)) AS tier
           FROM ( SELECT w.member_id AS source_id
                UNION ALL
                 SELECT s.source_id
                   FROM loyalty.tier_source s
                  WHERE s.member_id = w.member_id) who
             CROSS JOIN LATERAL ( SELECT t.tier
                   FROM loyalty.member_tier t
                  WHERE t.member_id = who.source_id AND t.valid_from <= w.valid_from
                  ORDER BY t.valid_from DESC, t.tier_no DESC
                 LIMIT 1) latest
          ORDER BY (loyalty.tier_rank(latest.tier, w.valid_from)) DESC, latest.tier
         LIMIT 1) best;
GRANT SELECT ON loyalty.tier_set TO analyst;
GRANT SELECT ON loyalty.tier_set TO twezah_api;
GRANT SELECT ON loyalty.tier_set TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.tier_set TO twezah_worker;

-- Merged members whose tiers count for the member they were merged into.
-- member_id: Member who earns.
-- source_id: Member who was merged into them.
CREATE VIEW loyalty.tier_source AS
 WITH RECURSIVE link AS (
         SELECT DISTINCT ON (member_merge.member_id) member_merge.member_id,
            member_merge.into_id, member_merge.tiers
           FROM loyalty.member_merge
          ORDER BY member_merge.member_id, member_merge.merge_no DESC
        ), path(member_id, into_id) AS (
         SELECT link.member_id, link.into_id
           FROM link
          WHERE link.into_id <> link.member_id AND link.tiers = 'better'
        UNION
         SELECT p_1.member_id, l.into_id
           FROM path p_1
             JOIN link l ON l.member_id = p_1.into_id
          WHERE l.into_id <> l.member_id AND l.tiers = 'better'
        )
 SELECT into_id AS member_id, member_id AS source_id
   FROM path p
  WHERE NOT (EXISTS ( SELECT
           FROM link l
          WHERE l.member_id = p.into_id AND l.into_id <> l.member_id));
GRANT SELECT ON loyalty.tier_source TO analyst;
GRANT SELECT ON loyalty.tier_source TO twezah_api;
GRANT SELECT ON loyalty.tier_source TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.tier_source TO twezah_worker;

-- When a member's tier changed, and to which: evaluated, or set by the loyalty app.
-- member_id: Member.
-- valid_from: From when the member has the tier.
-- tier: The tier.
CREATE VIEW loyalty.tier_step AS
 SELECT last.member_id, last.valid_from, last.tier
   FROM ( SELECT DISTINCT ON (tier_entry.member_id, tier_entry.valid_from) tier_entry.member_id,
            tier_entry.valid_from, tier_entry.tier
           FROM loyalty.tier_entry
          ORDER BY tier_entry.member_id, tier_entry.valid_from, tier_entry.entry_no DESC) last
  WHERE last.tier IS NOT NULL
UNION ALL
 SELECT s.member_id, s.valid_from, s.tier
   FROM loyalty.tier_set s
  WHERE NOT (EXISTS ( SELECT
           FROM loyalty.tier_entry e
          WHERE e.member_id = s.member_id));
GRANT SELECT ON loyalty.tier_step TO analyst;
GRANT SELECT ON loyalty.tier_step TO twezah_api;
GRANT SELECT ON loyalty.tier_step TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.tier_step TO twezah_worker;

-- When members took no part: sales of that time earn nothing.
-- member_id: Member who earns (for all who were merged into them).
-- withdrawn_from: Sales from this instant on earn nothing.
-- withdrawn_until: Until before this one; null: still.
CREATE VIEW loyalty.withdrawn_span AS
 SELECT member_id, withdrawn_from, withdrawn_until
   FROM ( SELECT COALESCE(o.owner_id, c.member_id) AS member_id, c.given,
            c.recorded_at AS withdrawn_from,
            lead(c.recorded_at) OVER (PARTITION BY (COALESCE(o.owner_id,
                c.member_id)) ORDER BY c.recorded_at, c.consent_no) AS withdrawn_until
           FROM loyalty.consent c
             LEFT JOIN loyalty.merged_member o USING (member_id)) decided
  WHERE NOT given;
GRANT SELECT ON loyalty.withdrawn_span TO twezah_api;
GRANT SELECT ON loyalty.withdrawn_span TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.withdrawn_span TO twezah_worker;


-- ==================== analytics ====================

-- Views for analysts: amounts in whole currency units, no personal data, nothing to join.
CREATE SCHEMA analytics;
GRANT USAGE ON SCHEMA analytics TO analyst;
GRANT USAGE ON SCHEMA analytics TO twezah_api;
GRANT USAGE ON SCHEMA analytics TO twezah_panel;
GRANT USAGE ON SCHEMA analytics TO twezah_worker;

-- One row per adjustment by hand, opening balance, or points of an event.
-- adjustment_id: Number of the adjustment.
-- member_id: Member it counts for (pseudonymous).
-- points: What it adds to or takes from the balance.
-- voids_id: The adjustment that it takes back; null: none.
-- voided: Whether another one took it back.
-- reason: Why.
-- event_at: From when on it counts. Of a birthday analysts see the year's first day.
-- posted_at: When it was entered.
-- run_id: Run or command that entered it.
-- kind: adjustment; opening balance: points of an earlier program; event: points that a rule gives
--     for what a member did.
CREATE VIEW analytics.adjustment AS
 SELECT adjustment_id, member_id, points, voids_id, voided,
        CASE
            WHEN kind = 'event' OR ( SELECT billing.sees_persons() AS sees_persons) THEN reason
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.reason)::uuid)) THEN billing.without_contacts(reason)
            ELSE NULL
        END AS reason,
        CASE
            WHEN kind = 'event' AND reason = 'birthday' AND NOT ( SELECT billing.sees_persons()
                AS sees_persons) THEN date_trunc('year', event_at + '12:00:00'::interval, 'UTC')
            ELSE event_at
        END AS event_at,
    posted_at, run_id, kind
   FROM ( SELECT a.adjustment_id, o.owner_id AS member_id, a.points, a.voids_id,
            (EXISTS ( SELECT
                   FROM loyalty.adjustment v
                  WHERE v.voids_id = a.adjustment_id)) AS voided,
            a.reason, a.event_at, a.posted_at, a.run_id, a.kind
           FROM loyalty.adjustment a
             JOIN loyalty.member_owner o USING (member_id)) t;
GRANT SELECT ON analytics.adjustment TO analyst;
GRANT SELECT ON analytics.adjustment TO twezah_api;
GRANT SELECT ON analytics.adjustment TO twezah_panel;
GRANT SELECT ON analytics.adjustment TO twezah_worker;

-- One row per operation: who did what, when, with what result.
-- entry_no: Position in the log, without gaps.
-- at: When.
-- actor: Who.
-- operation: What, e.g. sync, webhooks, points.adjust.
-- status: success or error; of entries before November 2026 also pending: a synchronisation began.
-- subject: What it was done to.
-- system: Billing system.
-- account: Account at the billing system.
-- records: Records processed.
-- points: Points posted; negative: taken.
-- error: Why it failed.
-- run_id: Prefect flow run, or command.
-- details: More of it.
CREATE VIEW analytics.audit AS
 SELECT entry_no, at, actor, operation, status,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN subject
            ELSE billing.without_contacts(subject)
        END AS subject,
    system, account, records, points,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN error
            ELSE billing.without_contacts(error)
        END AS error,
    run_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN details
            ELSE billing.json_without_contacts(details - 'reason')
        END AS details
   FROM ( SELECT entry.entry_no, entry.at, entry.actor, entry.operation,
            entry.status, entry.subject, entry.system, entry.account,
            entry.records, entry.points, entry.error, entry.run_id,
            entry.details - 'author' AS details
           FROM audit.entry) t;
GRANT SELECT ON analytics.audit TO analyst;
GRANT SELECT ON analytics.audit TO twezah_api;
GRANT SELECT ON analytics.audit TO twezah_panel;
GRANT SELECT ON analytics.audit TO twezah_worker;

-- One row per ledger entry, with what explains it.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: Id of the sale.
-- invoice_number: Number printed on the document.
-- member_id: Member (pseudonymous).
-- entry_no: Position in the chain of this sale and member.
-- reason: award, edit, refund, void, moved, referral or duplicate.
-- points: What the entry adds to or takes from the balance.
-- due_before: Points posted for the sale before.
-- due_after: Points due for the sale after.
-- breakdown: Points per rule; they sum to due_after.
-- tier: Tier in force at the sale.
-- currency: ISO 4217 code.
-- net_amount: Amount that earned, in whole currency units.
-- program_version: Version of the program in force at the sale.
-- event_at: When the sale happened.
-- posted_at: When the entry was posted.
-- run_id: Prefect flow run that posted it.
CREATE VIEW analytics.award AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    member_id, entry_no, reason, points, due_before, due_after, breakdown, tier,
    currency, net_amount, program_version, event_at, posted_at, run_id
   FROM ( SELECT e.system, e.account, e.external_id, i.invoice_number,
            e.member_id, e.entry_no, e.reason, e.points, e.due_before,
            e.due_after, e.breakdown, e.tier, e.currency,
            billing.major_units(e.net_minor, e.currency) AS net_amount,
            e.program_version, e.event_at, e.posted_at, e.run_id
           FROM loyalty.award_entry e
             LEFT JOIN billing.invoice i USING (external_id, account, system)) t;
GRANT SELECT ON analytics.award TO analyst;
GRANT SELECT ON analytics.award TO twezah_api;
GRANT SELECT ON analytics.award TO twezah_panel;
GRANT SELECT ON analytics.award TO twezah_worker;

-- One row per ledger entry and rule: the points of an entry's rules sum to its due_after. The last
-- entry of a sale (is_last) is what is due now.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: Id of the sale.
-- member_id: Member (pseudonymous).
-- entry_no: Position in the chain of this sale and member.
-- rule: base, tier, or a promotion and its version.
-- promotion_id: Promotion; null for base and tier.
-- promotion_version: Its version.
-- title: Its title, or the rule's name.
-- points: Points of this rule in due_after.
-- due_after: Points due for the sale from this entry on.
-- tier: Tier in force at the sale.
-- program_version: Version of the program in force at the sale.
-- event_at: When the sale happened.
-- posted_at: When the entry was posted.
-- is_last: Whether it is the last entry of its chain.
CREATE VIEW analytics.award_rule AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
    member_id, entry_no, rule, promotion_id, promotion_version, title, points,
    due_after, tier, program_version, event_at, posted_at, is_last
   FROM ( SELECT e.system, e.account, e.external_id, e.member_id, e.entry_no,
            r.rule, p.promotion_id, p.version AS promotion_version,
            COALESCE(NULLIF(p.parameters ->> 'title', ''), r.rule) AS title,
            r.points, e.due_after, e.tier, e.program_version, e.event_at,
            e.posted_at,
            e.entry_no = max(e.entry_no) OVER (PARTITION BY e.member_id, e.external_id, e.account,
                e.system) AS is_last
           FROM loyalty.award_entry e
             CROSS JOIN LATERAL ( SELECT jsonb_each_text.key AS rule,
                    jsonb_each_text.value::bigint AS points
                   FROM jsonb_each_text(e.breakdown) jsonb_each_text(key, value)) r
             LEFT JOIN loyalty.promotion p ON p.promotion_id = split_part(r.rule, '@', 1)
                 AND p.version::text = split_part(r.rule, '@', 2)) t;
GRANT SELECT ON analytics.award_rule TO analyst;
GRANT SELECT ON analytics.award_rule TO twezah_api;
GRANT SELECT ON analytics.award_rule TO twezah_panel;
GRANT SELECT ON analytics.award_rule TO twezah_worker;

-- One row per change that the loyalty app could hear of, in the order of the feed.
-- change_no: Position in the feed.
-- kind: points.changed, points.expiring, tier.changed, ...
-- member_id: Member (pseudonymous).
-- data: What changed, by kind.
-- balance_points: The balance when it was published.
-- happened_at: When it was entered.
-- published_at: When it was published.
CREATE VIEW analytics.change AS
 SELECT change_no, kind, member_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN data
            ELSE billing.json_without_contacts(data - 'reason')
        END AS data,
    balance_points, happened_at, published_at
   FROM ( SELECT change.change_no, change.kind, change.member_id, change.data,
            change.balance_points, change.happened_at, change.published_at
           FROM loyalty.change) t;
GRANT SELECT ON analytics.change TO analyst;
GRANT SELECT ON analytics.change TO twezah_api;
GRANT SELECT ON analytics.change TO twezah_panel;
GRANT SELECT ON analytics.change TO twezah_worker;

-- One row per code of a promotion that a member entered.
-- entry_no: Order of entry.
-- member_id: Member it counts for (pseudonymous).
-- code: The code.
-- entered_at: When: sales from then on may earn by it.
CREATE VIEW analytics.code_entry AS
 SELECT c.entry_no, o.owner_id AS member_id, c.code, c.entered_at
   FROM loyalty.code_entry c
     JOIN loyalty.member_owner o USING (member_id);
GRANT SELECT ON analytics.code_entry TO analyst;
GRANT SELECT ON analytics.code_entry TO twezah_api;
GRANT SELECT ON analytics.code_entry TO twezah_panel;
GRANT SELECT ON analytics.code_entry TO twezah_worker;

-- Consent withdrawn and given again, one row per decision.
-- member_id: Member (pseudonymous).
-- given: False: withdrawn. True: given again.
-- reason: Why.
-- recorded_at: From when on it counts.
-- run_id: Prefect flow run or command that entered it.
CREATE VIEW analytics.consent AS
 SELECT member_id, given,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN reason
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.reason)::uuid)) THEN billing.without_contacts(reason)
            ELSE NULL
        END AS reason,
    recorded_at, run_id
   FROM ( SELECT consent.member_id, consent.given, consent.reason,
            consent.recorded_at, consent.run_id
           FROM loyalty.consent) t;
GRANT SELECT ON analytics.consent TO analyst;
GRANT SELECT ON analytics.consent TO twezah_api;
GRANT SELECT ON analytics.consent TO twezah_panel;
GRANT SELECT ON analytics.consent TO twezah_worker;

-- One row per change and receiver: whether and when the loyalty app was told by webhook.
-- receiver: Name of the receiver.
-- change_no: Position in the feed.
-- kind: points.changed, tier.changed, ...
-- member_id: Member (pseudonymous).
-- state: pending, delivered or parked.
-- attempts: How often it was sent.
-- queued_at: Since when it is tried.
-- happened_at: When the change was entered.
-- http_status: Answer to the last attempt.
-- error: Why the last attempt failed.
-- finished_at: When it was accepted or given up.
CREATE VIEW analytics.delivery AS
 SELECT receiver, change_no, kind, member_id, state, attempts, queued_at,
    happened_at, http_status,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN error
            ELSE billing.without_contacts(error)
        END AS error,
    finished_at
   FROM ( SELECT r.name AS receiver, d.change_no, c.kind, c.member_id, d.state,
            d.attempts, d.queued_at, c.happened_at, d.http_status, d.error,
            d.finished_at
           FROM loyalty.delivery d
             JOIN loyalty.receiver r USING (receiver_no)
             JOIN loyalty.change c USING (change_no)) t;
GRANT SELECT ON analytics.delivery TO analyst;
GRANT SELECT ON analytics.delivery TO twezah_api;
GRANT SELECT ON analytics.delivery TO twezah_panel;
GRANT SELECT ON analytics.delivery TO twezah_worker;

-- One row per month to come in which points expire, if nothing moves until then. As of the last
-- look, once a day; empty where points do not expire.
-- month: First day of the month of the last day on which they can be spent, in the time zone of the
--     program.
-- points: Points that expire.
-- members: Members of whom points expire.
-- computed_at: As of when.
CREATE VIEW analytics.expiring_month AS
 SELECT month, points, members, computed_at
   FROM loyalty.expiring_month;
GRANT SELECT ON analytics.expiring_month TO analyst;
GRANT SELECT ON analytics.expiring_month TO twezah_api;
GRANT SELECT ON analytics.expiring_month TO twezah_panel;
GRANT SELECT ON analytics.expiring_month TO twezah_worker;

-- Every request to the HTTP API and every webhook, accepted or refused.
-- attempt_at: When it was answered.
-- method: HTTP method.
-- route: Path as documented.
-- status: HTTP status.
-- outcome: stored, duplicate, handshake or ok; or why it was refused.
-- endpoint_no: Number of the webhook endpoint.
-- event_no: Event that was stored.
-- key_no: Number of the API key.
-- elapsed_ms: Milliseconds to the answer.
-- repeats: How many attempts the row stands for.
CREATE VIEW analytics.http_attempt AS
 SELECT attempt_at, method, route, status, outcome, endpoint_no, event_no,
    key_no, elapsed_ms, repeats
   FROM billing.http_attempt;
GRANT SELECT ON analytics.http_attempt TO analyst;
GRANT SELECT ON analytics.http_attempt TO twezah_api;
GRANT SELECT ON analytics.http_attempt TO twezah_panel;
GRANT SELECT ON analytics.http_attempt TO twezah_worker;

-- Documents that earn nothing, because another system's document of the same sale counts.
-- system: Billing system of the document left out.
-- account: Its account at the billing system.
-- external_id: Its id.
-- invoice_number: Number printed on it.
-- member_id: Member (pseudonymous).
-- kind: invoice and sale would earn; credit_note and refund would take back.
-- amount: How much of it counts elsewhere, in whole currency units.
-- currency: ISO 4217 code.
-- issued_at: When it says that the sale happened.
-- by_system: Billing system of the document that counts.
-- by_account: Its account.
-- by_external_id: Its id.
-- by_invoice_number: Number printed on it.
-- by_member_id: Member of that document (pseudonymous); another one where the systems disagree.
-- matched_by: How the two were recognised as one sale.
-- left_out_at: Since when it is left out.
-- run_id: Prefect flow run that left it out.
CREATE VIEW analytics.left_out_sale AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    member_id, kind, amount, currency, issued_at, by_system, by_account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(by_external_id)
                OR by_external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.by_external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN by_external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.by_external_id AND i.account = t.by_account
                  AND i.system = t.by_system), 'hidden')
        END AS by_external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(by_invoice_number)
                OR by_invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.by_invoice_number,
                  '[^0-9]', '', 'g'), "right"(m.phone,
                  8)) > 0))) IS NOT TRUE THEN by_invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.by_external_id AND i.account = t.by_account
                  AND i.system = t.by_system), 'hidden')
        END AS by_invoice_number,
    by_member_id, matched_by, left_out_at, run_id
   FROM ( SELECT l.system, l.account, l.external_id, i.invoice_number,
            l.member_id, i.kind,
            billing.major_units(l.settled_minor, i.currency) AS amount,
            i.currency, i.issued_at, l.by_system, l.by_account, l.by_external_id,
            w.invoice_number AS by_invoice_number, w.member_id AS by_member_id,
            l.matched_by, l.left_out_at, l.run_id
           FROM loyalty.left_out_sale l
             LEFT JOIN billing.invoice i USING (external_id, account, system)
             LEFT JOIN billing.invoice w ON w.external_id = l.by_external_id
                 AND w.account = l.by_account AND w.system = l.by_system) t;
GRANT SELECT ON analytics.left_out_sale TO analyst;
GRANT SELECT ON analytics.left_out_sale TO twezah_api;
GRANT SELECT ON analytics.left_out_sale TO twezah_panel;
GRANT SELECT ON analytics.left_out_sale TO twezah_worker;

-- One row per month: points owed at its start and end, and what changed them, by the date of
-- posting. opening + earned + spent + expired + corrected = closing. As of the last refresh.
-- month: First day of the month, in the time zone of the program.
-- opening_points: Points owed when it began.
-- earned_points: Points for sales.
-- spent_points: Points spent (negative), less what was given back.
-- expired_points: Points that expired (negative).
-- corrected_points: Refunds, credit notes, voids, edits, points by hand, and points of an earlier
--     program.
-- unknown_points: Points of kinds that the report does not know yet; not 0: tell the developers.
-- closing_points: Points owed when it ended.
-- entries: Movements in the month.
CREATE VIEW analytics.liability_month AS
 SELECT month, (closing_points - moved)::bigint AS opening_points, earned_points,
    spent_points, expired_points, corrected_points, unknown_points,
    closing_points::bigint AS closing_points, entries
   FROM ( SELECT month_movement.month, sum(month_movement.points) AS moved,
            sum(sum(month_movement.points)) OVER (ORDER BY month_movement.month) AS closing_points,
            COALESCE(sum(month_movement.points) FILTER (WHERE month_movement.line = 'earned'),
                0::numeric)::bigint AS earned_points,
            COALESCE(sum(month_movement.points) FILTER (WHERE month_movement.line = 'spent'),
                0::numeric)::bigint AS spent_points,
            COALESCE(sum(month_movement.points) FILTER (WHERE month_movement.line = 'expired'),
                0::numeric)::bigint AS expired_points,
            COALESCE(sum(month_movement.points) FILTER (WHERE month_movement.line = 'corrected'),
                0::numeric)::bigint AS corrected_points,
            COALESCE(sum(month_movement.points) FILTER (WHERE month_movement.line = 'unknown'),
                0::numeric)::bigint AS unknown_points,
            sum(month_movement.entries)::bigint AS entries
           FROM loyalty.month_movement
          GROUP BY month_movement.month) months;
GRANT SELECT ON analytics.liability_month TO analyst;
GRANT SELECT ON analytics.liability_month TO twezah_api;
GRANT SELECT ON analytics.liability_month TO twezah_panel;
GRANT SELECT ON analytics.liability_month TO twezah_worker;

-- Who is on which list of members, and when.
-- member_id: Member it counts for (pseudonymous).
-- list: Name of the list.
-- valid_from: From when on.
-- valid_to: Until before this instant; null: for good.
CREATE VIEW analytics.list_member AS
 SELECT o.owner_id AS member_id, s.list, s.valid_from, s.valid_to
   FROM loyalty.list_span s
     JOIN loyalty.member_owner o USING (member_id);
GRANT SELECT ON analytics.list_member TO analyst;
GRANT SELECT ON analytics.list_member TO twezah_api;
GRANT SELECT ON analytics.list_member TO twezah_panel;
GRANT SELECT ON analytics.list_member TO twezah_worker;

-- One row per member: tier now and balance. No phone, no name.
-- member_id: Member (pseudonymous).
-- tier: Tier in force now.
-- balance_points: Balance.
-- added_points: Points added in all.
-- taken_back_points: Points taken back in all, as a positive number.
-- entries: Ledger entries.
-- last_posted_at: When the last entry was posted.
-- created_at: When the member was first seen.
-- merged_into: Member who earns for this one since they were merged; null: not merged.
-- spent_points: Points spent, less those given back.
-- held_points: Points reserved by holds now.
-- available_points: Points that can be spent: the balance without held and pending points, and
--     never below 0.
-- pending_points: Points in the balance that cannot be spent yet.
CREATE VIEW analytics.member AS
 SELECT m.member_id, t.tier,
    COALESCE(b.balance_points, 0::bigint) AS balance_points,
    COALESCE(b.added_points, 0::bigint) AS added_points,
    COALESCE(b.taken_back_points, 0::bigint) AS taken_back_points,
    COALESCE(b.entries, 0::bigint) AS entries, b.last_posted_at, m.created_at,
    o.owner_id AS merged_into,
    COALESCE(b.spent_points, 0::bigint) AS spent_points,
    COALESCE(b.held_points, 0::bigint) AS held_points,
    COALESCE(b.available_points, 0::bigint) AS available_points,
    COALESCE(b.pending_points, 0::bigint) AS pending_points
   FROM loyalty.member m
     LEFT JOIN loyalty.member_balance b USING (member_id)
     LEFT JOIN loyalty.merged_member o USING (member_id)
     CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t(tier, valid_from);
GRANT SELECT ON analytics.member TO analyst;
GRANT SELECT ON analytics.member TO twezah_api;
GRANT SELECT ON analytics.member TO twezah_panel;
GRANT SELECT ON analytics.member TO twezah_worker;

-- What members did beside buying, one row per event: as the loyalty app told it, registrations, and
-- birthdays.
-- event_no: Order of entry.
-- member_id: Member it counts for (pseudonymous).
-- name: What happened: sign_up, birthday, or a name of the loyalty app.
-- happened_at: When. Of a birthday analysts see the year's first day.
-- recorded_at: When it became known. Of a birthday analysts see the year's first day.
-- points: Points posted for it; 0: no rule gives any, or it is beyond what a member may have.
CREATE VIEW analytics.member_event AS
 SELECT event_no, owner_id AS member_id, name,
        CASE
            WHEN hidden THEN date_trunc('year', happened_at + '12:00:00'::interval, 'UTC')
            ELSE happened_at
        END AS happened_at,
        CASE
            WHEN hidden THEN date_trunc('year', recorded_at, 'UTC')
            ELSE recorded_at
        END AS recorded_at,
    COALESCE(( SELECT sum(a.points) AS sum
           FROM loyalty.adjustment a
          WHERE a.event_no = t.event_no), 0::numeric)::bigint AS points
   FROM ( SELECT e.event_no, e.member_id, e.name, e.event_key, e.happened_at,
            e.recorded_at, e.recorded_by, e.run_id, o.owner_id,
            e.name = 'birthday' AND NOT ( SELECT billing.sees_persons() AS sees_persons) AS hidden
           FROM loyalty.member_event e
             JOIN loyalty.member_owner o USING (member_id)) t;
GRANT SELECT ON analytics.member_event TO analyst;
GRANT SELECT ON analytics.member_event TO twezah_api;
GRANT SELECT ON analytics.member_event TO twezah_panel;
GRANT SELECT ON analytics.member_event TO twezah_worker;

-- Points of sales that cannot be spent yet, one row per sale and member. They are in the balance.
-- member_id: Member (pseudonymous).
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- points: Points posted for the sale and member.
-- event_at: When the sale happened.
-- available_at: When the days are over; null: they are over, or the program names none.
-- awaits_payment: Whether the points wait for the payment of the sale.
CREATE VIEW analytics.pending_points AS
 SELECT member_id, system, account, points, event_at, available_at,
    awaits_payment
   FROM loyalty.pending_sale;
GRANT SELECT ON analytics.pending_points TO analyst;
GRANT SELECT ON analytics.pending_points TO twezah_api;
GRANT SELECT ON analytics.pending_points TO twezah_panel;
GRANT SELECT ON analytics.pending_points TO twezah_worker;

-- One row per currency and time with one worth of a point.
-- currency: Currency, ISO 4217.
-- value_per_point: Worth of one point in whole currency units.
-- valid_from: First instant.
-- valid_to: First instant after it; null: open.
CREATE VIEW analytics.point_value AS
 SELECT currency, value_per_point, valid_from,
    lead(valid_from) OVER (PARTITION BY currency ORDER BY valid_from) AS valid_to
   FROM ( SELECT DISTINCT ON (point_value.currency, point_value.valid_from) point_value.currency,
            point_value.valid_from, point_value.value_per_point
           FROM loyalty.point_value
          ORDER BY point_value.currency, point_value.valid_from,
              point_value.value_no DESC) entered;
GRANT SELECT ON analytics.point_value TO analyst;
GRANT SELECT ON analytics.point_value TO twezah_api;
GRANT SELECT ON analytics.point_value TO twezah_panel;
GRANT SELECT ON analytics.point_value TO twezah_worker;

-- Everything that moved a balance, one row each, with the balance after it: ledger entries,
-- adjustments, expiries and redemptions.
-- member_id: Member (pseudonymous).
-- posted_at: When it was posted.
-- event_at: When the sale happened; from when on the adjustment counts; when the points expired, or
--     were spent or reserved.
-- kind: award, edit, refund, void, moved, referral or duplicate (of a sale); adjustment or
--     adjustment void; expiry; redemption or redemption reversal. Imported points of an earlier
--     program: opening balance, or opening balance void. Points of an event of the member, named in
--     reason: event, or event void.
-- points: What it adds to or takes from the balance.
-- balance_points: The balance after it.
-- reason: Why, of an adjustment or a redemption.
-- system: Billing system of the sale.
-- account: Account at the billing system.
-- external_id: Id of the sale, or number of the adjustment or redemption.
-- entry_no: Position in the chain of the sale.
-- run_id: Run or command that posted it.
CREATE VIEW analytics.points_history AS
 SELECT member_id, posted_at, event_at, kind, points, balance_points,
        CASE
            WHEN (kind IN ('event', 'event void')) OR ( SELECT billing.sees_persons()
                AS sees_persons) THEN reason
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.reason)::uuid)) THEN billing.without_contacts(reason)
            ELSE NULL
        END AS reason,
    system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
    entry_no, run_id
   FROM ( SELECT posted.member_id, posted.posted_at, posted.event_at,
            posted.kind, posted.points,
            sum(posted.points) OVER (PARTITION BY posted.member_id ORDER BY posted.posted_at,
                posted.kind, posted.system, posted.account, posted.external_id,
                posted.entry_no ROWS UNBOUNDED PRECEDING)::bigint AS balance_points,
            posted.reason, posted.system, posted.account, posted.external_id,
            posted.entry_no, posted.run_id
           FROM ( SELECT e.member_id, e.posted_at, e.event_at, e.reason AS kind,
                    e.points, NULL AS reason, e.system, e.account,
                    e.external_id, e.entry_no, e.run_id
                   FROM loyalty.award_entry e
                UNION ALL
                 SELECT a.member_id, a.posted_at, a.event_at,
                        CASE
                            WHEN a.voids_id IS NULL THEN a.kind
                            ELSE a.kind || ' void'
                        END AS "case",
                    a.points, a.reason, NULL AS text, NULL AS text,
                    a.adjustment_id::text AS adjustment_id,
                    NULL AS int4, a.run_id
                   FROM analytics.adjustment a
                UNION ALL
                 SELECT x.member_id, x.posted_at, x.expires_at,
                    'expiry' AS text, x.points, NULL AS text,
                    NULL AS text, NULL AS text, NULL AS text,
                    x.entry_no, x.run_id
                   FROM loyalty.expiry_entry x
                UNION ALL
                 SELECT o.owner_id, s.posted_at, r.requested_at,
                        CASE
                            WHEN s.step = 'redeemed' THEN 'redemption'
                            ELSE 'redemption reversal'
                        END AS "case",
                    s.points,
                    ((COALESCE(s.reason, r.reason) || ' (') || r.reference) || ')',
                    NULL AS text, NULL AS text,
                    r.redemption_id::text AS redemption_id,
                    NULL AS int4, s.run_id
                   FROM loyalty.redemption_step s
                     JOIN loyalty.redemption r USING (redemption_id)
                     JOIN loyalty.member_owner o ON o.member_id = s.member_id
                  WHERE s.points <> 0) posted) t;
GRANT SELECT ON analytics.points_history TO analyst;
GRANT SELECT ON analytics.points_history TO twezah_api;
GRANT SELECT ON analytics.points_history TO twezah_panel;
GRANT SELECT ON analytics.points_history TO twezah_worker;

-- Points as they were posted, by the account of the sales: one row per transaction and account.
-- Points over time, without reading the ledger.
-- posting_no: Number of the posting.
-- system: Billing system of the sales.
-- account: Account of the sales at the billing system.
-- run_id: Prefect flow run that posted them; it may be the run of another connection.
-- entries: Ledger entries.
-- points: Their sum.
-- posted_at: When they were posted.
CREATE VIEW analytics.posting AS
 SELECT posting_no, system, account, run_id, entries, points, posted_at
   FROM loyalty.posting;
GRANT SELECT ON analytics.posting TO analyst;
GRANT SELECT ON analytics.posting TO twezah_api;
GRANT SELECT ON analytics.posting TO twezah_panel;
GRANT SELECT ON analytics.posting TO twezah_worker;

-- One row per redemption or hold.
-- redemption_id: Number of the redemption.
-- member_id: Member it counts for (pseudonymous).
-- points: Points spent or reserved.
-- state: held, redeemed, cancelled, ended (a hold that nobody confirmed) or reversed.
-- reference: What the points are spent on.
-- reason: Why.
-- requested_at: When they were spent or reserved.
-- hold_ends_at: Until when the hold reserves them; null: it never was a hold.
-- redeemed_at: When they were spent.
-- cancelled_at: When the hold was cancelled.
-- reversed_at: When they were given back.
-- released_why: Why the hold was cancelled, or the points were given back.
CREATE VIEW analytics.redemption AS
 SELECT redemption_id, member_id, points, state,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN reference
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.reference)::uuid)) THEN billing.without_contacts(reference)
            ELSE NULL
        END AS reference,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN reason
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.reason)::uuid)) THEN billing.without_contacts(reason)
            ELSE NULL
        END AS reason,
    requested_at, hold_ends_at, redeemed_at, cancelled_at, reversed_at,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN released_why
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.released_why)::uuid)) THEN billing.without_contacts(released_why)
            ELSE NULL
        END AS released_why
   FROM ( SELECT redemption_state.redemption_id,
            redemption_state.owner_id AS member_id, redemption_state.points,
            redemption_state.state, redemption_state.reference,
            redemption_state.reason, redemption_state.requested_at,
            redemption_state.hold_ends_at, redemption_state.redeemed_at,
            redemption_state.cancelled_at, redemption_state.reversed_at,
            redemption_state.released_why
           FROM loyalty.redemption_state) t;
GRANT SELECT ON analytics.redemption TO analyst;
GRANT SELECT ON analytics.redemption TO twezah_api;
GRANT SELECT ON analytics.redemption TO twezah_panel;
GRANT SELECT ON analytics.redemption TO twezah_worker;

-- One row per redemption that stands and currency in which a point has a worth: what the spent
-- points were worth when they were spent.
-- redemption_id: Number of the redemption.
-- member_id: Member (pseudonymous).
-- redeemed_at: When the points were spent.
-- points: Points spent.
-- currency: Currency of value_per_point and amount.
-- value_per_point: Worth of one point then, in whole currency units.
-- amount: points times value_per_point, in whole currency units, not rounded.
CREATE VIEW analytics.redemption_value AS
 SELECT r.redemption_id, r.member_id, r.redeemed_at, r.points, v.currency,
    v.value_per_point, r.points::numeric * v.value_per_point AS amount
   FROM analytics.redemption r
     JOIN analytics.point_value v ON r.redeemed_at >= v.valid_from AND (v.valid_to IS NULL
         OR r.redeemed_at < v.valid_to)
  WHERE r.state = 'redeemed';
GRANT SELECT ON analytics.redemption_value TO analyst;
GRANT SELECT ON analytics.redemption_value TO twezah_api;
GRANT SELECT ON analytics.redemption_value TO twezah_panel;
GRANT SELECT ON analytics.redemption_value TO twezah_worker;

-- One row per member who was referred, as it counts now; merges are followed.
-- friend_id: Member who was referred (pseudonymous).
-- referrer_id: Member who referred them (pseudonymous).
-- referred_at: When: sales of the friend from then on count.
-- in_circle: Whether the friend referred the referrer, directly or over others: then it gives
--     nothing.
CREATE VIEW analytics.referral AS
 SELECT friend_id, referrer_id, referred_at,
    (EXISTS ( SELECT
           FROM loyalty.referral_circle c
          WHERE c.friend_id = b.friend_id)) AS in_circle
   FROM loyalty.referral_between b;
GRANT SELECT ON analytics.referral TO analyst;
GRANT SELECT ON analytics.referral TO twezah_api;
GRANT SELECT ON analytics.referral TO twezah_panel;
GRANT SELECT ON analytics.referral TO twezah_worker;

-- Records that would have taken points back or changed a sale in the ledger, and could not be used:
-- the old points stand.
-- reject_id: Number of the reject.
-- system: Billing system.
-- account: Account at the billing system.
-- stream: Which list of the vendor; awards: its points could not be computed.
-- external_id: Id at the billing system.
-- invoice_number: Number printed on the stored document.
-- member_id: Member who has the points (pseudonymous).
-- reason: Field and cause.
-- points_at_stake: Points that stand now for the stored version; null where the record names no
--     stored document, as a credit note of its own.
-- first_seen_at: When it was refused first.
-- last_seen_at: When it was refused last.
-- times_seen: How often it was refused.
-- resolved_at: When it was accepted after all; null: open.
CREATE VIEW analytics.refused_correction AS
 SELECT reject_id, system, account, stream,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    member_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN reason
            ELSE billing.without_contacts(reason)
        END AS reason,
    points_at_stake, first_seen_at, last_seen_at, times_seen, resolved_at
   FROM ( SELECT r.reject_id, r.system, r.account, r.stream, r.external_id,
            i.invoice_number, i.member_id, r.reason,
                CASE
                    WHEN i.external_id IS NOT NULL THEN ( SELECT COALESCE(sum(e.points),
                        0::numeric)::bigint AS "coalesce"
                       FROM billing.invoice s
                         LEFT JOIN loyalty.merged_member o ON o.member_id = s.member_id
                         JOIN loyalty.award_entry e ON (e.member_id = s.member_id
                             OR e.member_id = o.owner_id) AND e.external_id = s.external_id
                             AND e.account = s.account AND e.system = s.system
                      WHERE s.external_id = r.external_id AND s.account = r.account
                          AND s.system = r.system)
                    ELSE NULL
                END AS points_at_stake,
            r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at
           FROM billing.reject r
             LEFT JOIN billing.invoice i ON i.external_id = r.external_id AND i.account = r.account
                 AND i.system = r.system
          WHERE r.class = 'correction') t;
GRANT SELECT ON analytics.refused_correction TO analyst;
GRANT SELECT ON analytics.refused_correction TO twezah_api;
GRANT SELECT ON analytics.refused_correction TO twezah_panel;
GRANT SELECT ON analytics.refused_correction TO twezah_worker;

-- Records that could not be used, and why.
-- reject_id: Number of the reject.
-- system: Billing system.
-- account: Account at the billing system.
-- stream: Which list of the vendor.
-- external_id: Id at the billing system, where the record has one.
-- reason: Field and cause.
-- first_seen_at: When it was rejected first.
-- last_seen_at: When it was rejected last.
-- times_seen: How often it was rejected.
-- resolved_at: When it was accepted after all; null: open.
-- file: File the record was in, of a file drop.
-- record_no: Row of the file (the header is 1), or place of the record in its page, from 0.
-- sale_kind: invoice, sale, credit_note or refund, as read. Null (also in the next columns): the
--     record does not say.
-- currency: ISO 4217 code, as read.
-- total: Total with tax as read, in whole currency units.
-- issued_at: When the sale happened, as read.
CREATE VIEW analytics.reject AS
 SELECT r.reject_id, r.system, r.account, r.stream,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR billing.names_person(r.external_id) IS NOT TRUE THEN r.external_id
            ELSE 'hidden'
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN r.reason
            ELSE billing.without_contacts(r.reason)
        END AS reason,
    r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR billing.names_person(f.file) IS NOT TRUE THEN f.file
            ELSE 'hidden'
        END AS file,
    r.record_no, COALESCE(r.sale_kind, i.kind) AS sale_kind,
        CASE
            WHEN COALESCE(r.currency, i.currency) ~ '^[A-Z]{3}$' THEN COALESCE(r.currency,
                i.currency)
            ELSE NULL
        END AS currency,
    billing.major_units(COALESCE(r.total_minor, i.total_minor), COALESCE(r.currency, i.currency))
        AS total,
    COALESCE(r.issued_at, i.issued_at) AS issued_at
   FROM billing.reject r
     LEFT JOIN billing.invoice i ON r.stream = 'awards' AND i.external_id = r.external_id
         AND i.account = r.account AND i.system = r.system
     CROSS JOIN LATERAL ( SELECT ( SELECT (p.request -> 'params') ->> 'file'
                   FROM billing.raw_page p
                  WHERE p.page_id = r.page_id) AS file) f;
GRANT SELECT ON analytics.reject TO analyst;
GRANT SELECT ON analytics.reject TO twezah_api;
GRANT SELECT ON analytics.reject TO twezah_panel;
GRANT SELECT ON analytics.reject TO twezah_worker;

-- One row per sale, credit note or refund with the points it gave its member.
-- system: Billing system.
-- account: Account at the billing system.
-- external_id: Id at the billing system.
-- invoice_number: Number printed on the document.
-- kind: invoice, sale, credit_note or refund.
-- status: draft, open, paid or void.
-- member_id: Member who earns for it (pseudonymous).
-- currency: ISO 4217 code.
-- total: Total with tax, in whole currency units.
-- subtotal: Total without tax.
-- tax: Tax.
-- refunded: Credited or refunded so far.
-- points: Points posted for it, all corrections included.
-- entries: Number of ledger entries of its member.
-- issued_at: When the sale happened.
-- updated_at: Last change at the vendor.
-- stored_at: When this version reached us.
-- time_known: Whether issued_at has a time of day; false: it is the beginning of the document's
--     day.
-- original_external_id: Of a credit document: id or number of the sale that it returns, where the
--     vendor says so.
-- store: Shop, branch or warehouse that sold it; null also where fewer than three members have it.
-- channel: How it was sold, as the vendor says; null also where fewer than three members have it.
-- city: City that it went to, else that of the customer; null also where fewer than three members
--     have it.
-- region: Province or state of that city; null also where fewer than three members have it.
CREATE VIEW analytics.sale AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    kind, status, member_id, currency, total, subtotal, tax, refunded, points,
    entries, issued_at, updated_at, stored_at, time_known,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(original_external_id)
                OR original_external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.original_external_id,
                  '[^0-9]', '', 'g'), "right"(m.phone,
                  8)) > 0))) IS NOT TRUE THEN original_external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.original_external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS original_external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN store
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.store)::uuid)) THEN billing.without_contacts(store)
            ELSE NULL
        END AS store,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN channel
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.channel)::uuid)) THEN billing.without_contacts(channel)
            ELSE NULL
        END AS channel,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN city
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.city)::uuid)) THEN billing.without_contacts(city)
            ELSE NULL
        END AS city,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN region
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.region)::uuid)) THEN billing.without_contacts(region)
            ELSE NULL
        END AS region
   FROM ( SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind,
            i.status, COALESCE(o.owner_id, i.member_id) AS member_id, i.currency,
            billing.major_units(i.total_minor, i.currency) AS total,
            billing.major_units(i.subtotal_minor, i.currency) AS subtotal,
            billing.major_units(i.tax_minor, i.currency) AS tax,
            billing.major_units(i.amount_refunded_minor, i.currency) AS refunded,
            COALESCE(p.points, 0::numeric)::bigint AS points,
            COALESCE(p.entries, 0::bigint)::integer AS entries, i.issued_at,
            i.updated_at, i.stored_at, i.time_known, i.original_external_id,
            i.store, i.channel, i.city, i.region
           FROM billing.invoice i
             LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
             LEFT JOIN LATERAL ( SELECT sum(e.points) AS points,
                    count(*) AS entries
                   FROM loyalty.award_entry e
                  WHERE e.member_id = COALESCE(o.owner_id, i.member_id)
                      AND e.external_id = i.external_id AND e.account = i.account
                      AND e.system = i.system) p ON true) t;
GRANT SELECT ON analytics.sale TO analyst;
GRANT SELECT ON analytics.sale TO twezah_api;
GRANT SELECT ON analytics.sale TO twezah_panel;
GRANT SELECT ON analytics.sale TO twezah_worker;

-- One row per product line, with the sale's own facts beside it.
-- system: Billing system.
-- account: Account at the billing system.
-- external_id: Id of the sale.
-- invoice_number: Number printed on the document.
-- kind: invoice, sale, credit_note or refund.
-- status: draft, open, paid or void.
-- member_id: Member (pseudonymous).
-- issued_at: When the sale happened.
-- line_no: Position in the sale, from 1.
-- sku: Stock keeping unit.
-- name: Product name or description.
-- quantity: Quantity sold.
-- unit_price: Price of one.
-- currency: ISO 4217 code.
-- amount: Amount of the line in whole currency units; negative for a discount.
CREATE VIEW analytics.sale_line AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    kind, status, member_id, issued_at, line_no,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) OR (billing.names_person(sku)
                OR sku ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.sku, '[^0-9]', '', 'g'),
                  "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN sku
            ELSE 'hidden'
        END AS sku,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN name
            WHEN (EXISTS ( SELECT
               FROM billing.common_text c
              WHERE c.digest = md5(t.name)::uuid)) THEN billing.without_contacts(name)
            ELSE NULL
        END AS name,
    quantity, unit_price, currency, amount
   FROM ( SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind,
            i.status, i.member_id, i.issued_at, l.line_no, l.sku, l.name,
            l.quantity, l.unit_price, i.currency,
            billing.major_units(l.amount_minor, i.currency) AS amount
           FROM billing.invoice_line l
             JOIN billing.invoice i USING (page_id, record_no)) t;
GRANT SELECT ON analytics.sale_line TO analyst;
GRANT SELECT ON analytics.sale_line TO twezah_api;
GRANT SELECT ON analytics.sale_line TO twezah_panel;
GRANT SELECT ON analytics.sale_line TO twezah_worker;

-- Documents of which something was read otherwise than it is written, e.g. a refund a cent above
-- the sale.
-- system: Billing system.
-- account: Account at the billing system.
-- external_id: Id of the document.
-- note: What was read otherwise, in one line.
-- noted_at: When it was read so last.
CREATE VIEW analytics.sale_note AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR billing.names_person(external_id) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN note
            ELSE billing.without_contacts(note)
        END AS note,
    noted_at
   FROM ( SELECT document_note.system, document_note.account,
            document_note.external_id, document_note.note,
            document_note.noted_at
           FROM billing.document_note) t;
GRANT SELECT ON analytics.sale_note TO analyst;
GRANT SELECT ON analytics.sale_note TO twezah_api;
GRANT SELECT ON analytics.sale_note TO twezah_panel;
GRANT SELECT ON analytics.sale_note TO twezah_worker;

-- One row per synchronisation: when, how long, what came of it.
-- sync_id: Number of the synchronisation.
-- system: Billing system.
-- account: Account at the billing system.
-- source: poll: lists were read; webhook: sales that the billing system announced while one run was
--     listening.
-- state: extracting, extracted, stored, failed or abandoned.
-- run_id: Prefect flow run.
-- started_at: When it began.
-- finished_at: When it ended.
-- seconds: How long it took.
-- fetched_records: Records fetched from the vendor.
-- new_sales: Sales seen for the first time.
-- changed_sales: Sales whose stored version changed.
-- rejected_records: Records that could not be used.
-- entries: Ledger entries posted.
-- points: Points posted, corrections included.
-- error: Why it failed.
CREATE VIEW analytics.sync AS
 SELECT sync_id, system, account, source, state, run_id, started_at, finished_at,
    seconds, fetched_records, new_sales, changed_sales, rejected_records,
    entries, points,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN error
            ELSE billing.without_contacts(error)
        END AS error
   FROM ( SELECT sync_run.sync_id, sync_run.system, sync_run.account,
            sync_run.source, sync_run.state, sync_run.run_id,
            sync_run.started_at, sync_run.finished_at,
            EXTRACT(epoch FROM sync_run.finished_at - sync_run.started_at)::numeric(12,3)
                AS seconds,
            (sync_run.summary ->> 'fetched')::bigint AS fetched_records,
            (sync_run.summary ->> 'new')::bigint AS new_sales,
            (sync_run.summary ->> 'changed')::bigint AS changed_sales,
            (sync_run.summary ->> 'rejected')::bigint AS rejected_records,
            (sync_run.summary ->> 'entries')::bigint AS entries,
            (sync_run.summary ->> 'points')::bigint AS points,
            sync_run.error
           FROM billing.sync_run) t;
GRANT SELECT ON analytics.sync TO analyst;
GRANT SELECT ON analytics.sync TO twezah_api;
GRANT SELECT ON analytics.sync TO twezah_panel;
GRANT SELECT ON analytics.sync TO twezah_worker;

-- One row per attempt of a run to synchronise: what rates of success and response times are
-- computed from.
-- attempt_no: Number of the attempt.
-- run_id: Prefect flow run.
-- connection: Name of the connection; null: of an interrupted run.
-- system: Billing system.
-- account: Account at the billing system.
-- kind: poll, window or replay.
-- outcome: succeeded, failed or interrupted.
-- started_at: When it began.
-- finished_at: When it ended, or its interruption was noticed.
-- seconds: How long it took.
-- sync_id: Number of the synchronisation.
-- records: Records read.
-- new_sales: Sales seen for the first time.
-- changed_sales: Sales whose stored version changed.
-- rejected: Records that could not be used.
-- entries: Ledger entries posted for this account's sales since the attempt before, whichever
--     connection's run posted them. Not those that webhooks and changes of rules posted.
-- points: Sum of those entries, corrections included.
-- calls: Requests to the billing system.
-- failed_calls: Requests that were not answered, or with an error.
-- throttled: Requests that were told to slow down.
-- response_ms_p50: Half of the requests took no longer, in milliseconds.
-- response_ms_p95: 95 % of the requests took no longer.
-- error: Why it did not succeed.
CREATE VIEW analytics.sync_attempt AS
 SELECT attempt_no, run_id, connection, system, account, kind, outcome,
    started_at, finished_at, seconds, sync_id, records, new_sales, changed_sales,
    rejected, entries, points, calls, failed_calls, throttled, response_ms_p50,
    response_ms_p95,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN error
            ELSE billing.without_contacts(error)
        END AS error
   FROM ( SELECT sync_attempt.attempt_no, sync_attempt.run_id,
            sync_attempt.connection, sync_attempt.system, sync_attempt.account,
            sync_attempt.kind, sync_attempt.outcome, sync_attempt.started_at,
            sync_attempt.finished_at,
            EXTRACT(epoch FROM sync_attempt.finished_at - sync_attempt.started_at)::numeric(12,3)
                AS seconds,
            sync_attempt.sync_id, sync_attempt.records, sync_attempt.new_sales,
            sync_attempt.changed_sales, sync_attempt.rejected,
            sync_attempt.entries, sync_attempt.points, sync_attempt.calls,
            sync_attempt.failed_calls, sync_attempt.throttled,
            sync_attempt.response_ms[(cardinality(sync_attempt.response_ms) + 1) / 2]
                AS response_ms_p50,
            sync_attempt.response_ms[ceil(cardinality(sync_attempt.response_ms)::numeric * 0.95)::integer]
                AS response_ms_p95,
            sync_attempt.error
           FROM billing.sync_attempt) t;
GRANT SELECT ON analytics.sync_attempt TO analyst;
GRANT SELECT ON analytics.sync_attempt TO twezah_api;
GRANT SELECT ON analytics.sync_attempt TO twezah_panel;
GRANT SELECT ON analytics.sync_attempt TO twezah_worker;

-- One row per member and time with a tier; before the first, the program's entry tier.
-- member_id: Member (pseudonymous).
-- tier: Tier in force for sales from valid_from until before valid_to.
-- valid_from: First instant.
-- valid_to: First instant after it; null: open.
CREATE VIEW analytics.tier_history AS
 SELECT member_id, tier, valid_from,
    lead(valid_from) OVER (PARTITION BY member_id ORDER BY valid_from) AS valid_to
   FROM loyalty.tier_step;
GRANT SELECT ON analytics.tier_history TO analyst;
GRANT SELECT ON analytics.tier_history TO twezah_api;
GRANT SELECT ON analytics.tier_history TO twezah_panel;
GRANT SELECT ON analytics.tier_history TO twezah_worker;

-- One row per webhook received: what became of it, and how long it took.
-- event_no: Number of the event, in order of arrival.
-- system: Billing system.
-- connection: Connection.
-- account: Account at the billing system; null: the event names it.
-- kind: What it is about, e.g. invoice.created.
-- state: received, claimed, done, failed (tried again) or parked (given up).
-- attempts: How often a run has claimed it.
-- received_at: When it arrived.
-- next_attempt_at: When it is tried (again), unless finished.
-- finished_at: When it was done or parked.
-- seconds: From arrival to the end.
-- reason: Why it failed or was parked.
-- sync_id: Synchronisation that brought it into the ledger.
-- run_id: Prefect flow run that claimed it last.
-- size_bytes: Size of its body, in bytes.
-- first_reason: Why it could not be used at first; null: it never failed.
-- first_failed_at: When that was.
-- documents: How many documents it brought or changed.
CREATE VIEW analytics.webhook AS
 SELECT event_no, system, connection, account, kind, state, attempts,
    received_at, next_attempt_at, finished_at, seconds,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN reason
            ELSE billing.without_contacts(reason)
        END AS reason,
    sync_id, run_id, size_bytes,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons) THEN first_reason
            ELSE billing.without_contacts(first_reason)
        END AS first_reason,
    first_failed_at, documents
   FROM ( SELECT e.event_no, p.system, p.connection, p.account, e.kind, e.state,
            e.attempts, e.received_at, e.next_attempt_at, e.finished_at,
            EXTRACT(epoch FROM e.finished_at - e.received_at)::numeric(12,3) AS seconds,
            e.reason, e.sync_id, e.run_id, e.body_bytes AS size_bytes,
            e.first_reason, e.first_failed_at,
            cardinality(e.documents) AS documents
           FROM billing.webhook_event e
             JOIN billing.webhook_endpoint p USING (endpoint_no)) t;
GRANT SELECT ON analytics.webhook TO analyst;
GRANT SELECT ON analytics.webhook TO twezah_api;
GRANT SELECT ON analytics.webhook TO twezah_panel;
GRANT SELECT ON analytics.webhook TO twezah_worker;


-- ==================== audit ====================

-- Who did what, when, with what result: append-only and chained by hashes.
CREATE SCHEMA audit;
GRANT USAGE ON SCHEMA audit TO twezah_api;
GRANT USAGE ON SCHEMA audit TO twezah_panel;
GRANT USAGE ON SCHEMA audit TO twezah_worker;

-- The audit log, append-only. Numbers have no gaps; `twezah audit verify` checks numbers and
-- hashes. No secrets, no personal data.
CREATE TABLE audit.entry (
    -- Position in the chain, from 1, without gaps.
    entry_no bigint NOT NULL,
    -- When it was written, just before its transaction was committed; never earlier than the entry
    -- before.
    at timestamptz NOT NULL,
    -- Personal data of staff. Who: a user of the operating system, schedule, webhook, operator
    -- (somebody in Prefect's UI, by name where the login knows one), twezah (the program itself),
    -- an API key's prefix, or a database user.
    actor text NOT NULL,
    -- What, e.g. sync, webhooks, key.create, points.adjust, settings.changed, export, member.erase.
    operation text COLLATE "C" NOT NULL,
    -- success or error; of entries before November 2026 also pending: a synchronisation began.
    status text COLLATE "C" NOT NULL,
    -- What it was done to: a connection, member, key, deployment.
    subject text NOT NULL,
    -- Billing system, where one is concerned.
    system text COLLATE "C",
    -- Account at the billing system.
    account text COLLATE "C",
    -- Records processed.
    records bigint,
    -- Points posted by it; negative: taken.
    points bigint,
    -- Why it failed.
    error text,
    -- Prefect flow run, or command.
    run_id text,
    -- More of it: numbers of the rows it is about, names of settings that changed.
    details jsonb NOT NULL DEFAULT '{}'::jsonb,
    -- Hash of the entry before; zeros for the first.
    previous_hash bytea NOT NULL,
    -- SHA-256 over previous_hash and all other columns, in the form that audit.content gives them.
    hash bytea NOT NULL,
    CONSTRAINT entry_pkey PRIMARY KEY (entry_no),
    CONSTRAINT entry_actor_check CHECK (actor <> '' AND length(actor) <= 200),
    CONSTRAINT entry_at_check CHECK (isfinite(at)),
    CONSTRAINT entry_details_check CHECK (jsonb_typeof(details) = 'object'
        AND length(details::text) <= 20000),
    CONSTRAINT entry_entry_no_check CHECK (entry_no >= 1),
    CONSTRAINT entry_error_check CHECK (length(error) <= 2000),
    CONSTRAINT entry_hash_check CHECK (length(hash) = 32),
    CONSTRAINT entry_operation_check CHECK (operation ~ '^[a-z][a-z0-9_.-]{1,60}$'),
    CONSTRAINT entry_previous_hash_check CHECK (length(previous_hash) = 32),
    CONSTRAINT entry_status_check CHECK (status IN ('success', 'error', 'pending')),
    CONSTRAINT entry_subject_check CHECK (length(subject) <= 300)
);
CREATE INDEX audit_entry_at ON audit.entry (at);
CREATE INDEX audit_entry_operation ON audit.entry (operation, entry_no);
CREATE TRIGGER entry_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON audit.entry
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER entry_chained BEFORE INSERT ON audit.entry FOR EACH ROW
    EXECUTE FUNCTION audit.chain();
GRANT SELECT ON audit.entry TO twezah_api;
GRANT SELECT ON audit.entry TO twezah_panel;
GRANT MAINTAIN, SELECT ON audit.entry TO twezah_worker;

-- Entries of a transaction under way. Always empty for others: they join the chain before the
-- commit.
CREATE UNLOGGED TABLE audit.pending (
    -- Order within the transaction.
    pending_no bigint GENERATED ALWAYS AS IDENTITY,
    -- As in audit.entry.
    actor text NOT NULL,
    -- As in audit.entry.
    operation text NOT NULL,
    -- As in audit.entry.
    status text NOT NULL,
    -- As in audit.entry.
    subject text NOT NULL,
    -- As in audit.entry.
    system text,
    -- As in audit.entry.
    account text,
    -- As in audit.entry.
    records bigint,
    -- As in audit.entry.
    points bigint,
    -- As in audit.entry.
    error text,
    -- As in audit.entry.
    run_id text,
    -- As in audit.entry.
    details jsonb NOT NULL,
    CONSTRAINT pending_pkey PRIMARY KEY (pending_no)
);
CREATE CONSTRAINT TRIGGER pending_sealed AFTER INSERT
    ON audit.pending DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.seal();
GRANT MAINTAIN, SELECT ON audit.pending TO twezah_worker;

-- Blocks, deployments and runs in Prefect as they were seen last; what differs at the next look is
-- recorded in audit.entry.
CREATE TABLE audit.seen (
    -- block, deployment, or runs.
    kind text COLLATE "C" NOT NULL,
    -- Which.
    name text COLLATE "C" NOT NULL,
    -- The setting as it was last seen, to notice changes: numbers, switches and intervals as they
    -- are, texts and secrets as a keyed fingerprint.
    state jsonb NOT NULL,
    -- When it was seen so first.
    seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT seen_pkey PRIMARY KEY (kind, name),
    CONSTRAINT seen_state_check CHECK (jsonb_typeof(state) = 'object')
);
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON audit.seen TO twezah_worker;

-- Who acts in this session, as the program said; or else the database user.
CREATE FUNCTION audit.actor()
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
    SELECT left(coalesce(nullif(current_setting('twezah.actor', true), ''), 'database user ' || session_user), 200)
$function$;

-- The first entry, unless it is there.
CREATE FUNCTION audit.begin()
 RETURNS void
 LANGUAGE sql
AS $function$
    -- What makes the chain of this installation different from any other.
    INSERT INTO audit.entry (actor, operation, status, subject, details)
    SELECT audit.actor(), 'audit.begin', 'success', 'audit log', jsonb_build_object('installation', gen_random_uuid())
    WHERE NOT EXISTS (SELECT FROM audit.entry)
$function$;

-- Gives a new entry its number, time and hashes, whatever it was said to have; one writer at a
-- time.
CREATE FUNCTION audit.chain()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE last audit.entry;
BEGIN
    -- Until the transaction ends, which is at once: this runs as the last thing before a commit.
    PERFORM pg_advisory_xact_lock(hashtextextended('audit.entry', 6));
    SELECT * INTO last FROM audit.entry ORDER BY entry_no DESC LIMIT 1;
    NEW.entry_no := coalesce(last.entry_no, 0) + 1;
    NEW.at := greatest(clock_timestamp(), last.at);
    NEW.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    NEW.hash := sha256(NEW.previous_hash || audit.content(NEW));
    RETURN NEW;
END $function$;

-- What the hash of an entry covers, beside the hash before it. `twezah audit verify` computes the
-- same without this function.
CREATE FUNCTION audit.content(e audit.entry)
 RETURNS bytea
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT convert_to(
        audit.field(e.entry_no::text) || audit.field((extract(epoch FROM e.at) * 1000000)::bigint::text) || audit.field(e.actor)
        || audit.field(e.operation) || audit.field(e.status) || audit.field(e.subject) || audit.field(e.system)
        || audit.field(e.account) || audit.field(e.records::text) || audit.field(e.points::text) || audit.field(e.error)
        || audit.field(e.run_id) || audit.field(e.details::text), 'UTF8')
$function$;

-- A value in the canonical text of an entry: length in bytes, colon, value; null is a minus sign.
CREATE FUNCTION audit.field(value text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT CASE WHEN value IS NULL THEN '-' ELSE octet_length(value) || ':' || value END || E'\n'
$function$;

-- A text without international phone numbers.
CREATE FUNCTION audit.masked(said text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT regexp_replace(said, '\+[0-9][0-9 ().-]{6,20}[0-9]', '+(masked)', 'g')
$function$;

-- Records points given or taken by hand.
CREATE FUNCTION audit.on_adjustment()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(CASE WHEN NEW.voids_id IS NULL THEN 'points.adjust' ELSE 'points.void' END, 'success', 'member ' || NEW.member_id,
        jsonb_build_object('adjustment_id', NEW.adjustment_id, 'voids_id', NEW.voids_id, 'author', NEW.author),
        of_records => 1, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records what happens to API keys, but not their use.
CREATE FUNCTION audit.on_api_key()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    key billing.api_key := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    what text := 'key.change';
BEGIN
    IF TG_OP = 'INSERT' THEN what := CASE WHEN NEW.rotated_from IS NULL THEN 'key.create' ELSE 'key.rotate' END;
    ELSIF TG_OP = 'DELETE' THEN what := 'key.delete';
    ELSIF NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS NULL THEN what := 'key.revoke';
    END IF;
    PERFORM audit.record(what, 'success', 'key ' || key.prefix, jsonb_build_object('key_no', key.key_no, 'scopes', to_jsonb(key.scopes),
        'expires_at', key.expires_at, 'per_minute', key.requests_per_minute, 'replaces', key.rotated_from));
    RETURN NULL;
END $function$;

-- Records that the sales of an account earn at another moment.
CREATE FUNCTION audit.on_award_policy()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('policy.change', 'success', NEW.system || '/' || NEW.account,
        jsonb_build_object('policy_no', NEW.policy_no, 'award_when', NEW.award_when, 'valid_from', NEW.valid_from), NEW.system, NEW.account, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records what an erasure removed where.
CREATE FUNCTION audit.on_certificate()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('member.certificate', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('certificate_no', NEW.certificate_no, 'erased', NEW.erased,
            'remains', NEW.remains, 'not_reached', to_jsonb(NEW.not_reached)),
        of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records that consent was withdrawn or given again.
CREATE FUNCTION audit.on_consent()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(
        CASE WHEN NEW.given THEN 'consent.give' ELSE 'consent.withdraw' END, 'success',
        'member ' || NEW.member_id,
        jsonb_build_object('consent_no', NEW.consent_no, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records what happens to webhook endpoints.
CREATE FUNCTION audit.on_endpoint()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    endpoint billing.webhook_endpoint := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    changed jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_agg(n.key ORDER BY n.key) INTO changed
        FROM jsonb_each(to_jsonb(NEW)) n WHERE n.value IS DISTINCT FROM to_jsonb(OLD) -> n.key;
        IF changed IS NULL THEN RETURN NULL; END IF;
    END IF;
    PERFORM audit.record(
        CASE WHEN TG_OP = 'INSERT' THEN 'endpoint.create' WHEN TG_OP = 'DELETE' THEN 'endpoint.delete'
             WHEN changed ? 'disabled_at' AND NEW.disabled_at IS NOT NULL THEN 'endpoint.disable' ELSE 'endpoint.change' END,
        'success', 'endpoint ' || left(endpoint.endpoint_id, 8),
        jsonb_build_object('endpoint_no', endpoint.endpoint_no, 'connection', endpoint.connection, 'changed', changed), endpoint.system, endpoint.account);
    RETURN NULL;
END $function$;

-- Records that a member's personal data was removed.
CREATE FUNCTION audit.on_erasure()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('member.erase', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('erasure_no', NEW.erasure_no, 'author', NEW.author), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records that exchange rates were loaded, once per statement.
CREATE FUNCTION audit.on_fx_rates()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE many bigint; about jsonb; run text;
BEGIN
    SELECT count(*), jsonb_build_object('currencies', jsonb_agg(DISTINCT currency), 'first_day', min(valid_on), 'last_day', max(valid_until)), min(run_id)
    INTO many, about, run FROM changed;
    IF many > 0 THEN PERFORM audit.record('fx.load', 'success', 'exchange rates', about, of_records => many, of_run_id => run); END IF;
    RETURN NULL;
END $function$;

-- Records that a legal hold was placed or lifted.
CREATE FUNCTION audit.on_hold()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(
        CASE WHEN NEW.lifts_no IS NULL THEN 'hold.place' ELSE 'hold.lift' END, 'success',
        coalesce('member ' || NEW.member_id, 'everybody'),
        jsonb_build_object('hold_no', NEW.hold_no, 'lifts_no', NEW.lifts_no, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records who was put on lists, or taken off; many at once in one entry.
CREATE FUNCTION audit.on_list()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE many bigint; one bigint; run text; named jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), min(run_id), jsonb_agg(DISTINCT list)
    INTO many, one, run, named FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('list', 'success',
            CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            jsonb_build_object('lists', named), of_records => many, of_run_id => run);
    END IF;
    RETURN NULL;
END $function$;

-- Records merges of members, and their undoing.
CREATE FUNCTION audit.on_merge()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(CASE WHEN NEW.into_id = NEW.member_id THEN 'member.unmerge' ELSE 'member.merge' END, 'success', 'member ' || NEW.member_id,
        jsonb_build_object('merge_no', NEW.merge_no, 'into', NEW.into_id, 'author', NEW.recorded_by), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records that a member has another phone, without the numbers.
CREATE FUNCTION audit.on_phone_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('member.phone', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('change_id', NEW.change_id, 'former_member', NEW.former_member_id, 'author', NEW.author), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records what a point is worth from now on.
CREATE FUNCTION audit.on_point_value()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('points.value', 'success', 'value of a point in ' || NEW.currency,
        jsonb_build_object('value_no', NEW.value_no, 'value_per_point', NEW.value_per_point::text,
                           'valid_from', NEW.valid_from, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records changes of the rules.
CREATE FUNCTION audit.on_program_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('program.change', 'success', 'points program',
        jsonb_build_object('change_id', NEW.change_id, 'versions', NEW.versions, 'reaches', NEW.reaches, 'recomputed', NEW.recomputed, 'author', NEW.author),
        of_records => NEW.members, of_points => CASE WHEN NEW.recomputed THEN NEW.points END, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records what happens to receivers of webhooks.
CREATE FUNCTION audit.on_receiver()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(
        CASE WHEN TG_OP = 'INSERT' THEN 'receiver.create'
             WHEN NEW.ended_at IS NOT NULL AND OLD.ended_at IS NULL THEN 'receiver.end'
             ELSE 'receiver.change' END,
        'success', 'receiver ' || NEW.name,
        jsonb_build_object('receiver_no', NEW.receiver_no, 'kinds', to_jsonb(NEW.kinds),
                           'host', split_part(NEW.url, '/', 3), 'why', NEW.end_reason));
    RETURN NULL;
END $function$;

-- Records that a signing secret was entered.
CREATE FUNCTION audit.on_receiver_secret()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('receiver.secret', 'success', 'receiver ' || r.name,
        jsonb_build_object('receiver_no', NEW.receiver_no, 'secret_no', NEW.secret_no))
    FROM loyalty.receiver r WHERE r.receiver_no = NEW.receiver_no;
    RETURN NULL;
END $function$;

-- Records that points were reserved.
CREATE FUNCTION audit.on_redemption()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('points.hold', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('redemption_id', NEW.redemption_id, 'points_held', NEW.points,
                           'hold_ends_at', NEW.hold_ends_at, 'author', NEW.requested_by),
        of_records => 1, of_points => 0, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records that points were spent, given back, or no longer reserved.
CREATE FUNCTION audit.on_redemption_step()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record(
        CASE NEW.step WHEN 'redeemed' THEN 'points.redeem' WHEN 'reversed' THEN 'points.reverse'
                      ELSE 'points.release' END,
        'success', 'member ' || NEW.member_id,
        jsonb_build_object('redemption_id', NEW.redemption_id, 'author', NEW.posted_by),
        of_records => 1, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records referrals, also corrected and withdrawn ones; many at once in one entry.
CREATE FUNCTION audit.on_referral()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    many bigint;
    last loyalty.referral;
BEGIN
    SELECT count(*) INTO many FROM changed;
    IF many > 1 THEN
        PERFORM audit.record('referral', 'success', 'members', '{}', of_records => many,
            of_run_id => (SELECT min(run_id) FROM changed));
    ELSIF many = 1 THEN
        SELECT * INTO last FROM changed;
        PERFORM audit.record(
            CASE WHEN last.referrer_id IS NULL THEN 'referral.withdraw' ELSE 'referral' END,
            'success', 'member ' || last.friend_id,
            jsonb_build_object('referral_no', last.referral_no, 'referrer', last.referrer_id,
                'author', last.recorded_by),
            of_records => 1, of_run_id => last.run_id);
    END IF;
    RETURN NULL;
END $function$;

-- Records declarations of which system's document counts.
CREATE FUNCTION audit.on_sale_precedence()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('precedence.change', 'success', 'points program',
        jsonb_build_object('precedence_no', NEW.precedence_no, 'systems', NEW.systems,
            'within_hours', NEW.within_hours, 'author', NEW.author),
        of_records => NEW.members, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $function$;

-- Records that a signing secret was entered.
CREATE FUNCTION audit.on_secret()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('endpoint.secret', 'success', 'endpoint ' || left(p.endpoint_id, 8),
        jsonb_build_object('endpoint_no', NEW.endpoint_no, 'secret_no', NEW.secret_no), p.system, p.account)
    FROM billing.webhook_endpoint p WHERE p.endpoint_no = NEW.endpoint_no;
    RETURN NULL;
END $function$;

-- Records how a poll ended.
CREATE FUNCTION audit.on_sync_run()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    about jsonb := jsonb_build_object('sync_id', NEW.sync_id, 'since', NEW.requested_since,
        'until', NEW.requested_until, 'replay',
        nullif(EXISTS (SELECT FROM jsonb_object_keys(NEW.streams) k
            WHERE k LIKE 'replay of %'), false));
    counted jsonb := coalesce(NEW.summary, '{}');
    ended boolean := NEW.state = 'stored' AND NEW.summary IS NOT NULL
        AND (TG_OP = 'INSERT' OR OLD.summary IS DISTINCT FROM NEW.summary);
BEGIN
    IF NEW.error IS NOT NULL
       AND (TG_OP = 'INSERT' OR OLD.error IS DISTINCT FROM NEW.error OR OLD.state <> NEW.state)
    THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system,
            NEW.account, of_error => NEW.error, of_run_id => NEW.run_id);
    ELSIF ended THEN
        PERFORM audit.record('sync', 'success', NEW.system || '/' || NEW.account,
            about || jsonb_build_object('new', counted -> 'new', 'changed', counted -> 'changed',
                'rejected', counted -> 'rejected', 'entries', counted -> 'entries'),
            NEW.system, NEW.account, (counted ->> 'fetched')::bigint,
            (counted ->> 'points')::bigint, NULL, NEW.run_id);
    ELSIF NEW.state = 'abandoned' AND TG_OP = 'UPDATE' AND OLD.state <> 'abandoned' THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system,
            NEW.account, of_error => 'abandoned: a later synchronisation began anew',
            of_run_id => NEW.run_id);
    END IF;
    RETURN NULL;
END $function$;

-- Records that tiers were set, once per statement.
CREATE FUNCTION audit.on_tiers()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE many bigint; one bigint; run text; given jsonb; tier_nos jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), min(run_id), jsonb_agg(DISTINCT tier),
           CASE WHEN count(*) = 1 THEN jsonb_build_object('tier_no', min(tier_no)) ELSE '{}' END
    INTO many, one, run, given, tier_nos FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('tiers', 'success',
            CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            jsonb_build_object('tiers', given) || tier_nos, of_records => many, of_run_id => run);
    END IF;
    RETURN NULL;
END $function$;

-- Records the first token of new credentials: a consent, or a login. Renewals are not recorded.
CREATE FUNCTION audit.on_token()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM audit.record('connection.login', 'success', NEW.system || '/' || NEW.account,
        jsonb_build_object('login', 'the first token of new credentials'), NEW.system, NEW.account);
    RETURN NULL;
END $function$;

-- Records every version of the program and of promotions, also one entered by SQL.
CREATE FUNCTION audit.on_version()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE added jsonb := to_jsonb(NEW);
BEGIN
    PERFORM audit.record('program.version', 'success', coalesce('promotion ' || (added ->> 'promotion_id'), 'points program'),
        jsonb_build_object('version', added -> 'version', 'valid_from', added -> 'valid_from', 'valid_to', added -> 'valid_to'));
    RETURN NULL;
END $function$;

-- An entry, written when this transaction is committed.
CREATE FUNCTION audit.record(of_operation text, of_status text, of_subject text,
    of_details jsonb DEFAULT '{}'::jsonb, of_system text DEFAULT NULL,
    of_account text DEFAULT NULL, of_records bigint DEFAULT NULL, of_points bigint DEFAULT NULL,
    of_error text DEFAULT NULL, of_run_id text DEFAULT NULL)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO audit.pending (actor, operation, status, subject, system, account, records, points, error, run_id, details)
    VALUES (audit.actor(), of_operation, of_status, left(audit.masked(of_subject), 300), of_system, of_account, of_records, of_points,
            left(audit.masked(of_error), 2000), of_run_id,
            CASE WHEN length(of_details::text) <= 20000 THEN audit.masked(jsonb_strip_nulls(of_details)::text)::jsonb
                 ELSE jsonb_build_object('left_out', 'too long') END)
$function$;
REVOKE EXECUTE ON FUNCTION audit.record(text,text,text,jsonb,text,text,bigint,bigint,text,text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.record(text,text,text,jsonb,text,text,bigint,bigint,text,text) TO twezah_api;
GRANT EXECUTE ON FUNCTION audit.record(text,text,text,jsonb,text,text,bigint,bigint,text,text) TO twezah_panel;
GRANT EXECUTE ON FUNCTION audit.record(text,text,text,jsonb,text,text,bigint,bigint,text,text) TO twezah_worker;

-- Appends a pending entry to the chain.
CREATE FUNCTION audit.seal()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO audit.entry (actor, operation, status, subject, system, account, records, points, error, run_id, details)
    VALUES (NEW.actor, NEW.operation, NEW.status, NEW.subject, NEW.system, NEW.account, NEW.records, NEW.points, NEW.error, NEW.run_id, NEW.details);
    DELETE FROM audit.pending WHERE pending_no = NEW.pending_no;
    RETURN NULL;
END $function$;
REVOKE EXECUTE ON FUNCTION audit.seal() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.seal() TO twezah_api;
GRANT EXECUTE ON FUNCTION audit.seal() TO twezah_panel;
GRANT EXECUTE ON FUNCTION audit.seal() TO twezah_worker;


-- ==================== public ====================

-- Migrations applied to this database.
CREATE TABLE public.schema_migration (
    -- File name in sql/migrations, without .sql.
    name text NOT NULL,
    -- SHA-256 of the text that was applied.
    digest text NOT NULL,
    -- When.
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migration_pkey PRIMARY KEY (name)
);
GRANT SELECT ON public.schema_migration TO twezah_api;
GRANT SELECT ON public.schema_migration TO twezah_panel;
GRANT SELECT ON public.schema_migration TO twezah_worker;
