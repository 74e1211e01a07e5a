-- Sales that came by themselves, beside those that were read from a list.
ALTER TABLE billing.sync_run ADD COLUMN source text NOT NULL DEFAULT 'poll' CHECK (source IN ('poll', 'webhook'));
COMMENT ON COLUMN billing.sync_run.source IS 'poll: lists were read, and cursors moved; webhook: sales that the billing system announced, cursors stay.';
CREATE INDEX sync_run_poll ON billing.sync_run (system, account, sync_id DESC) WHERE source = 'poll';

CREATE TABLE billing.pushed_document (
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    by_number   boolean NOT NULL,
    PRIMARY KEY (external_id, account, system)
);
CREATE INDEX pushed_document_by_number ON billing.pushed_document (account, external_id) WHERE by_number;
COMMENT ON TABLE billing.pushed_document IS 'Documents that webhooks held whole and that do not say when they were changed: an event that happened earlier changes them no more.';
COMMENT ON COLUMN billing.pushed_document.system IS 'Billing system.';
COMMENT ON COLUMN billing.pushed_document.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.pushed_document.external_id IS 'Id of the document.';
COMMENT ON COLUMN billing.pushed_document.occurred_at IS 'When the latest event about it happened.';
COMMENT ON COLUMN billing.pushed_document.by_number IS 'Whether it was named by its printed number; should a list tell its id, it is void, and counts under the id.';

CREATE INDEX invoice_number ON billing.invoice (account, invoice_number)
WHERE system = 'custom' AND external_id IS DISTINCT FROM invoice_number;

DROP VIEW analytics.sync;
CREATE VIEW analytics.sync AS
SELECT sync_id, system, account, source, state, run_id, started_at, finished_at,
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
COMMENT ON COLUMN analytics.sync.source IS 'poll: lists were read; webhook: sales that the billing system announced while one run was listening.';
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
GRANT SELECT ON analytics.sync TO analyst;
