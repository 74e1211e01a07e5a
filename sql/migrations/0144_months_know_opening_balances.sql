-- Points of an earlier program that were imported (0096) are kinds of movement of their own. Without
-- a line for them no month could be reported once there were any.
CREATE OR REPLACE VIEW loyalty.movement_kind AS
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
    ('opening balance', 'corrected', 'corrected'),
    ('opening balance void', 'corrected', 'corrected'),
    ('expiry', 'expired', 'expired'),
    ('redemption', 'spent', 'spent'),
    ('redemption reversal', 'spent', 'spent')
) AS kinds(kind, added_line, taken_line);
COMMENT ON COLUMN analytics.liability_month.corrected_points IS
    'Refunds, credit notes, voids, edits, points by hand, and points of an earlier program.';
