-- Which version of a document was rejected: an older one that can be used does not answer it, and an
-- older one that cannot be used is no news.
ALTER TABLE billing.reject ADD COLUMN updated_at timestamptz;
COMMENT ON COLUMN billing.reject.updated_at IS
    'When the vendor last changed the record, as read; null where it does not say, and of records '
    'rejected by older releases until they are tried again.';
