"""Parameters of a run that hold personal data: taken out of Prefect once the run has read them."""

from typing import Final

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

#: What stands in their place.
FORGOTTEN: Final = "(taken out)"


def forget_parameters(*names: str) -> None:
    """Replaces parameters of this run in Prefect's database, whatever becomes of the run.

    Raises httpx.HTTPError where Prefect's server does not answer: then nothing was done yet.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    parameters = {**context.flow_run.parameters, **dict.fromkeys(names, FORGOTTEN)}
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, parameters=parameters)
