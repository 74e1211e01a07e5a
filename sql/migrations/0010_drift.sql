-- What the vendors' records look like, so that a change is noticed; and what a reject needs in order to come back by itself.
CREATE TABLE billing.vendor_field (
    system          text COLLATE "C" NOT NULL,
    account         text COLLATE "C" NOT NULL,
    stream          text COLLATE "C" NOT NULL,
    path            text COLLATE "C" NOT NULL CHECK (length(path) <= 1000),
    json_type       text NOT NULL CHECK (json_type IN ('text', 'number', 'yes or no', 'object', 'list')),
    base_line       boolean NOT NULL,
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    first_sync_id   bigint NOT NULL REFERENCES billing.sync_run,
    last_seen_at    timestamptz NOT NULL DEFAULT now(),
    records_with    bigint NOT NULL,
    records_since   bigint NOT NULL,
    records_without bigint NOT NULL DEFAULT 0,
    gone_at         timestamptz,
    PRIMARY KEY (system, account, stream, path, json_type)
);
COMMENT ON TABLE billing.vendor_field IS 'Fields seen in the records of a billing system, mapped or not: paths and types, never values. A few records of a few pages are looked at.';
COMMENT ON COLUMN billing.vendor_field.system IS 'Billing system.';
COMMENT ON COLUMN billing.vendor_field.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.vendor_field.stream IS 'Which list of the vendor.';
COMMENT ON COLUMN billing.vendor_field.path IS 'Where it is in a page; * stands for every element, and for keys that are no names.';
COMMENT ON COLUMN billing.vendor_field.json_type IS 'text, number, yes or no, object or list. A path seen with two types has two rows.';
COMMENT ON COLUMN billing.vendor_field.base_line IS 'Seen when the list had its first records; otherwise it was noted as new.';
COMMENT ON COLUMN billing.vendor_field.first_seen_at IS 'When it was seen first.';
COMMENT ON COLUMN billing.vendor_field.first_sync_id IS 'Synchronisation that saw it first.';
COMMENT ON COLUMN billing.vendor_field.last_seen_at IS 'When it was seen last.';
COMMENT ON COLUMN billing.vendor_field.records_with IS 'Records looked at that had it.';
COMMENT ON COLUMN billing.vendor_field.records_since IS 'Records looked at since it was seen first.';
COMMENT ON COLUMN billing.vendor_field.records_without IS 'Records looked at since it was seen last.';
COMMENT ON COLUMN billing.vendor_field.gone_at IS 'When it was noted as gone; null: it is not.';
GRANT SELECT ON billing.vendor_field TO analyst;

ALTER TABLE billing.reject ADD COLUMN customer_external_id text COLLATE "C", ADD COLUMN mapping_digest text;
CREATE INDEX reject_open_page ON billing.reject (system, account, page_id) WHERE resolved_at IS NULL;
COMMENT ON COLUMN billing.reject.customer_external_id IS 'Customer number at the billing system, where the record could be read so far: once a phone is known of it, the record is tried again.';
COMMENT ON COLUMN billing.reject.mapping_digest IS 'Fingerprint of the mapping that rejected it last: once it is another one, the record is tried again.';
