-- Where a rejected record was read: the file (of a file drop) and its row, or its place in the page.
CREATE OR REPLACE VIEW analytics.reject AS
SELECT r.reject_id, r.system, r.account, r.stream, r.external_id, r.reason, r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at,
       (SELECT p.request -> 'params' ->> 'file' FROM billing.raw_page p WHERE p.page_id = r.page_id) AS file,
       r.record_no
FROM billing.reject r;
COMMENT ON COLUMN analytics.reject.file IS 'File the record was in, of a file drop.';
COMMENT ON COLUMN analytics.reject.record_no IS 'Row of the file (the header is 1), or place of the record in its page, from 0.';
