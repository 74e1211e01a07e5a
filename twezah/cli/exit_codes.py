"""What the exit codes of every command mean."""

from typing import Final

#: The command did what it was asked for.
OK: Final = 0
#: A run failed, or the answer to the question is no.
FAILED: Final = 1
#: An option or an argument is wrong; typer ends with the same code.
USAGE: Final = 2
#: Someone must act first: not connected, credentials rejected, permission missing.
NEEDS_OPERATOR: Final = 3
#: Port taken, database or Prefect down, disk full.
ENVIRONMENT: Final = 4
#: Ctrl-C or SIGTERM; shells use 128 plus the number of the signal.
INTERRUPTED: Final = 130
