"""A Prefect process worker that starts flow runs from a preloaded forkserver.

`python -m twezah.worker --pool billing` serves any `process` work pool; `prefect worker start`
serves the same pool and the same deployments. Code is preloaded once: restart the worker after a
change to profit from it again (until then, runs of changed files are started cold, with a line on
stderr saying so).
"""
