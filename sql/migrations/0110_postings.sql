-- Whichever run computes a member's points posts them for all sales of the member, also those that
-- other connections brought. So what a connection's sales gave is counted where it is posted.
CREATE TABLE loyalty.posting (
    posting_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    run_id      text NOT NULL,
    entries     bigint NOT NULL,
    points      bigint NOT NULL,
    posted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_reported boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE loyalty.posting IS
    'How many entries and points were posted at once for the sales of one account: one row per '
    'transaction and account. Their sums are those of loyalty.award_entry.';
COMMENT ON COLUMN loyalty.posting.posting_no IS 'Number of the posting.';
COMMENT ON COLUMN loyalty.posting.system IS 'Billing system of the sales.';
COMMENT ON COLUMN loyalty.posting.account IS 'Account of the sales at the billing system.';
COMMENT ON COLUMN loyalty.posting.run_id IS
    'Prefect flow run that posted them; it may be the run of another connection.';
COMMENT ON COLUMN loyalty.posting.entries IS 'Entries appended to loyalty.award_entry.';
COMMENT ON COLUMN loyalty.posting.points IS 'Their sum.';
COMMENT ON COLUMN loyalty.posting.posted_at IS 'When they were posted.';
COMMENT ON COLUMN loyalty.posting.is_reported IS
    'Whether a run has it in its counts: the run of the sales'' own connection, or the change of '
    'rules or recomputation that posted it.';
CREATE INDEX posting_time ON loyalty.posting (posted_at);
COMMENT ON INDEX loyalty.posting_time IS 'Points of a span of time: the page Sync status.';
CREATE INDEX posting_unreported ON loyalty.posting (system, account) WHERE NOT is_reported;
COMMENT ON INDEX loyalty.posting_unreported IS 'What the next run of a connection has to report.';

-- What was posted so far is in the counts of the runs that posted it.
INSERT INTO loyalty.posting (system, account, run_id, entries, points, posted_at, is_reported)
SELECT system, account, run_id, count(*), sum(points), max(posted_at), true
FROM loyalty.award_entry
GROUP BY system, account, run_id, date_bin('1 hour', posted_at, 'epoch')
ORDER BY 6;

CREATE VIEW analytics.posting AS
SELECT posting_no, system, account, run_id, entries, points, posted_at FROM loyalty.posting;
COMMENT ON VIEW analytics.posting IS
    'Points as they were posted, by the account of the sales: one row per transaction and account. '
    'Points over time, without reading the ledger.';
COMMENT ON COLUMN analytics.posting.posting_no IS 'Number of the posting.';
COMMENT ON COLUMN analytics.posting.system IS 'Billing system of the sales.';
COMMENT ON COLUMN analytics.posting.account IS 'Account of the sales at the billing system.';
COMMENT ON COLUMN analytics.posting.run_id IS
    'Prefect flow run that posted them; it may be the run of another connection.';
COMMENT ON COLUMN analytics.posting.entries IS 'Ledger entries.';
COMMENT ON COLUMN analytics.posting.points IS 'Their sum.';
COMMENT ON COLUMN analytics.posting.posted_at IS 'When they were posted.';
GRANT SELECT ON analytics.posting TO analyst;

COMMENT ON COLUMN billing.sync_attempt.entries IS
    'Ledger entries posted for this account''s sales since the attempt before, whichever '
    'connection''s run posted them. Not those that webhooks and changes of rules posted.';
COMMENT ON COLUMN billing.sync_attempt.points IS
    'Sum of those entries, corrections included.';
COMMENT ON COLUMN analytics.sync_attempt.entries IS
    'Ledger entries posted for this account''s sales since the attempt before, whichever '
    'connection''s run posted them. Not those that webhooks and changes of rules posted.';
COMMENT ON COLUMN analytics.sync_attempt.points IS
    'Sum of those entries, corrections included.';
