-- What became of the subscriptions that the program makes at billing systems with an API for it.
CREATE TABLE billing.webhook_subscription (
    connection text COLLATE "C" PRIMARY KEY,
    system     text COLLATE "C" NOT NULL,
    state      text NOT NULL CHECK (state IN (
        'subscribed', 'waiting', 'elsewhere', 'paused', 'by hand', 'not needed', 'no address',
        'off', 'failed')),
    detail     text NOT NULL DEFAULT '',
    vendor_ids text[] NOT NULL DEFAULT '{}',
    expires_at timestamptz,
    basis      text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at    timestamptz NOT NULL
);
COMMENT ON TABLE billing.webhook_subscription IS
    'Subscriptions of webhooks that the program makes and keeps alive at the billing system, one '
    'row per connection. No secrets: those are in billing.webhook_secret.';
COMMENT ON COLUMN billing.webhook_subscription.connection IS 'Connection (Prefect block).';
COMMENT ON COLUMN billing.webhook_subscription.system IS 'Billing system.';
COMMENT ON COLUMN billing.webhook_subscription.state IS
    'subscribed; waiting: the vendor''s verification is under way; elsewhere: the subscription of '
    'another connection serves it; paused: a person paused it at the vendor; by hand: the vendor '
    'lets no program do it for this account; not needed: the account has no use for webhooks; no '
    'address: this installation has no public https address; off: switched off in the block; '
    'failed: see detail.';
COMMENT ON COLUMN billing.webhook_subscription.detail IS
    'What is wrong and who must act, without personal data or secrets; empty: nothing.';
COMMENT ON COLUMN billing.webhook_subscription.vendor_ids IS
    'The vendor''s ids of subscriptions that the program made or changed, and whose secret is '
    'stored.';
COMMENT ON COLUMN billing.webhook_subscription.expires_at IS
    'When the first of them ends unless it is renewed; null: they do not end.';
COMMENT ON COLUMN billing.webhook_subscription.basis IS
    'The settings of the last check: with others, the next one is due at once.';
COMMENT ON COLUMN billing.webhook_subscription.checked_at IS 'When the vendor was asked last.';
COMMENT ON COLUMN billing.webhook_subscription.next_at IS 'When the next check is due.';
