-- What moved the points owed, by lines of a roll-forward; and the reports that were made of it.

CREATE VIEW loyalty.movement_kind AS
SELECT kind, added_line, taken_line FROM (VALUES
    -- An award below zero is a credit note or refund that is a document of its own.
    ('award', 'earned', 'corrected'),
    ('edit', 'corrected', 'corrected'),
    ('refund', 'corrected', 'corrected'),
    ('void', 'corrected', 'corrected'),
    ('moved', 'corrected', 'corrected'),
    ('referral', 'corrected', 'corrected'),
    ('duplicate', 'corrected', 'corrected'),
    ('adjustment', 'corrected', 'corrected'),
    ('adjustment void', 'corrected', 'corrected'),
    ('expiry', 'expired', 'expired'),
    ('redemption', 'spent', 'spent'),
    ('redemption reversal', 'spent', 'spent')
) AS kinds(kind, added_line, taken_line);
COMMENT ON VIEW loyalty.movement_kind IS
    'In which line of the roll-forward each kind of movement (analytics.points_history) counts: '
    'earned, spent, expired or corrected. A kind that is not here is shown as unknown, and no '
    'report is made until a migration enters it.';
COMMENT ON COLUMN loyalty.movement_kind.kind IS 'As in analytics.points_history.';
COMMENT ON COLUMN loyalty.movement_kind.added_line IS 'Where it counts when it adds points.';
COMMENT ON COLUMN loyalty.movement_kind.taken_line IS 'Where it counts when it takes points.';

CREATE VIEW loyalty.movement AS
SELECT h.member_id, h.posted_at, h.event_at, h.kind, h.points, h.system, h.account,
       coalesce(CASE WHEN h.points > 0 THEN k.added_line ELSE k.taken_line END, 'unknown') AS line
FROM analytics.points_history h LEFT JOIN loyalty.movement_kind k USING (kind);
COMMENT ON VIEW loyalty.movement IS
    'Everything that moved a balance, with its line in the roll-forward.';
COMMENT ON COLUMN loyalty.movement.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.movement.posted_at IS 'When it was posted.';
COMMENT ON COLUMN loyalty.movement.event_at IS 'When the sale happened.';
COMMENT ON COLUMN loyalty.movement.kind IS 'As in analytics.points_history.';
COMMENT ON COLUMN loyalty.movement.points IS 'What it adds to the balance.';
COMMENT ON COLUMN loyalty.movement.system IS 'Billing system of the sale; null: of no sale.';
COMMENT ON COLUMN loyalty.movement.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.movement.line IS
    'earned, spent, expired or corrected; unknown: loyalty.movement_kind lacks the kind.';

CREATE TABLE loyalty.month_movement (
    month         date NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    line          text NOT NULL,
    points        bigint NOT NULL,
    entries       bigint NOT NULL,
    PRIMARY KEY (month, kind, line)
);
COMMENT ON TABLE loyalty.month_movement IS
    'Sums of loyalty.movement per month of posting. Made anew by the flow refresh-analytics.';
COMMENT ON COLUMN loyalty.month_movement.month IS
    'First day of the month, in the time zone of the program.';
COMMENT ON COLUMN loyalty.month_movement.kind IS 'As in loyalty.movement.';
COMMENT ON COLUMN loyalty.month_movement.line IS 'As in loyalty.movement.';
COMMENT ON COLUMN loyalty.month_movement.points IS 'Points added; negative: taken.';
COMMENT ON COLUMN loyalty.month_movement.entries IS 'How many movements.';

CREATE VIEW analytics.liability_month AS
SELECT month, (closing_points - moved)::bigint AS opening_points, earned_points, spent_points,
       expired_points, corrected_points, unknown_points, closing_points::bigint AS closing_points,
       entries
FROM (
    SELECT month, sum(points) AS moved, sum(sum(points)) OVER (ORDER BY month) AS closing_points,
           coalesce(sum(points) FILTER (WHERE line = 'earned'), 0)::bigint AS earned_points,
           coalesce(sum(points) FILTER (WHERE line = 'spent'), 0)::bigint AS spent_points,
           coalesce(sum(points) FILTER (WHERE line = 'expired'), 0)::bigint AS expired_points,
           coalesce(sum(points) FILTER (WHERE line = 'corrected'), 0)::bigint AS corrected_points,
           coalesce(sum(points) FILTER (WHERE line = 'unknown'), 0)::bigint AS unknown_points,
           sum(entries)::bigint AS entries
    FROM loyalty.month_movement GROUP BY month
) AS months;
COMMENT ON VIEW analytics.liability_month IS
    'One row per month: points owed at its start and end, and what changed them, by the date of '
    'posting. opening + earned + spent + expired + corrected = closing. As of the last refresh.';
COMMENT ON COLUMN analytics.liability_month.month IS
    'First day of the month, in the time zone of the program.';
COMMENT ON COLUMN analytics.liability_month.opening_points IS 'Points owed when it began.';
COMMENT ON COLUMN analytics.liability_month.earned_points IS 'Points for sales.';
COMMENT ON COLUMN analytics.liability_month.spent_points IS
    'Points spent (negative), less what was given back.';
COMMENT ON COLUMN analytics.liability_month.expired_points IS 'Points that expired (negative).';
COMMENT ON COLUMN analytics.liability_month.corrected_points IS
    'Refunds, credit notes, voids, edits, and points by hand.';
COMMENT ON COLUMN analytics.liability_month.unknown_points IS
    'Points of kinds that the report does not know yet; not 0: tell the developers.';
COMMENT ON COLUMN analytics.liability_month.closing_points IS 'Points owed when it ended.';
COMMENT ON COLUMN analytics.liability_month.entries IS 'Movements in the month.';
GRANT SELECT ON analytics.liability_month TO analyst;

CREATE TABLE loyalty.month_report (
    report_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month           date NOT NULL,
    opening_points  bigint NOT NULL,
    closing_points  bigint NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT now(),
    run_id          text NOT NULL
);
COMMENT ON TABLE loyalty.month_report IS
    'Month-end reports that were made, append-only: a later one must begin where it ended.';
COMMENT ON COLUMN loyalty.month_report.report_no IS 'Number of the report.';
COMMENT ON COLUMN loyalty.month_report.month IS 'First day of the month.';
COMMENT ON COLUMN loyalty.month_report.opening_points IS 'Points owed when the month began.';
COMMENT ON COLUMN loyalty.month_report.closing_points IS 'Points owed when the month ended.';
COMMENT ON COLUMN loyalty.month_report.made_at IS 'When it was made.';
COMMENT ON COLUMN loyalty.month_report.run_id IS 'Prefect flow run or command that made it.';
CREATE TRIGGER month_report_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.month_report
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
