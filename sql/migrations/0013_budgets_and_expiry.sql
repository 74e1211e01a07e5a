-- Promotions with a budget, and points that expire.
CREATE TABLE loyalty.promotion_claim (
    promotion_id text COLLATE "C" NOT NULL,
    version      integer NOT NULL,
    member_id    bigint NOT NULL,
    system       text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    issued_at    timestamptz NOT NULL,
    wanted       bigint NOT NULL CHECK (wanted >= 0),
    granted      bigint NOT NULL DEFAULT 0 CHECK (granted >= 0),
    unsettled_from timestamptz,
    PRIMARY KEY (promotion_id, version, member_id, external_id, account, system)
);
CREATE INDEX promotion_claim_order ON loyalty.promotion_claim (promotion_id, version, issued_at, system, account, external_id, member_id);
CREATE INDEX promotion_claim_member ON loyalty.promotion_claim (member_id);
CREATE INDEX promotion_claim_unsettled ON loyalty.promotion_claim (promotion_id, version, unsettled_from) WHERE unsettled_from IS NOT NULL;
COMMENT ON TABLE loyalty.promotion_claim IS 'What sales would get from promotions with a budget, and what the budget leaves of it. Derived from the sales: it can be emptied and is made again.';
COMMENT ON COLUMN loyalty.promotion_claim.promotion_id IS 'Promotion.';
COMMENT ON COLUMN loyalty.promotion_claim.version IS 'Its version; each has a budget of its own.';
COMMENT ON COLUMN loyalty.promotion_claim.member_id IS 'Member who would get the points.';
COMMENT ON COLUMN loyalty.promotion_claim.system IS 'Billing system of the sale.';
COMMENT ON COLUMN loyalty.promotion_claim.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.promotion_claim.external_id IS 'The sale''s id.';
COMMENT ON COLUMN loyalty.promotion_claim.issued_at IS 'When the sale happened: budgets are used up in the order of issued_at, system, account, external_id, member_id.';
COMMENT ON COLUMN loyalty.promotion_claim.wanted IS 'Points without the budget.';
COMMENT ON COLUMN loyalty.promotion_claim.granted IS 'Points with it.';
COMMENT ON COLUMN loyalty.promotion_claim.unsettled_from IS 'From which instant on the budget is to be divided anew because of this claim; null: it is settled.';

CREATE TABLE loyalty.expiry_entry (
    member_id    bigint NOT NULL,
    expires_at   timestamptz NOT NULL,
    entry_no     integer NOT NULL CHECK (entry_no >= 1),
    due_before   bigint NOT NULL,
    due_after    bigint NOT NULL,
    points       bigint NOT NULL,
    posted_at    timestamptz NOT NULL DEFAULT now(),
    run_id       text NOT NULL,
    PRIMARY KEY (member_id, expires_at, entry_no),
    CONSTRAINT points_is_the_difference CHECK (points = due_before - due_after),
    CONSTRAINT no_empty_entry CHECK (points <> 0),
    CONSTRAINT chain_starts_at_zero CHECK (entry_no > 1 OR due_before = 0)
);
COMMENT ON TABLE loyalty.expiry_entry IS 'Points that expired, append-only: one chain per member and instant of expiry, each entry the difference to what was posted.';
COMMENT ON COLUMN loyalty.expiry_entry.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.expiry_entry.expires_at IS 'When the points expired.';
COMMENT ON COLUMN loyalty.expiry_entry.entry_no IS 'Position in the chain, from 1: a later correction of a sale changes what expired.';
COMMENT ON COLUMN loyalty.expiry_entry.due_before IS 'Points expired then, as posted before this entry.';
COMMENT ON COLUMN loyalty.expiry_entry.due_after IS 'Points expired then, from this entry on.';
COMMENT ON COLUMN loyalty.expiry_entry.points IS 'What it adds to the balance: due_before - due_after, so an expiry is negative.';
COMMENT ON COLUMN loyalty.expiry_entry.posted_at IS 'When it was posted.';
COMMENT ON COLUMN loyalty.expiry_entry.run_id IS 'Prefect flow run that posted it.';
CREATE TRIGGER expiry_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.expiry_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE TABLE loyalty.expiry_watch (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    watched_until timestamptz NOT NULL
);
COMMENT ON TABLE loyalty.expiry_watch IS 'Up to when expiries have been asked for: whose points expired since is marked by the next award step.';
COMMENT ON COLUMN loyalty.expiry_watch.only_row IS 'There is one row.';
COMMENT ON COLUMN loyalty.expiry_watch.watched_until IS 'Members with points that expired before it have been marked.';

GRANT SELECT ON loyalty.promotion_claim, loyalty.expiry_entry TO analyst;
