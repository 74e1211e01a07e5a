-- What analysts read names nobody: not by a document's number, a customer's number or free text.

CREATE FUNCTION billing.names_person(said text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT said ~ '[^[:space:]@]+@[^[:space:]@]+\.[[:alpha:]]'
        OR said ~ '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}'
        OR said ~ '(^|[^0-9])00[1-9]([ ().\-/]{0,3}[0-9]){9,14}($|[^0-9])'
        OR said ~ '(^|[^0-9])(244[ ().\-]{0,3})?9[1-9]([ ().\-]?[0-9]){7}($|[^0-9])'
        OR said COLLATE "default"
           ~ '[[:upper:]][[:lower:]]{2,}([ ._-]+[[:lower:]]{1,3})?[ ._-]+[[:upper:]][[:lower:]]{2,}'
$$;
COMMENT ON FUNCTION billing.names_person(text) IS
    'Whether a number or id looks like a phone, an e-mail address or a name in two words.';

CREATE FUNCTION billing.without_contacts(said text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(said,
        '[^[:space:]@"]+@[^[:space:]@"]+\.[[:alpha:]]+', '(masked)', 'g'),
        '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}', '(masked)', 'g'),
        '(^|[^0-9])00[1-9]([ ().\-/]{0,3}[0-9]){9,14}(?![0-9])', '\1(masked)', 'g'),
        '(^|[^0-9])(244[ ().\-]{0,3})?9[1-9]([ ().\-]?[0-9]){7}(?![0-9])', '\1(masked)', 'g')
$$;
COMMENT ON FUNCTION billing.without_contacts(text) IS
    'A text that a program wrote, without phones and e-mail addresses in it.';

CREATE FUNCTION billing.json_without_contacts(said jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Numbers outside of quotation marks are amounts and counts: they stay.
    SELECT regexp_replace(regexp_replace(regexp_replace(said::text,
        '[^[:space:]@"]+@[^[:space:]@"]+\.[[:alpha:]]+', '(masked)', 'g'),
        '\+[ (]*[1-9]([ ().\-/]{0,3}[0-9]){7,14}', '(masked)', 'g'),
        '"(00)?(244)?[ ]?9[1-9]([ ().\-]?[0-9]){7}"', '"(masked)"', 'g')::jsonb
$$;
COMMENT ON FUNCTION billing.json_without_contacts(jsonb) IS
    'Details of an operation, without phones and e-mail addresses in their texts.';

CREATE FUNCTION billing.sees_persons() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT has_column_privilege('loyalty.member', 'phone', 'SELECT')
       AND coalesce(current_setting('twezah.hide_persons', true), '') <> 'on'
$$;
COMMENT ON FUNCTION billing.sees_persons() IS
    'Whether who asks may read phones, and so everything. The setting twezah.hide_persons = on '
    'hides persons from them as well; it shows nobody anything.';

CREATE TABLE billing.common_text (
    digest uuid PRIMARY KEY
);
COMMENT ON TABLE billing.common_text IS
    'Texts that people typed (product names, reasons) and that concern three members or more: '
    'such a text is about nobody, and analysts see it. Made anew by the flow refresh-analytics.';
COMMENT ON COLUMN billing.common_text.digest IS 'MD5 of the text.';

-- As before, with the points counted in the view: analysts may not read documents'' ids.
CREATE OR REPLACE VIEW analytics.refused_correction AS
SELECT r.reject_id, r.system, r.account, r.stream, r.external_id, i.invoice_number, i.member_id,
       r.reason,
       CASE WHEN i.external_id IS NOT NULL THEN (
           SELECT coalesce(sum(e.points), 0)::bigint
           FROM billing.invoice s
           LEFT JOIN loyalty.merged_member o ON o.member_id = s.member_id
           JOIN loyalty.award_entry e ON e.member_id IN (s.member_id, o.owner_id)
               AND (e.external_id, e.account, e.system) = (s.external_id, s.account, s.system)
           WHERE (s.external_id, s.account, s.system) = (r.external_id, r.account, r.system)
       ) END AS points_at_stake,
       r.first_seen_at, r.last_seen_at, r.times_seen, r.resolved_at
FROM billing.reject r
LEFT JOIN billing.invoice i
    ON (i.external_id, i.account, i.system) = (r.external_id, r.account, r.system)
WHERE r.class = 'correction';

-- Each view that shows a number or a text is put into another one that hides what names a person.
-- What is shown instead of an id is as unique as the id: it can be joined, and leads to nobody.
DO $do$
DECLARE
    shown record;
    document text := $$coalesce((
        SELECT 'hidden-' || i.page_id || '-' || i.record_no FROM billing.invoice i
        WHERE (i.external_id, i.account, i.system) = (t.%s, t.%s, t.%s)), 'hidden')$$;
    hidden text;
    expression text;
    list text;
BEGIN
    CREATE TEMPORARY TABLE hiding ON COMMIT DROP AS
    SELECT v.view_name, c.column_name, v.kind, v.stands_for
    FROM (VALUES
        ('sale', 'external_id,invoice_number', 'id', 'external_id,account,system'),
        ('sale', 'original_external_id', 'id', 'original_external_id,account,system'),
        ('sale_line', 'external_id,invoice_number', 'id', 'external_id,account,system'),
        ('award', 'external_id,invoice_number', 'id', 'external_id,account,system'),
        ('award_rule', 'external_id', 'id', 'external_id,account,system'),
        ('points_history', 'external_id', 'id', 'external_id,account,system'),
        ('refused_correction', 'external_id,invoice_number', 'id', 'external_id,account,system'),
        ('sale_note', 'external_id', 'id', 'external_id,account,system'),
        ('left_out_sale', 'external_id,invoice_number', 'id', 'external_id,account,system'),
        ('left_out_sale', 'by_external_id,by_invoice_number', 'id',
         'by_external_id,by_account,by_system'),
        ('reject', 'external_id,file', 'id', ''),
        ('sale_line', 'sku', 'id', ''),
        ('sale_line', 'name', 'typed', ''),
        ('adjustment', 'reason', 'typed', ''),
        ('consent', 'reason', 'typed', ''),
        ('points_history', 'reason', 'typed', ''),
        ('redemption', 'reference,reason,released_why', 'typed', ''),
        ('reject', 'reason', 'message', ''),
        ('refused_correction', 'reason', 'message', ''),
        ('sync', 'error', 'message', ''),
        ('sync_attempt', 'error', 'message', ''),
        ('webhook', 'reason,first_reason', 'message', ''),
        ('sale_note', 'note', 'message', ''),
        ('audit', 'error,subject', 'message', ''),
        ('delivery', 'error', 'message', ''),
        ('audit', 'details', 'json', ''),
        ('change', 'data', 'json', '')
    ) AS v(view_name, column_names, kind, stands_for)
    CROSS JOIN LATERAL unnest(string_to_array(v.column_names, ',')) AS c(column_name);

    FOR shown IN
        SELECT c.oid, c.relname::text AS name, pg_get_viewdef(c.oid) AS definition,
               bool_or(a.attname = 'member_id') AS has_member
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind = 'v'
          AND c.relname::text IN (SELECT view_name FROM hiding)
        GROUP BY c.oid ORDER BY c.oid
    LOOP
        list := '';
        FOR hidden, expression IN
            SELECT a.attname, CASE h.kind
                WHEN 'id' THEN format(
                    'CASE WHEN (SELECT billing.sees_persons()) OR (billing.names_person(t.%1$I) %2$s)'
                    ' IS NOT TRUE THEN t.%1$I ELSE %3$s END', a.attname,
                    CASE WHEN shown.has_member THEN format(
                        $$OR t.%1$I ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND EXISTS (
                            SELECT FROM loyalty.member m WHERE m.member_id = t.member_id AND
                            strpos(regexp_replace(t.%1$I, '[^0-9]', '', 'g'), right(m.phone, 8)) > 0)
                        $$, a.attname) ELSE '' END,
                    CASE WHEN h.stands_for = '' THEN '''hidden'''
                    ELSE format(document, VARIADIC string_to_array(h.stands_for, ',')) END)
                WHEN 'typed' THEN format(
                    'CASE WHEN (SELECT billing.sees_persons()) THEN t.%1$I'
                    ' WHEN EXISTS (SELECT FROM billing.common_text c'
                    ' WHERE c.digest = md5(t.%1$I)::uuid)'
                    ' THEN billing.without_contacts(t.%1$I) END', a.attname)
                WHEN 'message' THEN format(
                    'CASE WHEN (SELECT billing.sees_persons()) THEN t.%1$I'
                    ' ELSE billing.without_contacts(t.%1$I) END', a.attname)
                WHEN 'json' THEN format(
                    'CASE WHEN (SELECT billing.sees_persons()) THEN t.%1$I'
                    ' ELSE billing.json_without_contacts(t.%1$I - ''reason'') END', a.attname)
                ELSE format('t.%I', a.attname) END
            FROM pg_attribute a
            LEFT JOIN hiding h ON h.view_name = shown.name AND h.column_name = a.attname
            WHERE a.attrelid = shown.oid AND a.attnum > 0 ORDER BY a.attnum
        LOOP
            list := list || CASE WHEN list = '' THEN '' ELSE ', ' END
                || expression || format(' AS %I', hidden);
        END LOOP;
        EXECUTE format('CREATE OR REPLACE VIEW analytics.%I AS SELECT %s FROM (%s) t', shown.name,
                       list, rtrim(shown.definition, '; '));
    END LOOP;
END $do$;

-- Of the tables behind the views: all columns but those.
DO $do$
DECLARE
    hidden record;
BEGIN
    FOR hidden IN
        SELECT c.oid::regclass AS name, string_agg(quote_ident(a.attname), ', ') AS columns
        FROM (VALUES
            ('billing.invoice', '{external_id,invoice_number,customer_external_id,reference_ids,'
             'original_external_id,seen_page_id}'::text[]),
            ('billing.invoice_line', '{name,item_external_id,sku}'),
            ('loyalty.award_entry', '{external_id}'),
            ('loyalty.promotion_claim', '{external_id}'),
            ('loyalty.program', '{created_by}'),
            ('loyalty.promotion', '{created_by}'),
            ('loyalty.member_tier', '{recorded_by}'),
            ('loyalty.referral', '{recorded_by}'),
            ('loyalty.member_merge', '{reason,recorded_by}'),
            ('loyalty.program_change', '{author,reason,file_text}'),
            ('loyalty.sale_precedence', '{author,reason}'),
            ('loyalty.redemption', '{reference,reason,requested_by,idempotency_key}'),
            ('loyalty.redemption_step', '{reason,posted_by,idempotency_key}'),
            ('loyalty.point_value', '{author,reason}'),
            ('loyalty.change', '{data}')
        ) AS h(table_name, columns)
        JOIN pg_class c ON c.oid = to_regclass(h.table_name)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attname <> ALL (h.columns)
        WHERE has_table_privilege('analyst', c.oid, 'SELECT')
        GROUP BY c.oid
    LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM analyst', hidden.name);
        EXECUTE format('GRANT SELECT (%s) ON %s TO analyst', hidden.columns, hidden.name);
    END LOOP;
END $do$;
