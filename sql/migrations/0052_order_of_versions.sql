-- Which version of a document counts, where a vendor's times of change cannot be trusted: the order of reading decides.
ALTER TABLE billing.raw_page ADD COLUMN asked_at timestamptz;
COMMENT ON COLUMN billing.raw_page.asked_at IS
    'When it was asked for; fetched_at is when it had arrived. Null: not noted, as good as fetched_at.';

ALTER TABLE billing.invoice ADD COLUMN claimed_at timestamptz;
ALTER TABLE billing.invoice ADD COLUMN seen_page_id bigint;
COMMENT ON COLUMN billing.invoice.updated_at IS
    'Last change at the vendor. Where that time lay ahead of our clock, the time of fetching: see claimed_at.';
COMMENT ON COLUMN billing.invoice.claimed_at IS
    'Time of change that the vendor told and that cannot be right: it lay in the future. Usually null.';
COMMENT ON COLUMN billing.invoice.seen_page_id IS
    'Raw page as of which the sale is void, where another than its own says so, e.g. a list of deletions.';

-- What is stored with a time in the future could never be corrected.
UPDATE billing.invoice SET claimed_at = updated_at, updated_at = stored_at
WHERE updated_at > stored_at + interval '5 minutes';
