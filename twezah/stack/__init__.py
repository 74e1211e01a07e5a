"""The local stack: embedded PostgreSQL, Prefect server, deployments, worker, simulator.

And their supervision.
"""
