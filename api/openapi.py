"""The published description of the API: what it says, and what holds every request to it."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api import problems

#: Senders of webhooks add parameters of their own to the address that they were told.
WEBHOOKS = "/api/webhooks/"


def short_id(route: APIRoute) -> str:
    """The operationId: the name of the function. A generated client names its own after it."""
    return route.name


def describe(app: FastAPI) -> None:
    """OpenAPI with the schema of problems, and without FastAPI's own of validation errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = generate()
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            described = problems.ProblemDetails.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            for way in (way for ways in made["paths"].values() for way in ways.values()):
                if "422" in way["responses"]:
                    way["responses"]["422"] = problems.described(422)[422]
            schemas.update(described.pop("$defs", {}))
            schemas["ProblemDetails"] = described
        return app.openapi_schema or generate()

    app.openapi = openapi  # type: ignore[method-assign]


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of all: refuses parameters of the address that the description does not name.

    Raises RequestValidationError. A misspelt filter would otherwise answer for everything.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    if route.path_format.startswith(WEBHOOKS):
        return
    paths: Mapping[str, Any] = request.app.openapi()["paths"]
    described = paths.get(route.path_format, {}).get(request.method.lower(), {})
    names = {each["name"] for each in described.get("parameters", ()) if each["in"] == "query"}
    unknown = sorted(set(request.query_params) - names)
    if unknown:
        # The name is repeated in `where`, no value.
        raise RequestValidationError(
            [{"loc": ("query", name[:100]), "msg": "There is no such parameter"}
             for name in unknown]
        )  # fmt: skip
