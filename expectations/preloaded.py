"""Great Expectations set up, by the import alone: for the process that runs are forked from.

Every run would spend half a second of CPU on it. No thread is started, and no connection opened.
"""

from expectations.run import preload

preload()
