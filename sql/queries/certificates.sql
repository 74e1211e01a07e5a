-- name: issue
-- Enters a certificate.
INSERT INTO loyalty.erasure_certificate (member_id, members, reason, author, erased, remains,
    not_reached, run_id)
VALUES (%(member_id)s, %(members)s, %(reason)s, %(author)s, %(erased)s, %(remains)s,
    %(not_reached)s, %(run_id)s) RETURNING certificate_no
-- name: of_members
-- Certificates that name one of these members.
SELECT certificate_no, member_id, members, reason, author, erased, remains, not_reached, issued_at,
       run_id
FROM loyalty.erasure_certificate WHERE members && %(members)s::bigint[] ORDER BY certificate_no
