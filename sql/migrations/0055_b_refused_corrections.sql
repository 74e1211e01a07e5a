-- A refused version of a sale that is in the ledger leaves its old points standing: a class of
-- reject of its own.
ALTER TABLE billing.reject ADD COLUMN class text NOT NULL DEFAULT 'record'
    CHECK (class IN ('record', 'correction'));
COMMENT ON COLUMN billing.reject.class IS
    'correction: it takes points back or changes a sale in the ledger, whose old points stand; '
    'record: anything else.';
CREATE INDEX reject_correction ON billing.reject (system, account)
    WHERE resolved_at IS NULL AND class = 'correction';

CREATE FUNCTION billing.points_of(wanted_system text, wanted_account text, wanted_id text)
RETURNS bigint LANGUAGE sql STABLE AS $$
    -- By the member first, as the key of the ledger is; the sales of a merged member are posted
    -- to the other one.
    SELECT coalesce(sum(e.points), 0)::bigint
    FROM billing.invoice i
    LEFT JOIN loyalty.merged_member m ON m.member_id = i.member_id
    JOIN loyalty.award_entry e ON e.member_id IN (i.member_id, m.owner_id)
        AND (e.external_id, e.account, e.system) = (i.external_id, i.account, i.system)
    WHERE (i.external_id, i.account, i.system) = (wanted_id, wanted_account, wanted_system)
$$;
COMMENT ON FUNCTION billing.points_of(text, text, text) IS
    'Points posted for a document, to the member who has it now.';

CREATE VIEW analytics.refused_correction AS
SELECT r.reject_id, r.system, r.account, r.stream, r.external_id, i.invoice_number, i.member_id,
       r.reason,
       CASE WHEN i.external_id IS NOT NULL
            THEN billing.points_of(r.system, r.account, r.external_id) END AS points_at_stake,
       r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at
FROM billing.reject r
LEFT JOIN billing.invoice i
    ON (i.external_id, i.account, i.system) = (r.external_id, r.account, r.system)
WHERE r.class = 'correction';
COMMENT ON VIEW analytics.refused_correction IS
    'Records that would have taken points back or changed a sale in the ledger, and could not be '
    'used: the old points stand.';
COMMENT ON COLUMN analytics.refused_correction.reject_id IS 'Number of the reject.';
COMMENT ON COLUMN analytics.refused_correction.system IS 'Billing system.';
COMMENT ON COLUMN analytics.refused_correction.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.refused_correction.stream IS
    'Which list of the vendor; awards: its points could not be computed.';
COMMENT ON COLUMN analytics.refused_correction.external_id IS 'Id at the billing system.';
COMMENT ON COLUMN analytics.refused_correction.invoice_number IS
    'Number printed on the stored document.';
COMMENT ON COLUMN analytics.refused_correction.member_id IS
    'Member who has the points (pseudonymous).';
COMMENT ON COLUMN analytics.refused_correction.reason IS 'Field and cause.';
COMMENT ON COLUMN analytics.refused_correction.points_at_stake IS
    'Points that stand now for the stored version; null where the record names no stored '
    'document, as a credit note of its own.';
COMMENT ON COLUMN analytics.refused_correction.first_seen_at IS 'When it was refused first.';
COMMENT ON COLUMN analytics.refused_correction.last_seen_at IS 'When it was refused last.';
COMMENT ON COLUMN analytics.refused_correction.times_seen IS 'How often it was refused.';
COMMENT ON COLUMN analytics.refused_correction.resolved_at IS
    'When it was accepted after all; null: open.';

-- What was read otherwise than it is written.
CREATE TABLE billing.document_note (
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    note        text NOT NULL,
    sync_id     bigint NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (external_id, account, system, note)
);
COMMENT ON TABLE billing.document_note IS
    'Documents of which something was read otherwise than it is written, and what.';
COMMENT ON COLUMN billing.document_note.system IS 'Billing system.';
COMMENT ON COLUMN billing.document_note.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.document_note.external_id IS 'Id of the document.';
COMMENT ON COLUMN billing.document_note.note IS 'What was read otherwise, in one line.';
COMMENT ON COLUMN billing.document_note.sync_id IS 'Synchronisation that read it so last.';
COMMENT ON COLUMN billing.document_note.noted_at IS 'When it was read so last.';
CREATE VIEW analytics.sale_note AS
SELECT system, account, external_id, note, noted_at FROM billing.document_note;
COMMENT ON VIEW analytics.sale_note IS
    'Documents of which something was read otherwise than it is written, e.g. a refund a cent '
    'above the sale.';
COMMENT ON COLUMN analytics.sale_note.system IS 'Billing system.';
COMMENT ON COLUMN analytics.sale_note.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.sale_note.external_id IS 'Id of the document.';
COMMENT ON COLUMN analytics.sale_note.note IS 'What was read otherwise, in one line.';
COMMENT ON COLUMN analytics.sale_note.noted_at IS 'When it was read so last.';
GRANT SELECT ON analytics.refused_correction, analytics.sale_note TO analyst;
