-- How many points expire in each month to come: too much to compute at each question.

CREATE TABLE loyalty.expiring_month (
    month       date PRIMARY KEY,
    points      bigint NOT NULL CHECK (points >= 0),
    members     bigint NOT NULL CHECK (members >= 0),
    computed_at timestamptz NOT NULL
);
COMMENT ON TABLE loyalty.expiring_month IS
    'Points that expire per month, if nothing moves until then. Made anew once a day by the flow '
    'refresh-analytics; this month is always there, where points expire at all.';
COMMENT ON COLUMN loyalty.expiring_month.month IS
    'First day of the month of the last day on which they can be spent, in the time zone of the '
    'program.';
COMMENT ON COLUMN loyalty.expiring_month.points IS
    'Points that expire. What is spent or taken back meanwhile is set against those that expire '
    'first.';
COMMENT ON COLUMN loyalty.expiring_month.members IS 'Members of whom points expire.';
COMMENT ON COLUMN loyalty.expiring_month.computed_at IS 'As of when.';
GRANT SELECT ON loyalty.expiring_month TO twezah_api;
GRANT SELECT ON loyalty.expiring_month TO twezah_panel;
GRANT DELETE, INSERT, MAINTAIN, SELECT, UPDATE ON loyalty.expiring_month TO twezah_worker;

CREATE VIEW analytics.expiring_month AS
SELECT month, points, members, computed_at FROM loyalty.expiring_month;
COMMENT ON VIEW analytics.expiring_month IS
    'One row per month to come in which points expire, if nothing moves until then. As of the last '
    'look, once a day; empty where points do not expire.';
COMMENT ON COLUMN analytics.expiring_month.month IS
    'First day of the month of the last day on which they can be spent, in the time zone of the '
    'program.';
COMMENT ON COLUMN analytics.expiring_month.points IS 'Points that expire.';
COMMENT ON COLUMN analytics.expiring_month.members IS 'Members of whom points expire.';
COMMENT ON COLUMN analytics.expiring_month.computed_at IS 'As of when.';
GRANT SELECT ON analytics.expiring_month TO analyst;
GRANT SELECT ON analytics.expiring_month TO twezah_api;
GRANT SELECT ON analytics.expiring_month TO twezah_panel;
GRANT SELECT ON analytics.expiring_month TO twezah_worker;
