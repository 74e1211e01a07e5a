-- Who is told of changes by webhook: the loyalty app's servers, and what was sent to each.
CREATE TABLE loyalty.receiver (
    receiver_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    message_prefix    text COLLATE "C" NOT NULL UNIQUE CHECK (message_prefix ~ '^[a-z0-9]{12}$'),
    url               text NOT NULL CHECK (url ~ '^https?://' AND length(url) <= 2000),
    kinds             text[] NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz,
    end_reason        text,
    failures          integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since     timestamptz,
    resting_until     timestamptz,
    last_error        text CHECK (length(last_error) <= 300),
    last_delivered_at timestamptz
);
COMMENT ON TABLE loyalty.receiver IS
    'Addresses that are told of changes by webhook, signed per Standard Webhooks.';
COMMENT ON COLUMN loyalty.receiver.receiver_no IS 'Number of the receiver.';
COMMENT ON COLUMN loyalty.receiver.name IS 'What operators call it.';
COMMENT ON COLUMN loyalty.receiver.message_prefix IS
    'What the ids of its messages begin with, behind msg_: those of two installations differ.';
COMMENT ON COLUMN loyalty.receiver.url IS 'Where messages go. Holds no user, password or query.';
COMMENT ON COLUMN loyalty.receiver.kinds IS 'Kinds of changes that it is told; empty: all.';
COMMENT ON COLUMN loyalty.receiver.created_at IS 'When it was entered first.';
COMMENT ON COLUMN loyalty.receiver.ended_at IS 'From then on it is told nothing; null: in use.';
COMMENT ON COLUMN loyalty.receiver.end_reason IS 'Why: an operator, or its own answer 410.';
COMMENT ON COLUMN loyalty.receiver.failures IS 'Attempts that failed since the last success.';
COMMENT ON COLUMN loyalty.receiver.failing_since IS 'When the first of them was.';
COMMENT ON COLUMN loyalty.receiver.resting_until IS
    'Nothing is sent before: it asked for that, or failed several times in a row.';
COMMENT ON COLUMN loyalty.receiver.last_error IS 'Why the last attempt failed that did.';
COMMENT ON COLUMN loyalty.receiver.last_delivered_at IS 'When it last accepted a message.';

CREATE TABLE loyalty.receiver_secret (
    secret_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    receiver_no      bigint NOT NULL REFERENCES loyalty.receiver,
    secret_encrypted bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz
);
CREATE INDEX receiver_secret_receiver ON loyalty.receiver_secret (receiver_no);
COMMENT ON TABLE loyalty.receiver_secret IS
    'Secrets that messages are signed with, encrypted. While several are in force, each signs.';
COMMENT ON COLUMN loyalty.receiver_secret.secret_no IS 'Number of the secret.';
COMMENT ON COLUMN loyalty.receiver_secret.receiver_no IS 'Receiver.';
COMMENT ON COLUMN loyalty.receiver_secret.secret_encrypted IS
    'The secret, encrypted with the installation''s key.';
COMMENT ON COLUMN loyalty.receiver_secret.created_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.receiver_secret.expires_at IS
    'It signs until then; null: until it is replaced.';

CREATE TABLE loyalty.delivery (
    receiver_no     bigint NOT NULL REFERENCES loyalty.receiver,
    change_no       bigint NOT NULL REFERENCES loyalty.change,
    state           text NOT NULL DEFAULT 'pending'
                    CHECK (state IN ('pending', 'delivered', 'parked')),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    queued_at       timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    http_status     integer,
    error           text CHECK (length(error) <= 300),
    finished_at     timestamptz,
    PRIMARY KEY (change_no, receiver_no),
    CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX delivery_due ON loyalty.delivery (receiver_no, next_attempt_at, change_no)
    WHERE state = 'pending';
CREATE INDEX delivery_parked ON loyalty.delivery (receiver_no, change_no) WHERE state = 'parked';
CREATE INDEX delivery_finished ON loyalty.delivery (finished_at) WHERE state = 'delivered';
COMMENT ON TABLE loyalty.delivery IS
    'What was, or is to be, sent to each receiver: one row per receiver and change.';
COMMENT ON COLUMN loyalty.delivery.receiver_no IS 'Receiver.';
COMMENT ON COLUMN loyalty.delivery.change_no IS 'Change.';
COMMENT ON COLUMN loyalty.delivery.state IS
    'pending: it is (still) tried; delivered: accepted; parked: given up until somebody replays '
    'it.';
COMMENT ON COLUMN loyalty.delivery.attempts IS 'How often it was sent.';
COMMENT ON COLUMN loyalty.delivery.queued_at IS 'Since when it is tried.';
COMMENT ON COLUMN loyalty.delivery.next_attempt_at IS
    'When it is due. While it is being sent: when it is due again if the sender dies.';
COMMENT ON COLUMN loyalty.delivery.http_status IS 'Answer to the last attempt; null: none came.';
COMMENT ON COLUMN loyalty.delivery.error IS 'Why the last attempt failed.';
COMMENT ON COLUMN loyalty.delivery.finished_at IS 'When it was accepted or given up.';

CREATE FUNCTION loyalty.queue_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.delivery (receiver_no, change_no)
    SELECT r.receiver_no, p.change_no FROM published p
    JOIN loyalty.receiver r
      ON r.ended_at IS NULL AND (r.kinds = '{}' OR p.kind = ANY(r.kinds))
    ORDER BY p.change_no;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.queue_deliveries IS
    'Queues published changes for every receiver that wants their kind.';
CREATE TRIGGER change_queued AFTER INSERT ON loyalty.change
    REFERENCING NEW TABLE AS published FOR EACH STATEMENT
    EXECUTE FUNCTION loyalty.queue_deliveries();

CREATE FUNCTION audit.on_receiver() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(
        CASE WHEN TG_OP = 'INSERT' THEN 'receiver.create'
             WHEN NEW.ended_at IS NOT NULL AND OLD.ended_at IS NULL THEN 'receiver.end'
             ELSE 'receiver.change' END,
        'success', 'receiver ' || NEW.name,
        jsonb_build_object('receiver_no', NEW.receiver_no, 'kinds', to_jsonb(NEW.kinds),
                           'host', split_part(NEW.url, '/', 3), 'why', NEW.end_reason));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_receiver IS 'Records what happens to receivers of webhooks.';
CREATE TRIGGER receiver_audited AFTER INSERT ON loyalty.receiver
    FOR EACH ROW EXECUTE FUNCTION audit.on_receiver();
CREATE TRIGGER receiver_change_audited AFTER UPDATE OF url, kinds, ended_at ON loyalty.receiver
    FOR EACH ROW WHEN (OLD.url IS DISTINCT FROM NEW.url OR OLD.kinds IS DISTINCT FROM NEW.kinds
                       OR OLD.ended_at IS DISTINCT FROM NEW.ended_at)
    EXECUTE FUNCTION audit.on_receiver();

CREATE FUNCTION audit.on_receiver_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('receiver.secret', 'success', 'receiver ' || r.name,
        jsonb_build_object('receiver_no', NEW.receiver_no, 'secret_no', NEW.secret_no))
    FROM loyalty.receiver r WHERE r.receiver_no = NEW.receiver_no;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_receiver_secret IS 'Records that a signing secret was entered.';
CREATE TRIGGER receiver_secret_audited AFTER INSERT ON loyalty.receiver_secret
    FOR EACH ROW EXECUTE FUNCTION audit.on_receiver_secret();

CREATE VIEW analytics.delivery AS
SELECT r.name AS receiver, d.change_no, c.kind, c.member_id, d.state, d.attempts, d.queued_at,
       c.happened_at, d.http_status, d.error, d.finished_at
FROM loyalty.delivery d JOIN loyalty.receiver r USING (receiver_no)
JOIN loyalty.change c USING (change_no);
GRANT SELECT ON analytics.delivery TO analyst;
COMMENT ON VIEW analytics.delivery IS
    'One row per change and receiver: whether and when the loyalty app was told by webhook.';
COMMENT ON COLUMN analytics.delivery.receiver IS 'Name of the receiver.';
COMMENT ON COLUMN analytics.delivery.change_no IS 'Position in the feed.';
COMMENT ON COLUMN analytics.delivery.kind IS 'points.changed, tier.changed, ...';
COMMENT ON COLUMN analytics.delivery.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.delivery.state IS 'pending, delivered or parked.';
COMMENT ON COLUMN analytics.delivery.attempts IS 'How often it was sent.';
COMMENT ON COLUMN analytics.delivery.queued_at IS 'Since when it is tried.';
COMMENT ON COLUMN analytics.delivery.happened_at IS 'When the change was entered.';
COMMENT ON COLUMN analytics.delivery.http_status IS 'Answer to the last attempt.';
COMMENT ON COLUMN analytics.delivery.error IS 'Why the last attempt failed.';
COMMENT ON COLUMN analytics.delivery.finished_at IS 'When it was accepted or given up.';
