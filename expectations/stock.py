"""Great Expectations' own expectations, except that each builds its configuration only once.

That is half of what a validation costs, however few rows it has.

The stock ones make it anew at each of some forty questions per expectation and validation.
Subclassing them is the way the library names for expectations of one's own; a subclass is
registered by its name. The configuration of an expectation with parameters is built each time: the
library writes a validation's parameters into it, and those of one validation must never decide the
next.
"""

from functools import cache
from typing import Any

from pydantic.v1 import PrivateAttr


@cache
def expectation(name: str) -> Any:
    """The class of a stock expectation, such as `expect_column_values_to_not_be_null`."""
    from great_expectations.expectations.registry import (
        get_expectation_impl,  # seconds: see `expectations.run`
    )

    stock: Any = get_expectation_impl(name)

    def configuration(self: Any) -> Any:
        if self._kept is not None:
            return self._kept
        built = stock.configuration.fget(self)
        if not self.suite_parameter_options:
            self._kept = built
        return built

    body = {
        "__module__": __name__,
        "__doc__": stock.__doc__,
        "_kept": PrivateAttr(default=None),
        "configuration": property(configuration),
    }
    return type(stock)(f"Settled{stock.__name__}", (stock,), body)
