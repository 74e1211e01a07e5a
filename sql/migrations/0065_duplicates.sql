-- One sale told by several billing systems: what their documents name of each other, which system
-- counts, and what was left out because of it.

-- What a document names of other systems' documents.
ALTER TABLE billing.invoice ADD COLUMN reference_ids text;
COMMENT ON COLUMN billing.invoice.reference_ids IS
    'Ids of the same sale in other systems, divided by blanks: payment:ID (given by a payment '
    'service) and order:ID (number or id of an order or invoice elsewhere). Null: none are named.';

-- The same by what is named, of those names that are proof. Filled only once a precedence is
-- declared, so that nobody else pays for it.
CREATE TABLE billing.sale_reference (
    value       text COLLATE "C" NOT NULL,
    is_payment  boolean NOT NULL,
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (external_id, account, system, value, is_payment)
);
COMMENT ON TABLE billing.sale_reference IS
    'What documents name of other systems'' documents, where that proves that they tell one sale. '
    'Empty before a precedence is declared.';
COMMENT ON COLUMN billing.sale_reference.value IS
    'A payment''s id, or an id that is too long to be a running number.';
COMMENT ON COLUMN billing.sale_reference.is_payment IS
    'Whether a payment service gave it: then all documents that name it tell one sale.';
COMMENT ON COLUMN billing.sale_reference.system IS 'Billing system of the document that names it.';
COMMENT ON COLUMN billing.sale_reference.account IS 'Its account at the billing system.';
COMMENT ON COLUMN billing.sale_reference.external_id IS 'Its id at the billing system.';
CREATE INDEX sale_reference_value ON billing.sale_reference (value);
COMMENT ON INDEX billing.sale_reference_value IS 'Which documents name an id.';

-- The names of one document that are proof (`loyalty.duplicates.LONG_ID` is the same number).
CREATE FUNCTION billing.proving_references(reference_ids text)
RETURNS TABLE (value text, is_payment boolean) LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(t, position(':' IN t) + 1), t LIKE 'payment:%'
    FROM unnest(string_to_array(reference_ids, ' ')) AS t
    WHERE t LIKE 'payment:%' OR (t LIKE 'order:%' AND length(t) >= 12 + length('order:'))
$$;
COMMENT ON FUNCTION billing.proving_references(text) IS
    'Of invoice.reference_ids the ids that prove that two documents tell one sale.';

-- Which system's document counts.
CREATE TABLE loyalty.sale_precedence (
    precedence_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    systems       text[] NOT NULL CHECK (cardinality(systems) <> 1),
    within_hours  integer CHECK (within_hours BETWEEN 1 AND 168),
    valid_from    timestamptz NOT NULL DEFAULT '-infinity',
    author        text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    reason        text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    declared_at   timestamptz NOT NULL DEFAULT now(),
    run_id        text NOT NULL,
    members       bigint NOT NULL CHECK (members >= 0),
    points        bigint NOT NULL
);
COMMENT ON TABLE loyalty.sale_precedence IS
    'Which billing system''s document counts where several tell one sale; append-only, the last '
    'row is in force.';
COMMENT ON COLUMN loyalty.sale_precedence.precedence_no IS 'Number of the declaration.';
COMMENT ON COLUMN loyalty.sale_precedence.systems IS
    'Systems, or system/account, the one that counts first. Empty: none is declared any more.';
COMMENT ON COLUMN loyalty.sale_precedence.within_hours IS
    'The rule: sales of one member with the same amount within so many hours are one. Null: off.';
COMMENT ON COLUMN loyalty.sale_precedence.valid_from IS
    'Sales dated earlier count as if nothing were declared; -infinity: for all sales.';
COMMENT ON COLUMN loyalty.sale_precedence.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.sale_precedence.reason IS 'Why.';
COMMENT ON COLUMN loyalty.sale_precedence.declared_at IS 'When it was declared.';
COMMENT ON COLUMN loyalty.sale_precedence.run_id IS 'Prefect flow run or command that declared it.';
COMMENT ON COLUMN loyalty.sale_precedence.members IS
    'Members whose points for stored sales changed, as found beforehand.';
COMMENT ON COLUMN loyalty.sale_precedence.points IS 'By how many points, all together.';
CREATE TRIGGER sale_precedence_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.sale_precedence
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT SELECT ON loyalty.sale_precedence TO analyst;

CREATE FUNCTION audit.on_sale_precedence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('precedence.change', 'success', 'points program',
        jsonb_build_object('precedence_no', NEW.precedence_no, 'systems', NEW.systems,
            'within_hours', NEW.within_hours, 'author', NEW.author),
        of_records => NEW.members, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_sale_precedence() IS
    'Records declarations of which system''s document counts.';
CREATE TRIGGER sale_precedence_audited AFTER INSERT ON loyalty.sale_precedence
    FOR EACH ROW EXECUTE FUNCTION audit.on_sale_precedence();

-- What the award step left out; it follows from the stored sales, and is kept to be looked at.
CREATE TABLE loyalty.left_out_sale (
    system              text COLLATE "C" NOT NULL,
    account             text COLLATE "C" NOT NULL,
    external_id         text COLLATE "C" NOT NULL,
    member_id           bigint NOT NULL REFERENCES loyalty.member,
    settled_minor       bigint NOT NULL,
    by_system           text COLLATE "C" NOT NULL,
    by_account          text COLLATE "C" NOT NULL,
    by_external_id      text COLLATE "C" NOT NULL,
    matched_by          text NOT NULL,
    left_out_at         timestamptz NOT NULL DEFAULT now(),
    run_id              text NOT NULL,
    PRIMARY KEY (member_id, external_id, account, system)
);
COMMENT ON TABLE loyalty.left_out_sale IS
    'Documents that earn nothing now, because another system''s document of the same sale counts.';
COMMENT ON COLUMN loyalty.left_out_sale.system IS 'Billing system of the document left out.';
COMMENT ON COLUMN loyalty.left_out_sale.account IS 'Its account at the billing system.';
COMMENT ON COLUMN loyalty.left_out_sale.external_id IS 'Its id at the billing system.';
COMMENT ON COLUMN loyalty.left_out_sale.member_id IS 'Member who would earn for it.';
COMMENT ON COLUMN loyalty.left_out_sale.settled_minor IS
    'How much of its amount counts elsewhere, in minor units; a credit may count in part.';
COMMENT ON COLUMN loyalty.left_out_sale.by_system IS 'Billing system of the document that counts.';
COMMENT ON COLUMN loyalty.left_out_sale.by_account IS 'Its account.';
COMMENT ON COLUMN loyalty.left_out_sale.by_external_id IS 'Its id.';
COMMENT ON COLUMN loyalty.left_out_sale.matched_by IS 'How the two were recognised as one sale.';
COMMENT ON COLUMN loyalty.left_out_sale.left_out_at IS 'Since when it is left out.';
COMMENT ON COLUMN loyalty.left_out_sale.run_id IS 'Prefect flow run that left it out.';
CREATE INDEX left_out_recent ON loyalty.left_out_sale (left_out_at);
COMMENT ON INDEX loyalty.left_out_recent IS 'What was left out last: the page shows it.';
CREATE INDEX left_out_by ON loyalty.left_out_sale (by_external_id);
COMMENT ON INDEX loyalty.left_out_by IS 'What one document leaves out: marking asks for it.';

CREATE VIEW analytics.left_out_sale AS
SELECT l.system, l.account, l.external_id, i.invoice_number, l.member_id, i.kind,
       billing.major_units(l.settled_minor, i.currency) AS amount, i.currency, i.issued_at,
       l.by_system, l.by_account, l.by_external_id, w.invoice_number AS by_invoice_number,
       w.member_id AS by_member_id, l.matched_by, l.left_out_at, l.run_id
FROM loyalty.left_out_sale l
LEFT JOIN billing.invoice i USING (external_id, account, system)
LEFT JOIN billing.invoice w ON (w.external_id, w.account, w.system)
    = (l.by_external_id, l.by_account, l.by_system);
COMMENT ON VIEW analytics.left_out_sale IS
    'Documents that earn nothing, because another system''s document of the same sale counts.';
COMMENT ON COLUMN analytics.left_out_sale.system IS 'Billing system of the document left out.';
COMMENT ON COLUMN analytics.left_out_sale.account IS 'Its account at the billing system.';
COMMENT ON COLUMN analytics.left_out_sale.external_id IS 'Its id.';
COMMENT ON COLUMN analytics.left_out_sale.invoice_number IS 'Number printed on it.';
COMMENT ON COLUMN analytics.left_out_sale.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.left_out_sale.kind IS
    'invoice and sale would earn; credit_note and refund would take back.';
COMMENT ON COLUMN analytics.left_out_sale.amount IS
    'How much of it counts elsewhere, in whole currency units.';
COMMENT ON COLUMN analytics.left_out_sale.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN analytics.left_out_sale.issued_at IS 'When it says that the sale happened.';
COMMENT ON COLUMN analytics.left_out_sale.by_system IS 'Billing system of the document that counts.';
COMMENT ON COLUMN analytics.left_out_sale.by_account IS 'Its account.';
COMMENT ON COLUMN analytics.left_out_sale.by_external_id IS 'Its id.';
COMMENT ON COLUMN analytics.left_out_sale.by_invoice_number IS 'Number printed on it.';
COMMENT ON COLUMN analytics.left_out_sale.by_member_id IS
    'Member of that document (pseudonymous); another one where the systems disagree.';
COMMENT ON COLUMN analytics.left_out_sale.matched_by IS 'How the two were recognised as one sale.';
COMMENT ON COLUMN analytics.left_out_sale.left_out_at IS 'Since when it is left out.';
COMMENT ON COLUMN analytics.left_out_sale.run_id IS 'Prefect flow run that left it out.';
GRANT SELECT ON analytics.left_out_sale TO analyst;

-- The reason of an entry that takes points back (or gives them) because another document counts.
ALTER TABLE loyalty.award_entry DROP CONSTRAINT award_entry_reason_check;
ALTER TABLE loyalty.award_entry ADD CONSTRAINT award_entry_reason_check CHECK (reason IN
    ('award', 'edit', 'refund', 'void', 'moved', 'referral', 'duplicate')) NOT VALID;
ALTER TABLE loyalty.award_entry VALIDATE CONSTRAINT award_entry_reason_check;
COMMENT ON COLUMN loyalty.award_entry.reason IS
    'award: first entry of the sale; edit, refund, void: the document changed so; moved: it '
    'belongs to another member now; referral: the friend''s sale brings the referrer no reward '
    'any more; duplicate: another system''s document of the same sale counts.';
CREATE OR REPLACE VIEW loyalty.entry_cause AS
SELECT c.system, c.account, c.external_id, c.member_id, c.entry_no, c.tier, c.due_before,
       c.due_after, c.points, c.run_id, c.cause,
       array_position(
           ARRAY['award', 'tier', 'edit', 'refund', 'void', 'moved', 'referral', 'duplicate'],
           c.cause
       ) AS cause_no
FROM (
    SELECT e.*, CASE WHEN e.reason = 'edit' AND b.tier <> e.tier AND b.net_minor = e.net_minor
                     THEN 'tier' ELSE e.reason END AS cause
    FROM loyalty.award_entry e
    LEFT JOIN loyalty.award_entry b
      ON (b.system, b.account, b.external_id, b.member_id, b.entry_no)
       = (e.system, e.account, e.external_id, e.member_id, e.entry_no - 1)
) c;
COMMENT ON COLUMN loyalty.entry_cause.cause IS
    'award, tier, edit, refund, void, moved, referral or duplicate.';
COMMENT ON COLUMN analytics.award.reason IS
    'award, edit, refund, void, moved, referral or duplicate.';

-- Documents of other members that are certainly of the same sales, by the ids that they name; also
-- over several steps.
CREATE FUNCTION loyalty.sale_counterparts(members bigint[])
RETURNS TABLE (system text, account text, external_id text, member_id bigint)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE own AS MATERIALIZED (
        SELECT i.system, i.account, i.external_id FROM billing.invoice i
        WHERE i.member_id = ANY(members)
    ),
    named AS (
        -- Documents that these name, that name these, and that name the same payments.
        SELECT o.system, o.account, o.external_id
        FROM own s JOIN billing.sale_reference t USING (external_id, account, system)
        JOIN billing.invoice o ON o.external_id = t.value
        UNION
        SELECT t.system, t.account, t.external_id
        FROM own s JOIN billing.sale_reference t ON t.value = s.external_id
        UNION
        SELECT n.system, n.account, n.external_id
        FROM own s JOIN billing.sale_reference t USING (external_id, account, system)
        JOIN billing.sale_reference n ON n.value = t.value AND n.is_payment AND t.is_payment
    ),
    foreign_document AS MATERIALIZED (
        SELECT i.system, i.account, i.external_id
        FROM named JOIN billing.invoice i USING (external_id, account, system)
        WHERE NOT EXISTS (SELECT FROM unnest(members) m WHERE m = i.member_id)
    ),
    reached AS (
        SELECT * FROM foreign_document
        UNION
        SELECT n.system, n.account, n.external_id
        FROM reached r CROSS JOIN LATERAL (
            SELECT o.system, o.account, o.external_id
            FROM billing.sale_reference t JOIN billing.invoice o ON o.external_id = t.value
            WHERE (t.external_id, t.account, t.system) = (r.external_id, r.account, r.system)
            UNION ALL
            SELECT t.system, t.account, t.external_id
            FROM billing.sale_reference t WHERE t.value = r.external_id
            UNION ALL
            SELECT o.system, o.account, o.external_id
            FROM billing.sale_reference t
            JOIN billing.sale_reference o ON o.value = t.value AND o.is_payment AND t.is_payment
            WHERE (t.external_id, t.account, t.system) = (r.external_id, r.account, r.system)
        ) n
        JOIN billing.invoice i ON (i.external_id, i.account, i.system)
            = (n.external_id, n.account, n.system)
        WHERE NOT EXISTS (SELECT FROM unnest(members) m WHERE m = i.member_id)
    )
    SELECT i.system, i.account, i.external_id, i.member_id
    FROM reached JOIN billing.invoice i USING (external_id, account, system)
$$;
COMMENT ON FUNCTION loyalty.sale_counterparts(bigint[]) IS
    'Documents of other members that certainly tell sales of these members, by the ids they name.';

-- Marking: a change of one document may decide whether another member's document counts.
CREATE FUNCTION loyalty.counterpart_members(members bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    -- A declaration waits for whoever stores sales meanwhile, and the other way round.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('loyalty.sale_precedence', 5));
    IF NOT EXISTS (SELECT FROM loyalty.sale_precedence) THEN
        RETURN;
    END IF;
    -- Of two that store the two documents at once, the second sees the first.
    PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.sale_precedence', 6));
    DELETE FROM billing.sale_reference t USING billing.invoice i
    WHERE i.member_id = ANY(members)
      AND (t.external_id, t.account, t.system) = (i.external_id, i.account, i.system)
      AND NOT EXISTS (SELECT FROM billing.proving_references(i.reference_ids) p
                      WHERE (p.value, p.is_payment) = (t.value, t.is_payment));
    INSERT INTO billing.sale_reference (value, is_payment, system, account, external_id)
    SELECT p.value, p.is_payment, i.system, i.account, i.external_id
    FROM billing.invoice i CROSS JOIN LATERAL billing.proving_references(i.reference_ids) p
    WHERE i.member_id = ANY(members) AND i.reference_ids IS NOT NULL
    ON CONFLICT DO NOTHING;
    RETURN QUERY
        SELECT c.member_id FROM loyalty.sale_counterparts(members) c WHERE c.member_id IS NOT NULL
        -- A document that named another one may name it no more.
        UNION SELECT l.member_id FROM loyalty.left_out_sale l
        JOIN billing.invoice w ON (w.external_id, w.account, w.system)
            = (l.by_external_id, l.by_account, l.by_system)
        WHERE w.member_id = ANY(members);
END $$;
COMMENT ON FUNCTION loyalty.counterpart_members(bigint[]) IS
    'Members whose points depend on sales of these members, because a precedence is declared.';

-- As before, and members whose sales may be left out, or count again, because of these.
DROP FUNCTION loyalty.mark_dirty(bigint[]);
CREATE FUNCTION loyalty.mark_dirty(members bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    members := members || ARRAY(SELECT loyalty.counterpart_members(members));
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM unnest(members) AS m WHERE m IS NOT NULL
    UNION SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members)
    -- A friend's sales are worth points to who referred them.
    UNION SELECT r.referrer_id FROM loyalty.referral_owned r WHERE r.friend_id = ANY(members)
       OR r.friend_id IN (
           SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members))
    ORDER BY 1
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
END $$;
COMMENT ON FUNCTION loyalty.mark_dirty(bigint[]) IS
    'Marks members, those who earn for them, who referred them, and whose sales depend on theirs, '
    'for the next award step; in order of number, so that two who mark do not wait for each other.';
