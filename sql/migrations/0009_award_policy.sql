-- When the sales of an account earn: once they are issued, or once they are paid. Versioned and append-only, like the program: a
-- sale follows the version that is in force at its own date, so a change never touches the past unless it is dated back.
CREATE TABLE billing.award_policy (
    policy_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    award_when  text NOT NULL CHECK (award_when IN ('issued', 'paid')),
    valid_from  timestamptz NOT NULL CHECK (valid_from < 'infinity'),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    run_id      text NOT NULL
);
CREATE INDEX award_policy_account ON billing.award_policy (system, account, policy_no DESC);
COMMENT ON TABLE billing.award_policy IS 'When the sales of an account earn, as its block says, versioned. No row: once issued.';
COMMENT ON COLUMN billing.award_policy.policy_no IS 'Order of entry: of two that are valid for a sale the later one counts.';
COMMENT ON COLUMN billing.award_policy.system IS 'Billing system.';
COMMENT ON COLUMN billing.award_policy.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.award_policy.award_when IS 'issued: open and paid sales earn; paid: fully paid ones only. Credit notes and refunds take back at once in either case.';
COMMENT ON COLUMN billing.award_policy.valid_from IS 'Sales issued from this instant on follow it, whenever they arrive.';
COMMENT ON COLUMN billing.award_policy.recorded_at IS 'When a run found the block changed.';
COMMENT ON COLUMN billing.award_policy.run_id IS 'Prefect flow run that did.';
CREATE TRIGGER award_policy_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.award_policy
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE VIEW billing.award_policy_span AS
SELECT system, account, award_when, valid_from, valid_to FROM (
    SELECT system, account, award_when, valid_from,
           min(valid_from) OVER (PARTITION BY system, account ORDER BY policy_no DESC
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS valid_to
    FROM billing.award_policy
) version
WHERE valid_to IS NULL OR valid_from < valid_to;
COMMENT ON VIEW billing.award_policy_span IS 'The same without overlaps: each sale''s date is in one span at most.';
COMMENT ON COLUMN billing.award_policy_span.system IS 'Billing system.';
COMMENT ON COLUMN billing.award_policy_span.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.award_policy_span.award_when IS 'issued or paid.';
COMMENT ON COLUMN billing.award_policy_span.valid_from IS 'First instant.';
COMMENT ON COLUMN billing.award_policy_span.valid_to IS 'First instant after it; null: open.';
GRANT SELECT ON billing.award_policy, billing.award_policy_span TO analyst;
