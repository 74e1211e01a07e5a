"""Custom systems: signed as their block says; whole documents, or ids only."""

from connectors.kit.described.webhooks import webhook_from

__all__ = ["webhook_from"]
