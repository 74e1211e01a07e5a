"""`python -m benchmarks.chaos`: the whole stack under faults, compared with the simulator's books."""
