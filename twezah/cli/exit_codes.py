"""What the exit codes of every command mean."""

from typing import Final

OK: Final = 0
#: A run failed, or the answer to the question is no.
FAILED: Final = 1
USAGE: Final = 2
#: Someone must act first: not connected, credentials rejected, permission missing.
NEEDS_OPERATOR: Final = 3
#: Port taken, database or Prefect down, disk full.
ENVIRONMENT: Final = 4
INTERRUPTED: Final = 130
