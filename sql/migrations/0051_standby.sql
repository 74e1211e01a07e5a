-- A restored copy must not renew the tokens of the installation it was copied from: a renewed refresh
-- token ends the one before, and the original could not log in any more.
CREATE TABLE billing.standby (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    since    timestamptz NOT NULL DEFAULT now(),
    reason   text NOT NULL
);
COMMENT ON TABLE billing.standby IS 'A row: this is a restored copy. Schedules are off, stored tokens are not used and webhooks not awarded until `twezah go-live`.';
COMMENT ON COLUMN billing.standby.only_row IS 'There is one row at most.';
COMMENT ON COLUMN billing.standby.since IS 'When it was restored.';
COMMENT ON COLUMN billing.standby.reason IS 'Why it stands by.';
