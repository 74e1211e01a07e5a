-- What several queries asked in the same words is defined once. The tables stay as they are.

-- How a raw page was read, for the question which of two versions of a document is newer.
CREATE VIEW billing.page_reading AS
SELECT page_id, system, account,
       coalesce(asked_at, fetched_at) AS asked_at, fetched_at,
       system <> 'file' AND request ->> 'method' IS DISTINCT FROM 'WEBHOOK' AS is_read
FROM billing.raw_page;
COMMENT ON VIEW billing.page_reading IS
    'How each raw page was read: decides which of two versions of a document counts.';
COMMENT ON COLUMN billing.page_reading.page_id IS 'Raw page.';
COMMENT ON COLUMN billing.page_reading.system IS 'Billing system.';
COMMENT ON COLUMN billing.page_reading.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.page_reading.asked_at IS
    'When the request was sent; of pages of older releases, when the answer had arrived.';
COMMENT ON COLUMN billing.page_reading.fetched_at IS 'When the answer had arrived.';
COMMENT ON COLUMN billing.page_reading.is_read IS
    'Whether the vendor was asked for its state of that moment. '
    'A webhook or a file may be as old as it likes.';

-- An entry with the rule that it followed, as explanations show it.
CREATE VIEW loyalty.entry_with_rule AS
SELECT e.system, e.account, e.external_id, e.entry_no, e.member_id, e.reason, e.points,
       e.due_before, e.due_after, e.breakdown,
       billing.major_units(e.net_minor, e.currency) AS net_amount, e.currency, e.tier,
       e.program_version, p.base_rate_bps -> e.currency AS base_rate_bps,
       p.tier_rate_bps -> e.tier AS tier_rate_bps, p.rounding, e.event_at, e.posted_at, e.run_id
FROM loyalty.award_entry e LEFT JOIN loyalty.program p ON p.version = e.program_version;
COMMENT ON VIEW loyalty.entry_with_rule IS
    'Every entry with the rates and the rounding of the program version that it followed.';
COMMENT ON COLUMN loyalty.entry_with_rule.system IS 'Billing system of the sale.';
COMMENT ON COLUMN loyalty.entry_with_rule.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.entry_with_rule.external_id IS 'The sale''s id at the billing system.';
COMMENT ON COLUMN loyalty.entry_with_rule.entry_no IS
    'Position in the chain of this sale and member, from 1.';
COMMENT ON COLUMN loyalty.entry_with_rule.member_id IS 'Member who earns or returns the points.';
COMMENT ON COLUMN loyalty.entry_with_rule.reason IS 'As in loyalty.award_entry.';
COMMENT ON COLUMN loyalty.entry_with_rule.points IS 'What the entry adds to the balance.';
COMMENT ON COLUMN loyalty.entry_with_rule.due_before IS 'Points posted for the sale before it.';
COMMENT ON COLUMN loyalty.entry_with_rule.due_after IS 'Points due for the sale from it on.';
COMMENT ON COLUMN loyalty.entry_with_rule.breakdown IS 'Points per rule; their sum is due_after.';
COMMENT ON COLUMN loyalty.entry_with_rule.net_amount IS
    'Amount that earned, in whole currency units.';
COMMENT ON COLUMN loyalty.entry_with_rule.currency IS 'Currency of net_amount, ISO 4217.';
COMMENT ON COLUMN loyalty.entry_with_rule.tier IS 'Tier in force at the sale.';
COMMENT ON COLUMN loyalty.entry_with_rule.program_version IS 'Version of the program.';
COMMENT ON COLUMN loyalty.entry_with_rule.base_rate_bps IS
    'Points per currency unit in basis points; null: the amount was converted first.';
COMMENT ON COLUMN loyalty.entry_with_rule.tier_rate_bps IS
    'Multiplier of the tier in basis points.';
COMMENT ON COLUMN loyalty.entry_with_rule.rounding IS 'How fractions of a point were rounded.';
COMMENT ON COLUMN loyalty.entry_with_rule.event_at IS 'When the sale happened.';
COMMENT ON COLUMN loyalty.entry_with_rule.posted_at IS 'When we posted it.';
COMMENT ON COLUMN loyalty.entry_with_rule.run_id IS 'Prefect flow run that posted it.';

-- Why an entry was posted, as reports group them.
CREATE VIEW loyalty.entry_cause AS
SELECT c.system, c.account, c.external_id, c.member_id, c.entry_no, c.tier, c.due_before,
       c.due_after, c.points, c.run_id, c.cause,
       array_position(
           ARRAY['award', 'tier', 'edit', 'refund', 'void', 'moved', 'referral'], c.cause
       ) AS cause_no
FROM (
    SELECT e.*, CASE WHEN e.reason = 'edit' AND b.tier <> e.tier AND b.net_minor = e.net_minor
                     THEN 'tier' ELSE e.reason END AS cause
    FROM loyalty.award_entry e
    LEFT JOIN loyalty.award_entry b
      ON (b.system, b.account, b.external_id, b.member_id, b.entry_no)
       = (e.system, e.account, e.external_id, e.member_id, e.entry_no - 1)
) c;
COMMENT ON VIEW loyalty.entry_cause IS
    'Every entry with its cause: its reason, or "tier" where only the tier differs from the entry '
    'before.';
COMMENT ON COLUMN loyalty.entry_cause.system IS 'Billing system of the sale.';
COMMENT ON COLUMN loyalty.entry_cause.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.entry_cause.external_id IS 'The sale''s id at the billing system.';
COMMENT ON COLUMN loyalty.entry_cause.member_id IS 'Member who earns or returns the points.';
COMMENT ON COLUMN loyalty.entry_cause.entry_no IS
    'Position in the chain of this sale and member, from 1.';
COMMENT ON COLUMN loyalty.entry_cause.tier IS 'Tier in force at the sale.';
COMMENT ON COLUMN loyalty.entry_cause.due_before IS 'Points posted for the sale before it.';
COMMENT ON COLUMN loyalty.entry_cause.due_after IS 'Points due for the sale from it on.';
COMMENT ON COLUMN loyalty.entry_cause.points IS 'What the entry adds to the balance.';
COMMENT ON COLUMN loyalty.entry_cause.run_id IS 'Prefect flow run that posted it.';
COMMENT ON COLUMN loyalty.entry_cause.cause IS
    'award, tier, edit, refund, void, moved or referral.';
COMMENT ON COLUMN loyalty.entry_cause.cause_no IS 'Order of the causes in reports, from 1.';
