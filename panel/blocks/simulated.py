"""The blocks of the simulated accounts: what `--simulator` connects."""

from typing import Any

from pydantic import SecretStr

from connectors.kit.errors import block_name
from panel.blocks.consented import ConsentedConnection
from panel.blocks.described import CustomConnection
from panel.blocks.kinds import BLOCKS, account_field

#: Account, and at systems with a consent the paths of the token and the consent page, as the
#: simulator has them.
SIMULATED_ACCOUNTS = {
    "quickbooks": "9130350000000001",
    "xero": "b0a5c0de-0000-4000-8000-000000000001",
    "freshbooks": "TwZh01",
    "netsuite": "7654321_SB1",
    "sage_intacct": "AguaTwezah",
}
TOKEN_PATHS = {
    "quickbooks": "/oauth2/v1/tokens/bearer",
    "xero": "/connect/token",
    "freshbooks": "/auth/oauth/token",
    "sage_intacct": "/ia/api/v1/oauth2/token",
}
AUTHORIZE_PATHS = {
    "quickbooks": "/connect/oauth2",
    "xero": "/identity/connect/authorize",
    "freshbooks": "/oauth/authorize",
    "sage_intacct": "/ia/api/v1/oauth2/authorize",
}


def connect_simulator(base_url: str) -> None:
    """Connects every system that has no block yet to the simulator at `base_url`.

    Its credentials are public constants.
    """
    from panel.blocks.connected import connections  # which needs the blocks above

    present = connections()
    for system, account in SIMULATED_ACCOUNTS.items():
        if block_name(system) in present:
            continue
        values: dict[str, Any] = {
            "base_url": f"{base_url}/{system}",
            account_field(system): account,
        }
        if issubclass(BLOCKS[system], ConsentedConnection):
            values |= {
                "client_id": "sim-client",
                "client_secret": "sim-secret",
                "refresh_token": f"sim-refresh-{system}",
                "token_url": f"{base_url}/{system}{TOKEN_PATHS[system]}",
                "authorize_url": f"{base_url}/{system}{AUTHORIZE_PATHS[system]}",
            }
        elif system == "netsuite":
            values |= {
                "login": "token_based",
                "consumer_key": "sim-consumer-key",
                "consumer_secret": "sim-consumer-secret",
                "token_id": "sim-token-id",
                "token_secret": "sim-token-secret",
            }
        BLOCKS[system](**values).save(system)
    if "custom" not in present:
        CustomConnection(base_url=f"{base_url}/custom", api_key=SecretStr("sim-secret")).save(
            "custom"
        )
