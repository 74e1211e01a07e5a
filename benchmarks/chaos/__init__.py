"""`python -m benchmarks.chaos`: the stack under faults, compared with the books."""
