-- How every attempt to synchronise ended: what rates of success and response times over time are computed from. A row of billing.sync_run
-- is one piece of work, which several runs may have tried; here each of them counts.
CREATE TABLE billing.sync_attempt (
    attempt_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         text NOT NULL,
    connection     text COLLATE "C",
    system         text COLLATE "C",
    account        text COLLATE "C",
    kind           text NOT NULL CHECK (kind IN ('poll', 'window', 'replay')),
    outcome        text NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'interrupted')),
    started_at     timestamptz NOT NULL,
    finished_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    sync_id        bigint REFERENCES billing.sync_run,
    records        bigint NOT NULL DEFAULT 0,
    new_sales      bigint NOT NULL DEFAULT 0,
    changed_sales  bigint NOT NULL DEFAULT 0,
    rejected       bigint NOT NULL DEFAULT 0,
    entries        bigint NOT NULL DEFAULT 0,
    points         bigint NOT NULL DEFAULT 0,
    calls          integer NOT NULL DEFAULT 0,
    failed_calls   integer NOT NULL DEFAULT 0,
    throttled      integer NOT NULL DEFAULT 0,
    response_ms    integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(response_ms) <= 100),
    error          text CHECK (length(error) <= 4000),
    CHECK (started_at <= finished_at),
    CHECK (connection IS NOT NULL OR (system IS NOT NULL AND account IS NOT NULL)),
    CHECK ((outcome = 'succeeded') = (error IS NULL))
);
CREATE INDEX sync_attempt_time ON billing.sync_attempt (finished_at);
CREATE INDEX sync_attempt_connection ON billing.sync_attempt (connection, attempt_no DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.sync_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.sync_attempt IS 'How each attempt of a run to synchronise ended, append-only. Dry runs leave no trace; webhooks have billing.webhook_event.';
COMMENT ON COLUMN billing.sync_attempt.attempt_no IS 'Number of the attempt.';
COMMENT ON COLUMN billing.sync_attempt.run_id IS 'Prefect flow run; one that was retried has several attempts.';
COMMENT ON COLUMN billing.sync_attempt.connection IS 'Name of the connection (its block); null: of a run that was interrupted, see account.';
COMMENT ON COLUMN billing.sync_attempt.system IS 'Billing system; null: there was no block to tell.';
COMMENT ON COLUMN billing.sync_attempt.account IS 'Account at the billing system; null: there was no usable block to tell.';
COMMENT ON COLUMN billing.sync_attempt.kind IS 'poll: from the cursor on; window: a period was asked for; replay: stored pages were mapped again.';
COMMENT ON COLUMN billing.sync_attempt.outcome IS 'succeeded, failed, or interrupted: its process ended before it did (noted by the run that continued or replaced it).';
COMMENT ON COLUMN billing.sync_attempt.started_at IS 'When it began; of an interrupted one, when the work it continued began.';
COMMENT ON COLUMN billing.sync_attempt.finished_at IS 'When it ended, or its interruption was noticed.';
COMMENT ON COLUMN billing.sync_attempt.sync_id IS 'The synchronisation it worked on, if it came that far.';
COMMENT ON COLUMN billing.sync_attempt.records IS 'Records read.';
COMMENT ON COLUMN billing.sync_attempt.new_sales IS 'Sales seen for the first time. Nothing was stored by an attempt that failed before that.';
COMMENT ON COLUMN billing.sync_attempt.changed_sales IS 'Sales whose stored version changed.';
COMMENT ON COLUMN billing.sync_attempt.rejected IS 'Records that could not be used.';
COMMENT ON COLUMN billing.sync_attempt.entries IS 'Ledger entries posted.';
COMMENT ON COLUMN billing.sync_attempt.points IS 'Points posted, corrections included.';
COMMENT ON COLUMN billing.sync_attempt.calls IS 'Requests to the billing system.';
COMMENT ON COLUMN billing.sync_attempt.failed_calls IS 'Of those, requests that were not answered, or with an error.';
COMMENT ON COLUMN billing.sync_attempt.throttled IS 'Of those, requests that were told to slow down.';
COMMENT ON COLUMN billing.sync_attempt.response_ms IS 'Response times in milliseconds, ascending: of each request, or of many requests a hundred in equal steps.';
COMMENT ON COLUMN billing.sync_attempt.error IS 'Why it did not succeed, without personal data or secrets.';

-- A run that is killed cannot say so. Whoever takes its work up, or sets it aside, does.
CREATE FUNCTION billing.note_interrupted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing.sync_attempt (run_id, system, account, kind, outcome, started_at, finished_at, sync_id, error)
    VALUES (OLD.run_id, OLD.system, OLD.account,
            CASE WHEN EXISTS (SELECT FROM jsonb_object_keys(OLD.streams) k WHERE k LIKE 'replay of %') THEN 'replay'
                 WHEN OLD.requested_since IS NOT NULL OR OLD.requested_until IS NOT NULL THEN 'window' ELSE 'poll' END,
            'interrupted', OLD.started_at, greatest(OLD.started_at, clock_timestamp()), OLD.sync_id,
            'Interrupted: its process ended before the run did (killed, out of memory, or the machine restarted). A later run went on.');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION billing.note_interrupted() IS 'Notes that the run which worked on a synchronisation was interrupted.';
-- Only a run that continues the work of another one sets run_id; only setting aside what nobody works on any more sets finished_at.
CREATE TRIGGER continued AFTER UPDATE OF run_id ON billing.sync_run FOR EACH ROW
    WHEN (OLD.source = 'poll' AND OLD.state IN ('extracting', 'extracted'))
    EXECUTE FUNCTION billing.note_interrupted();
CREATE TRIGGER set_aside AFTER UPDATE OF state ON billing.sync_run FOR EACH ROW
    WHEN (OLD.source = 'poll' AND OLD.state IN ('extracting', 'extracted') AND NEW.state = 'abandoned' AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION billing.note_interrupted();

CREATE VIEW analytics.sync_attempt AS
SELECT attempt_no, run_id, connection, system, account, kind, outcome, started_at, finished_at,
       extract(epoch FROM finished_at - started_at)::numeric(12, 3) AS seconds,
       sync_id, records, new_sales, changed_sales, rejected, entries, points, calls, failed_calls, throttled,
       response_ms[(cardinality(response_ms) + 1) / 2] AS response_ms_p50,
       response_ms[ceil(cardinality(response_ms) * 0.95)::integer] AS response_ms_p95,
       error
FROM billing.sync_attempt;
COMMENT ON VIEW analytics.sync_attempt IS 'One row per attempt of a run to synchronise: what rates of success and response times are computed from.';
COMMENT ON COLUMN analytics.sync_attempt.attempt_no IS 'Number of the attempt.';
COMMENT ON COLUMN analytics.sync_attempt.run_id IS 'Prefect flow run.';
COMMENT ON COLUMN analytics.sync_attempt.connection IS 'Name of the connection; null: of an interrupted run.';
COMMENT ON COLUMN analytics.sync_attempt.system IS 'Billing system.';
COMMENT ON COLUMN analytics.sync_attempt.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.sync_attempt.kind IS 'poll, window or replay.';
COMMENT ON COLUMN analytics.sync_attempt.outcome IS 'succeeded, failed or interrupted.';
COMMENT ON COLUMN analytics.sync_attempt.started_at IS 'When it began.';
COMMENT ON COLUMN analytics.sync_attempt.finished_at IS 'When it ended, or its interruption was noticed.';
COMMENT ON COLUMN analytics.sync_attempt.seconds IS 'How long it took.';
COMMENT ON COLUMN analytics.sync_attempt.sync_id IS 'Number of the synchronisation.';
COMMENT ON COLUMN analytics.sync_attempt.records IS 'Records read.';
COMMENT ON COLUMN analytics.sync_attempt.new_sales IS 'Sales seen for the first time.';
COMMENT ON COLUMN analytics.sync_attempt.changed_sales IS 'Sales whose stored version changed.';
COMMENT ON COLUMN analytics.sync_attempt.rejected IS 'Records that could not be used.';
COMMENT ON COLUMN analytics.sync_attempt.entries IS 'Ledger entries posted.';
COMMENT ON COLUMN analytics.sync_attempt.points IS 'Points posted, corrections included.';
COMMENT ON COLUMN analytics.sync_attempt.calls IS 'Requests to the billing system.';
COMMENT ON COLUMN analytics.sync_attempt.failed_calls IS 'Requests that were not answered, or with an error.';
COMMENT ON COLUMN analytics.sync_attempt.throttled IS 'Requests that were told to slow down.';
COMMENT ON COLUMN analytics.sync_attempt.response_ms_p50 IS 'Half of the requests took no longer, in milliseconds.';
COMMENT ON COLUMN analytics.sync_attempt.response_ms_p95 IS '95 % of the requests took no longer.';
COMMENT ON COLUMN analytics.sync_attempt.error IS 'Why it did not succeed.';
GRANT SELECT ON analytics.sync_attempt TO analyst;
