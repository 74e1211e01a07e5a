from settings import settings
from sql import sealing
from sql.actor import resolve_with
from tasks.actor import of_this_run

# Whatever a run does is recorded as done by whoever started the run.
resolve_with(of_this_run)
# Stored bodies are sealed with the keys of this installation.
sealing.use(lambda: settings().data_keys())
