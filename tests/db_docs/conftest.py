"""A migrated database with a little of everything the guides ask about."""

from collections.abc import Iterator

import psycopg
import pytest

from settings import Settings
from sql.analytics import refresh
from sql.migrate import migrate
from twezah.stack.postgres import running

#: Two members, a sale that was refunded in part, one that went void, a credit note, a reject that
#: is open and one that is resolved, a run that worked and one that failed, and points spent.
SEED = """
INSERT INTO billing.sync_run (system, account, run_id, state, started_at, finished_at, summary,
    error) VALUES
  ('xero', 'T1', 'run-1', 'stored', now() - interval '2 days',
      now() - interval '2 days' + interval '3 s',
   '{"fetched": 5, "new": 4, "changed": 0, "rejected": 1, "entries": 4, "points": 4300}', NULL),
  ('xero', 'T1', 'run-2', 'failed', now() - interval '1 day', now() - interval '1 day', NULL,
      'Transient: ...');
INSERT INTO billing.raw_page (sync_id, system, account, stream, page_no, record_count, request,
    content_type, body_bytes,
                              body_zstd, fetched_at)
  SELECT min(sync_id), 'xero', 'T1', 'invoices', 1, 5, '{}', 'application/json', 2, '\\x00', now()
  FROM billing.sync_run;
INSERT INTO loyalty.member (phone) VALUES ('+244923456789'), ('+244923000001'), ('+244923000002');
INSERT INTO loyalty.member_tier (member_id, tier, valid_from)
  SELECT member_id, 'gold', now() - interval '200 days' FROM loyalty.member
  WHERE phone = '+244923000001';
INSERT INTO billing.invoice (system, account, external_id, invoice_number, kind, member_id,
    currency, total_minor,
    subtotal_minor, tax_minor, amount_refunded_minor, status, issued_at, updated_at, page_id,
    record_no, sync_id)
  SELECT 'xero', 'T1', d.id, d.number, d.kind, m.member_id, 'AOA', d.total, d.total, 0, d.refunded,
         d.status,
         now() - d.age, now() - interval '2 days', 1, ascii(d.id) - ascii('a'), 1
  FROM (VALUES ('a', 'INV-0001', 'invoice', '+244923456789', 15000, 5000, 'paid',
      interval '40 days'),
               ('b', 'INV-0002', 'invoice', '+244923456789', 20000, 0, 'void', interval '20 days'),
               ('c', 'INV-0003', 'sale', '+244923000001', 10000, 0, 'open', interval '70 days'),
               ('d', 'CN-1', 'credit_note', '+244923000002', 3000, 0, 'paid', interval '5 days'))
       AS d(id, number, kind, phone, total, refunded, status, age)
  JOIN loyalty.member m ON m.phone = d.phone;
INSERT INTO billing.invoice_line (page_id, record_no, line_no, sku, name, quantity, unit_price,
    amount_minor)
  VALUES (1, 0, 1, 'ATW-5L', 'Água Twezah 5L', 3, 50, 15000),
      (1, 2, 1, NULL, 'Entrega', 1, 100, 10000);
INSERT INTO loyalty.award_entry (system, account, external_id, member_id, entry_no, due_before,
    due_after, points, reason,
    breakdown, net_minor, currency, tier, program_version, event_at, posted_at, run_id)
  SELECT 'xero', 'T1', e.id, i.member_id, e.no, e.before, e.after, e.after - e.before, e.reason,
         e.breakdown::jsonb, 0, 'AOA',
         e.tier, 1, i.issued_at, now() - interval '1 day', 'run-1'
  FROM (VALUES ('a', 1, 0, 1500, 'award', '{"base": 1500}', 'lead'),
               ('a', 2, 1500, 1000, 'refund', '{"base": 1000}', 'lead'),
               ('b', 1, 0, 2000, 'award', '{"base": 2000}', 'lead'),
               ('b', 2, 2000, 0, 'void', '{"base": 0}', 'lead'),
               ('c', 1, 0, 1500, 'award', '{"base": 1000, "tier": 500}', 'gold'),
               ('d', 1, 0, -300, 'award', '{"base": -300}', 'lead'))
       AS e(id, no, before, after, reason, breakdown, tier)
  JOIN billing.invoice i ON i.external_id = e.id ORDER BY e.id, e.no;
INSERT INTO loyalty.redemption (idempotency_key, member_id, points, reference, reason, requested_at,
    requested_by, run_id)
  SELECT 'k', member_id, 400, 'order 1', 'Free bottle', now(), 'key', 'api'
  FROM loyalty.member WHERE phone = '+244923456789';
INSERT INTO loyalty.redemption_step (redemption_id, step, member_id, points, posted_at, posted_by,
    run_id)
  SELECT redemption_id, 'redeemed', member_id, -points, now(), 'key', 'api' FROM loyalty.redemption;
INSERT INTO loyalty.program SELECT (jsonb_populate_record(p, jsonb_build_object('version', 2,
    'valid_from', now() - interval '1 year', 'expiry', '{"months": 12}'::jsonb))).*
  FROM loyalty.program p WHERE version = 1;
INSERT INTO loyalty.point_value (currency, valid_from, value_per_point, reason, author, run_id)
  VALUES ('AOA', now() - interval '1 year', 0.1, 'Budget', 'Rui', 'command');
INSERT INTO billing.reject (system, account, stream, record_key, external_id, reason, problems,
    page_id, record_no,
                            first_sync_id, last_sync_id, first_seen_at, resolved_at)
  VALUES ('xero', 'T1', 'invoices', 'x', 'x', 'Customer phone: missing', '[]', 1, 3, 1, 1,
      now() - interval '2 days', NULL),
         ('xero', 'T1', 'invoices', 'y', 'y', 'Total: missing', '[]', 1, 4, 1, 1,
             now() - interval '2 days', now());
"""


@pytest.fixture(scope="session")
def guide_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The installation of the seeded database."""
    return Settings(home=tmp_path_factory.mktemp("guides"))


@pytest.fixture(scope="session")
def guide_database(guide_settings: Settings) -> Iterator[str]:
    """URL of the seeded database, alive for the session."""
    with running(guide_settings) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute(SEED.encode())
            connection.commit()
            refresh(connection)
        yield dsn


@pytest.fixture
def analyst(guide_database: str) -> Iterator[psycopg.Connection]:
    """A connection that may do what an analyst may."""
    with psycopg.connect(guide_database) as connection:
        connection.execute("SET ROLE analyst")
        yield connection
        connection.rollback()
