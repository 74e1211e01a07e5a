-- What a point is worth in money, for reports only: no balance depends on it.
CREATE TABLE loyalty.point_value (
    value_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    currency        text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    valid_from      timestamptz NOT NULL CHECK (isfinite(valid_from)),
    value_per_point numeric(20, 9) NOT NULL CHECK (value_per_point >= 0),
    reason          text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author          text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    run_id          text NOT NULL
);
CREATE INDEX point_value_history ON loyalty.point_value (currency, valid_from, value_no);
COMMENT ON TABLE loyalty.point_value IS
    'What one point is worth in a currency, for reports, append-only. To correct one, enter '
    'another for the same instant: the last entered counts.';
COMMENT ON COLUMN loyalty.point_value.value_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.point_value.currency IS 'Currency, ISO 4217.';
COMMENT ON COLUMN loyalty.point_value.valid_from IS
    'In force from this instant until the next one of the currency.';
COMMENT ON COLUMN loyalty.point_value.value_per_point IS
    'Worth of one point in whole currency units: 0.10 is a tenth of a kwanza.';
COMMENT ON COLUMN loyalty.point_value.reason IS 'Why. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.point_value.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.point_value.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.point_value.run_id IS 'Command that entered it.';
CREATE TRIGGER point_value_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.point_value
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE FUNCTION audit.on_point_value() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('points.value', 'success', 'value of a point in ' || NEW.currency,
        jsonb_build_object('value_no', NEW.value_no, 'value_per_point', NEW.value_per_point::text,
                           'valid_from', NEW.valid_from, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_point_value() IS 'Records what a point is worth from now on.';
CREATE TRIGGER point_value_audited AFTER INSERT ON loyalty.point_value
    FOR EACH ROW EXECUTE FUNCTION audit.on_point_value();

CREATE VIEW analytics.point_value AS
SELECT currency, value_per_point, valid_from,
       lead(valid_from) OVER (PARTITION BY currency ORDER BY valid_from) AS valid_to
FROM (
    SELECT DISTINCT ON (currency, valid_from) currency, valid_from, value_per_point
    FROM loyalty.point_value ORDER BY currency, valid_from, value_no DESC
) entered;
COMMENT ON VIEW analytics.point_value IS 'One row per currency and time with one worth of a point.';
COMMENT ON COLUMN analytics.point_value.currency IS 'Currency, ISO 4217.';
COMMENT ON COLUMN analytics.point_value.value_per_point IS
    'Worth of one point in whole currency units.';
COMMENT ON COLUMN analytics.point_value.valid_from IS 'First instant.';
COMMENT ON COLUMN analytics.point_value.valid_to IS 'First instant after it; null: open.';

CREATE VIEW analytics.redemption_value AS
SELECT r.redemption_id, r.member_id, r.redeemed_at, r.points, v.currency, v.value_per_point,
       r.points * v.value_per_point AS amount
FROM analytics.redemption r
JOIN analytics.point_value v
  ON r.redeemed_at >= v.valid_from AND (v.valid_to IS NULL OR r.redeemed_at < v.valid_to)
WHERE r.state = 'redeemed';
COMMENT ON VIEW analytics.redemption_value IS
    'One row per redemption that stands and currency in which a point has a worth: what the spent '
    'points were worth when they were spent.';
COMMENT ON COLUMN analytics.redemption_value.redemption_id IS 'Number of the redemption.';
COMMENT ON COLUMN analytics.redemption_value.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.redemption_value.redeemed_at IS 'When the points were spent.';
COMMENT ON COLUMN analytics.redemption_value.points IS 'Points spent.';
COMMENT ON COLUMN analytics.redemption_value.currency IS 'Currency of value_per_point and amount.';
COMMENT ON COLUMN analytics.redemption_value.value_per_point IS
    'Worth of one point then, in whole currency units.';
COMMENT ON COLUMN analytics.redemption_value.amount IS
    'points times value_per_point, in whole currency units, not rounded.';

GRANT SELECT ON analytics.point_value, analytics.redemption_value TO analyst;
