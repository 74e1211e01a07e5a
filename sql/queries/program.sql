-- name: lock
-- One change of the rules at a time.
LOCK TABLE loyalty.program, loyalty.promotion IN SHARE ROW EXCLUSIVE MODE
-- name: add_program
-- Adds a version of the program.
INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier,
    rounding, basis, award_when, timezone,
    base_currency, categories, unlinked_credits, discount_lines, tier_policy, expiry, currency,
    per_full_minor, promotion_limits, pending, events, created_by)
VALUES (%(version)s, coalesce(%(valid_from)s, '-infinity'::timestamptz), %(base_rate_bps)s,
    %(tier_rate_bps)s, %(entry_tier)s, %(rounding)s,
    %(basis)s, %(award_when)s, %(timezone)s, %(base_currency)s, %(categories)s,
    %(unlinked_credits)s, %(discount_lines)s, %(tier_policy)s, %(expiry)s, %(currency)s,
    %(per_full_minor)s, %(promotion_limits)s, %(pending)s, %(events)s,
    %(created_by)s)
-- name: add_promotion
-- Adds a version of a promotion.
INSERT INTO loyalty.promotion (promotion_id, version, kind, parameters, valid_from, valid_to,
    created_by)
VALUES (%(promotion_id)s, %(version)s, %(kind)s, %(parameters)s, %(valid_from)s, %(valid_to)s,
    %(created_by)s)
-- name: record
-- Enters the change, with the file it came from.
INSERT INTO loyalty.program_change (author, reason, run_id, file_text, versions, reaches,
    recomputed, members, points)
VALUES (%(author)s, %(reason)s, %(run_id)s, %(file_text)s, %(versions)s, %(reaches)s,
    %(recomputed)s, %(members)s, %(points)s)
RETURNING change_id
-- name: concerned
-- Members whose points may depend on rules from an instant on.
SELECT member_id FROM (
    SELECT DISTINCT coalesce(o.owner_id, i.member_id) AS member_id
    FROM billing.invoice i LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
    WHERE i.member_id IS NOT NULL AND i.issued_at >= coalesce(%(since)s, '-infinity'::timestamptz)
    UNION
    SELECT DISTINCT coalesce(o.owner_id, a.member_id)
    FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o ON o.member_id = a.member_id
    WHERE a.event_at >= coalesce(%(since)s, '-infinity'::timestamptz)
    UNION
    SELECT DISTINCT o.owner_id
    FROM loyalty.member_event e JOIN loyalty.member_owner o USING (member_id)
    WHERE e.happened_at >= coalesce(%(since)s, '-infinity'::timestamptz)
    UNION
    SELECT r.referrer_id FROM loyalty.referral_owned r
    LEFT JOIN loyalty.merged_member o ON o.owner_id = r.friend_id
    JOIN billing.invoice i ON i.member_id IN (r.friend_id, o.member_id)
        AND i.issued_at >= coalesce(%(since)s, '-infinity'::timestamptz)
) m ORDER BY member_id
