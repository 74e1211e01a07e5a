"""A part of the Admin API's schema: what can be asked, what it costs, how it is answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simulator.systems.shopify.language import Parser, QueryError, Selected, Variable

#: The longest list that may be asked for, and the most that a query may cost.
FIRST_MAX: Final = 250
COST_MAX: Final = 1000
_SCALAR: Final = ""
_MONEY: Final = dict.fromkeys(
    (
        *("totalPriceSet", "currentTotalPriceSet", "originalTotalPriceSet", "subtotalPriceSet"),
        *("currentSubtotalPriceSet", "totalTaxSet", "currentTotalTaxSet", "totalDiscountsSet"),
        *("totalShippingPriceSet", "totalRefundedSet", "totalReceivedSet", "netPaymentSet"),
        *("totalOutstandingSet", "totalTipReceivedSet"),
    ),
    "MoneyBag",
)


def _scalars(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), _SCALAR)


def _connection(node: str) -> dict[str, str]:
    return {"nodes": f"[{node}]", "edges": f"[{node}Edge]", "pageInfo": "PageInfo"}


#: Types with their fields, and the type of each; in brackets: a list.
TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "QueryRoot": {
        "orders": "OrderConnection",
        "order": "Order",
        "node": "Node",
        "nodes": "[Node]",
        "events": "EventConnection",
        "shop": "Shop",
        "webhookSubscriptions": "WebhookSubscriptionConnection",
    },
    "MutationRoot": {
        "webhookSubscriptionCreate": "WebhookSubscriptionCreatePayload",
        "webhookSubscriptionDelete": "WebhookSubscriptionDeletePayload",
    },
    "WebhookSubscriptionConnection": _connection("WebhookSubscription"),
    "WebhookSubscriptionEdge": {"cursor": _SCALAR, "node": "WebhookSubscription"},
    "WebhookSubscription": _scalars("id topic uri format createdAt"),
    "WebhookSubscriptionCreatePayload": {
        "webhookSubscription": "WebhookSubscription",
        "userErrors": "[UserError]",
    },
    "WebhookSubscriptionDeletePayload": {
        **_scalars("deletedWebhookSubscriptionId"),
        "userErrors": "[UserError]",
    },
    "UserError": _scalars("field message"),
    "Shop": _scalars("id name myshopifyDomain currencyCode ianaTimezone"),
    "Node": _scalars("id"),
    "PageInfo": _scalars("hasNextPage hasPreviousPage startCursor endCursor"),
    "OrderConnection": _connection("Order"),
    "OrderEdge": {"cursor": _SCALAR, "node": "Order"},
    "Order": {
        **_scalars(
            "id legacyResourceId name createdAt processedAt updatedAt cancelledAt cancelReason "
            "closedAt test currencyCode presentmentCurrencyCode taxesIncluded "
            "displayFinancialStatus email phone edited"
        ),
        **_MONEY,
        "customer": "Customer",
        "billingAddress": "MailingAddress",
        "shippingAddress": "MailingAddress",
        "lineItems": "LineItemConnection",
        "refunds": "[Refund]",
    },
    "Customer": {
        **_scalars("id legacyResourceId displayName updatedAt"),
        "defaultPhoneNumber": "CustomerPhoneNumber",
        "defaultEmailAddress": "CustomerEmailAddress",
        "defaultAddress": "MailingAddress",
    },
    "CustomerPhoneNumber": _scalars("phoneNumber"),
    "CustomerEmailAddress": _scalars("emailAddress"),
    "MailingAddress": _scalars("id phone name city country"),
    "MoneyBag": {"shopMoney": "MoneyV2", "presentmentMoney": "MoneyV2"},
    "MoneyV2": _scalars("amount currencyCode"),
    "LineItemConnection": _connection("LineItem"),
    "LineItemEdge": {"cursor": _SCALAR, "node": "LineItem"},
    "LineItem": {
        **_scalars("id sku title name quantity currentQuantity isGiftCard"),
        "originalUnitPriceSet": "MoneyBag",
        "discountedUnitPriceAfterAllDiscountsSet": "MoneyBag",
    },
    "Refund": {
        **_scalars("id legacyResourceId createdAt updatedAt"),
        "totalRefundedSet": "MoneyBag",
        "refundLineItems": "RefundLineItemConnection",
    },
    "RefundLineItemConnection": _connection("RefundLineItem"),
    "RefundLineItemEdge": {"cursor": _SCALAR, "node": "RefundLineItem"},
    "RefundLineItem": {
        **_scalars("id quantity"),
        "subtotalSet": "MoneyBag",
        "totalTaxSet": "MoneyBag",
        "lineItem": "LineItem",
    },
    "EventConnection": _connection("Event"),
    "EventEdge": {"cursor": _SCALAR, "node": "Event"},
    "Event": _scalars("id action createdAt message"),
    "BasicEvent": _scalars("id action createdAt message subjectId subjectType"),
}
#: The arguments that fields take.
_PAGED: Final = {"first", "after"}
ARGUMENTS: Final[Mapping[str, set[str]]] = {
    "orders": {*_PAGED, "query", "sortKey", "reverse"},
    "events": {*_PAGED, "query", "sortKey", "reverse"},
    "order": {"id"},
    "node": {"id"},
    "nodes": {"ids"},
    "lineItems": _PAGED,
    "refundLineItems": _PAGED,
    "refunds": {"first"},
    "webhookSubscriptions": _PAGED,
    "webhookSubscriptionCreate": {"topic", "webhookSubscription"},
    "webhookSubscriptionDelete": {"id"},
}
#: Gives the value of a field of the root, or one page of a connection's records: from the field's
#: name, its arguments, and the records (None at the root).
Resolve = Callable[[str, Mapping[str, Any], Any], Any]


@dataclass
class Query:
    """A query with the values of its variables; it is checked before anything is answered."""

    asked: Sequence[Selected]
    variables: Mapping[str, Any]
    fragments: Mapping[str, Selected]
    #: What it may cost, and what it did.
    requested_cost: int = 0
    actual_cost: int = 0
    #: The type at the root: QueryRoot or MutationRoot.
    root: str = "QueryRoot"

    @classmethod
    def read(cls, text: str, given: Mapping[str, Any]) -> "Query":
        """Parses and checks.

        Raises:
            QueryError: If it is none, asks for what there is not, or costs too much.
        """
        parser = Parser(text)
        asked = parser.document()
        query = cls(asked, {**parser.variables, **given}, parser.fragments)
        query.root = "MutationRoot" if parser.operation == "mutation" else "QueryRoot"
        query.requested_cost = query._cost(asked, query.root)
        if query.requested_cost > COST_MAX:
            message = f"Query cost is {query.requested_cost}, which exceeds the limit of {COST_MAX}"
            raise QueryError(message, "MAX_COST_EXCEEDED")
        return query

    def arguments(self, selected: Selected) -> dict[str, Any]:
        """A field's arguments, with the values of variables.

        Raises:
            QueryError: If it takes none of that name, or a variable is not declared.
        """
        values = {}
        for name, written in selected.arguments.items():
            value = written
            if name not in ARGUMENTS.get(selected.name, ()):
                message = f"Field '{selected.name}' doesn't accept argument '{name}'"
                raise QueryError(message, "argumentNotAccepted")
            if isinstance(value, Variable):
                if value.name not in self.variables:
                    message = f"Variable ${value.name} is used but not declared"
                    raise QueryError(message, "variableNotDefined")
                value = self.variables[value.name]
            values[name] = value
        return values

    def _cost(self, asked: Sequence[Selected], kind: str) -> int:
        """Scalars are free, an object costs one point, a list as many as it may hold."""
        cost = 0
        for selected in asked:
            if not selected.name:
                on, inner = self._fragment(selected)
                cost += self._cost(inner, on)
                continue
            if selected.name == "__typename":
                continue
            of = TYPES[kind].get(selected.name)
            if of is None:
                message = f"Field '{selected.name}' doesn't exist on type '{kind}'"
                raise QueryError(message, "undefinedField")
            arguments = self.arguments(selected)
            if (of == _SCALAR) == bool(selected.inner):
                message = f"Field '{selected.name}' must have selections, or must have none"
                raise QueryError(message, "selectionMismatch")
            if of == _SCALAR:
                continue
            below = self._cost(selected.inner, of.strip("[]"))
            if of.endswith("Connection"):
                # What stands beside the records is not there for each of them.
                beside = [one for one in selected.inner if one.name == "pageInfo"]
                once = self._cost(beside, of)
                cost += once + _first(selected.name, arguments) * (below - once)
            elif of.startswith("["):
                cost += _length(arguments) * (1 + below)
            else:
                cost += 1 + below
        return cost

    def _fragment(self, selected: Selected) -> tuple[str, Sequence[Selected]]:
        """The type of a fragment, and what is asked for of it."""
        named = self.fragments.get(selected.alias) if selected.alias else selected
        if named is None or named.on not in TYPES:
            raise QueryError("No such fragment, or no such type", "undefinedType")
        return named.on, named.inner

    def answer(self, resolve: Resolve) -> dict[str, Any]:
        """The data.

        Raises:
            QueryError: From `resolve`.
        """
        return self._object(self.asked, self.root, None, resolve)

    def _object(
        self, asked: Sequence[Selected], kind: str, value: Any, resolve: Resolve
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for selected in asked:
            if not selected.name:
                on, inner = self._fragment(selected)
                if on in (kind, value and value.get("__typename")):
                    answer |= self._object(inner, on, value, resolve)
                continue
            if selected.name == "__typename":
                answer[selected.alias] = (value or {}).get("__typename", kind)
                continue
            of = TYPES[kind][selected.name]
            held = value[selected.name] if value is not None else None
            if value is None or of.endswith("Connection") or selected.name == "refunds":
                held = resolve(selected.name, self.arguments(selected), held)
            answer[selected.alias] = self._value(selected, of, held, resolve)
        return answer

    def _value(self, selected: Selected, of: str, held: Any, resolve: Resolve) -> Any:
        if of == _SCALAR or held is None:
            return held
        kind = of.strip("[]")
        if isinstance(held, list):
            return [
                None if entry is None else self._counted(selected, kind, entry, resolve)
                for entry in held
            ]
        return self._counted(selected, kind, held, resolve)

    def _counted(self, selected: Selected, kind: str, held: Any, resolve: Resolve) -> Any:
        self.actual_cost += not kind.endswith("Connection")
        return self._object(selected.inner, kind, held, resolve)


def _first(name: str, arguments: Mapping[str, Any]) -> int:
    first = arguments.get("first")
    if not isinstance(first, int) or first < 0:
        message = f"you must provide one of first or last on '{name}'"
        raise QueryError(message, "missingArgument")
    if first > FIRST_MAX:
        raise QueryError(f"first must be at most {FIRST_MAX} on '{name}'", "invalidArgument")
    return first


def _length(arguments: Mapping[str, Any]) -> int:
    """How long a plain list may be: as many as ids are given, or as are asked for."""
    ids = arguments.get("ids")
    if isinstance(ids, list):
        if len(ids) > FIRST_MAX:
            raise QueryError(f"at most {FIRST_MAX} ids", "invalidArgument")
        return len(ids)
    return int(arguments.get("first") or 1)
