-- What a rejected record says of its sale, so that it can be counted in money and by date.
ALTER TABLE billing.reject
    ADD COLUMN sale_kind text, ADD COLUMN currency text, ADD COLUMN total_minor bigint,
    ADD COLUMN issued_at timestamptz;
COMMENT ON COLUMN billing.reject.sale_kind IS
    'invoice, sale, credit_note or refund, as read. This and the next three are null where the '
    'record does not say, and of records rejected by older releases until they are tried again.';
COMMENT ON COLUMN billing.reject.currency IS 'Currency as read; it may be why it is rejected.';
COMMENT ON COLUMN billing.reject.total_minor IS 'Total with tax as read, minor units.';
COMMENT ON COLUMN billing.reject.issued_at IS 'When the sale happened, as read.';

CREATE OR REPLACE VIEW analytics.reject AS
SELECT r.reject_id, r.system, r.account, r.stream,
       CASE WHEN (SELECT billing.sees_persons()) OR billing.names_person(r.external_id) IS NOT TRUE
            THEN r.external_id ELSE 'hidden' END AS external_id,
       CASE WHEN (SELECT billing.sees_persons()) THEN r.reason
            ELSE billing.without_contacts(r.reason) END AS reason,
       r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at,
       CASE WHEN (SELECT billing.sees_persons()) OR billing.names_person(f.file) IS NOT TRUE
            THEN f.file ELSE 'hidden' END AS file,
       r.record_no,
       coalesce(r.sale_kind, i.kind) AS sale_kind,
       CASE WHEN coalesce(r.currency, i.currency) ~ '^[A-Z]{3}$'
            THEN coalesce(r.currency, i.currency) END AS currency,
       billing.major_units(coalesce(r.total_minor, i.total_minor),
                           coalesce(r.currency, i.currency)) AS total,
       coalesce(r.issued_at, i.issued_at) AS issued_at
FROM billing.reject r
LEFT JOIN billing.invoice i ON r.stream = 'awards'
    AND (i.external_id, i.account, i.system) = (r.external_id, r.account, r.system)
CROSS JOIN LATERAL (SELECT (SELECT p.request -> 'params' ->> 'file' FROM billing.raw_page p
                            WHERE p.page_id = r.page_id) AS file) AS f;
COMMENT ON COLUMN analytics.reject.sale_kind IS
    'invoice, sale, credit_note or refund, as read. Null (also in the next columns): the record '
    'does not say.';
COMMENT ON COLUMN analytics.reject.currency IS 'ISO 4217 code, as read.';
COMMENT ON COLUMN analytics.reject.total IS 'Total with tax as read, in whole currency units.';
COMMENT ON COLUMN analytics.reject.issued_at IS 'When the sale happened, as read.';
