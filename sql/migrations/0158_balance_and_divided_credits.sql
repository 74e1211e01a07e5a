-- Events make adjustments many. The balance of one member finds theirs by the index
-- adjustment_member, as it does redemptions: an owner is named for every member.
CREATE OR REPLACE VIEW loyalty.member_balance AS
SELECT member_id,
       sum(points)::bigint                             AS balance_points,
       coalesce(sum(points) FILTER (WHERE points > 0 AND spent = 0), 0)::bigint AS added_points,
       coalesce(-sum(points) FILTER (WHERE points < 0 AND spent = 0), 0)::bigint
           AS taken_back_points,
       count(posted_at)                                AS entries,
       max(posted_at)                                  AS last_posted_at,
       sum(spent)::bigint                              AS spent_points,
       sum(held)::bigint                               AS held_points,
       greatest(sum(points) - sum(held) - sum(pending), 0)::bigint AS available_points,
       sum(pending)::bigint                            AS pending_points
FROM (
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, 0::bigint AS pending, posted_at
    FROM loyalty.award_entry
    UNION ALL
    SELECT o.owner_id AS member_id, a.points, 0::bigint AS spent, 0::bigint AS held,
           0::bigint AS pending, a.posted_at
    FROM loyalty.adjustment a JOIN loyalty.member_owner o USING (member_id)
    UNION ALL
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, 0::bigint AS pending, posted_at
    FROM loyalty.expiry_entry
    UNION ALL
    SELECT o.owner_id AS member_id, s.points, -s.points AS spent, 0::bigint AS held,
           0::bigint AS pending, s.posted_at
    FROM loyalty.redemption_step s JOIN loyalty.member_owner o USING (member_id)
    WHERE s.points <> 0
    UNION ALL
    SELECT o.owner_id AS member_id, 0::bigint AS points, 0::bigint AS spent, r.points AS held,
           0::bigint AS pending, NULL::timestamptz AS posted_at
    FROM loyalty.redemption r JOIN loyalty.member_owner o USING (member_id)
    WHERE r.hold_ends_at > now() AND NOT EXISTS (
        SELECT FROM loyalty.redemption_step s WHERE s.redemption_id = r.redemption_id)
    UNION ALL
    SELECT member_id, 0::bigint AS points, 0::bigint AS spent, 0::bigint AS held,
           points AS pending, NULL::timestamptz AS posted_at
    FROM loyalty.pending_sale
) posted
GROUP BY member_id;

-- What a billing system left over when it divided a credit among sales finds its sale anew.
SELECT loyalty.mark_dirty(ARRAY(
    SELECT DISTINCT member_id FROM billing.invoice
    WHERE member_id IS NOT NULL AND kind IN ('credit_note', 'refund')
      AND amount_refunded_minor > 0 AND amount_refunded_minor < total_minor));
