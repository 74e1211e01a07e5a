-- What a block says about its webhooks is kept apart from what was said of the address itself, which counts first. Kept in one
-- place, a change of the block would either never reach the address or undo what was entered there.
ALTER TABLE billing.webhook_endpoint ADD COLUMN block_options jsonb NOT NULL DEFAULT '{}'
    CHECK (jsonb_typeof(block_options) = 'object');
COMMENT ON COLUMN billing.webhook_endpoint.block_options IS
    'What the connection''s block says about its webhooks, where it is not the default. Taken over by itself. No secrets.';
COMMENT ON COLUMN billing.webhook_endpoint.options IS
    'What was said of this address itself, e.g. signature scheme and header. It counts before block_options. No secrets.';
