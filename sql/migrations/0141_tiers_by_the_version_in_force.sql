-- Of the versions of the program that have begun, the highest is in force, as everywhere; not the
-- one that began last. A further version that begins earlier corrects a mistake for the past.
CREATE OR REPLACE FUNCTION loyalty.tier_rank(of_tier text, at timestamptz) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT (p.tier_rate_bps ->> coalesce(of_tier, p.entry_tier))::bigint
        FROM loyalty.program p WHERE p.valid_from <= at ORDER BY p.version DESC LIMIT 1), -1)
$$;

CREATE OR REPLACE FUNCTION loyalty.entry_tier_at(at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT p.entry_tier FROM loyalty.program p
    WHERE p.valid_from <= at ORDER BY p.version DESC LIMIT 1
$$;
