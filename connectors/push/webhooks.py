"""Systems that only send: signed as their block says, with whole documents."""

from connectors.kit.described.webhooks import webhook_from

__all__ = ["webhook_from"]
