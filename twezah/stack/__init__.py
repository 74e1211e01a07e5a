"""The local stack, started and supervised.

Its parts are the embedded PostgreSQL, Prefect's server, the caretaker, a worker, the HTTP API and,
if wanted, the simulator.
"""
