-- What a person wants to know of a webhook: why it failed first, and which documents it became.
ALTER TABLE billing.webhook_event
    ADD COLUMN first_reason text,
    ADD COLUMN first_failed_at timestamptz,
    ADD COLUMN documents text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN billing.webhook_event.first_reason IS
    'Why it could not be used at first; it stays, also after a replay. Null: it never failed.';
COMMENT ON COLUMN billing.webhook_event.first_failed_at IS 'When that was.';
COMMENT ON COLUMN billing.webhook_event.documents IS
    'Ids of the documents that it brought or changed, as they are stored; empty: none.';
UPDATE billing.webhook_event SET first_reason = reason, first_failed_at = finished_at
WHERE state IN ('failed', 'parked') AND reason IS NOT NULL;

CREATE OR REPLACE VIEW analytics.webhook AS
SELECT e.event_no, p.system, p.connection, p.account, e.kind, e.state,
       e.attempts, e.received_at, e.next_attempt_at, e.finished_at,
       extract(epoch FROM e.finished_at - e.received_at)::numeric(12, 3) AS seconds,
       e.reason, e.sync_id, e.run_id, e.body_bytes AS size_bytes,
       e.first_reason, e.first_failed_at, cardinality(e.documents) AS documents
FROM billing.webhook_event e
JOIN billing.webhook_endpoint p USING (endpoint_no);
COMMENT ON COLUMN analytics.webhook.first_reason IS
    'Why it could not be used at first; null: it never failed.';
COMMENT ON COLUMN analytics.webhook.first_failed_at IS 'When that was.';
COMMENT ON COLUMN analytics.webhook.documents IS 'How many documents it brought or changed.';
