"""Test Connection tries the servers that a synchronisation asks."""

from typing import Any

import pytest
from pydantic import SecretStr

import panel.connect.check as module
from connectors import spec_for
from connectors.kit.http.probe import Reached
from connectors.kit.spec import Account
from panel.connect.check import CheckReport
from tests.support.vendors import NETSUITE_TBA, key_pair

COMPANY = "https://1234567.suitetalk.api.netsuite.com"


def servers(account: Account, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are tried for this account."""
    asked: list[str] = []

    def reached(url: str, **_: Any) -> Reached:
        asked.append(url)
        return Reached(200, 1, None)

    monkeypatch.setattr(module, "reach", reached)
    report = CheckReport("netsuite", account.system, account.account)
    module._check_reachable(report, account, spec_for(account))
    return asked


def netsuite(login: str, **secrets: SecretStr) -> Account:
    return Account(
        "netsuite", "1234567", client_id="id", options={"login": login, "certificate_id": "c"},
        secrets=secrets,
    )  # fmt: skip


def test_the_vendors_own_token_server_is_that_of_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its address has a place for the account, which stayed in braces."""
    account = netsuite("machine_to_machine", private_key=SecretStr(key_pair("P-256")[0]))
    asked = servers(account, monkeypatch)
    assert all(url.startswith(COMPANY) for url in asked)
    assert not any("{" in url for url in asked)


def test_signed_requests_need_no_token_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = servers(netsuite("token_based", **NETSUITE_TBA), monkeypatch)
    assert asked == [COMPANY]
