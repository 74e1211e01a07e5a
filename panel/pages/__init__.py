"""The pages of Prefect's UI that are about all connections: Billing systems and Sync status."""
