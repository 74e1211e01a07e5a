-- A program has its own currency, points may be given for full amounts only, and all promotions
-- together may have limits.
-- Existing installations keep their rates: their first version gives the same points per unit of
-- every currency in use. A new installation gives points for its own currency only; sales in others
-- are rejected until somebody names them.
ALTER TABLE loyalty.program
    ADD COLUMN currency text COLLATE "C" CHECK (base_rate_bps ? currency),
    ADD COLUMN per_full_minor jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(per_full_minor) = 'object'),
    ADD COLUMN promotion_limits jsonb CHECK (jsonb_typeof(promotion_limits) = 'object');
COMMENT ON COLUMN loyalty.program.currency IS
    'The program''s own currency (ISO 4217), which has a rate; null in versions that do not name '
    'it: base_currency, else AOA.';
COMMENT ON COLUMN loyalty.program.base_rate_bps IS
    'Per currency (ISO 4217): points per whole currency unit, or per full amount of '
    'per_full_minor, in basis points; 100000 = 10 points. A sale in a currency that is not named '
    'is rejected or converted.';
COMMENT ON COLUMN loyalty.program.per_full_minor IS
    'Per currency: the amount in minor units of which only full ones earn; not named: every unit '
    'earns, and its fractions.';
COMMENT ON COLUMN loyalty.program.promotion_limits IS
    'Most points of all promotions together: per_sale, per_period (points, period), per_member; '
    'null: as many as they give.';

-- All migrations of a new installation are applied in one transaction, so they have one time.
ALTER TABLE loyalty.program DISABLE TRIGGER program_append_only;
UPDATE loyalty.program SET base_rate_bps = '{"AOA": 100000}'
WHERE version = 1 AND created_by = 'installation'
  AND (SELECT applied_at = now() FROM public.schema_migration WHERE name = '0004_program_v1');
ALTER TABLE loyalty.program ENABLE TRIGGER program_append_only;

CREATE OR REPLACE VIEW loyalty.entry_with_rule AS
SELECT e.system, e.account, e.external_id, e.entry_no, e.member_id, e.reason,
       e.points, e.due_before, e.due_after, e.breakdown,
       billing.major_units(e.net_minor, e.currency) AS net_amount, e.currency,
       e.tier, e.program_version, p.base_rate_bps -> e.currency AS base_rate_bps,
       p.tier_rate_bps -> e.tier AS tier_rate_bps, p.rounding, e.event_at,
       e.posted_at, e.run_id,
       billing.major_units((p.per_full_minor ->> e.currency)::bigint, e.currency) AS per_full
FROM loyalty.award_entry e LEFT JOIN loyalty.program p ON p.version = e.program_version;
COMMENT ON COLUMN loyalty.entry_with_rule.base_rate_bps IS
    'Points per currency unit, or per full amount, in basis points; null: the amount was converted '
    'first.';
COMMENT ON COLUMN loyalty.entry_with_rule.per_full IS
    'The amount of which only full ones earn, in whole currency units; null: every unit earns.';
