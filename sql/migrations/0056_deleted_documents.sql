-- Deletions of documents that are not stored (yet): a webhook about one may still be on its way.
CREATE TABLE billing.deleted_document (
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    deleted_at  timestamptz NOT NULL,
    page_id     bigint,
    sync_id     bigint NOT NULL REFERENCES billing.sync_run,
    PRIMARY KEY (system, account, external_id)
);
COMMENT ON TABLE billing.deleted_document IS
    'Documents that were deleted at the billing system before they were stored here: an older version that arrives later is stored as void.';
COMMENT ON COLUMN billing.deleted_document.system IS 'Billing system.';
COMMENT ON COLUMN billing.deleted_document.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.deleted_document.external_id IS 'Document number at the billing system.';
COMMENT ON COLUMN billing.deleted_document.deleted_at IS 'When it was deleted there, or, where that is not told, when it was heard of.';
COMMENT ON COLUMN billing.deleted_document.page_id IS 'Raw page that says so; null where a webhook does.';
COMMENT ON COLUMN billing.deleted_document.sync_id IS 'Synchronisation that heard of it last.';
