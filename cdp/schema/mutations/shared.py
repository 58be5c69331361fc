"""What mutations and subscriptions share: one input, one payload, docstrings that become public descriptions."""

from collections.abc import Callable
from inspect import getdoc
from typing import Annotated, Any, TypeVar, dataclass_transform

import strawberry

T = TypeVar("T")
Given = Annotated[T, strawberry.argument(name="input", description="All the mutation needs.")]


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def input_type(cls: type[T]) -> type[T]:
    """Make a GraphQL input of a class; its docstring is the description."""
    return strawberry.input(cls, description=cls.__doc__)


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def one_of(cls: type[T]) -> type[T]:
    """Make a GraphQL input of which exactly one member is given; its docstring is the description."""
    return strawberry.input(cls, description=cls.__doc__, one_of=True)


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def output_type(cls: type[T]) -> type[T]:
    """Make a GraphQL type of a class that resolvers fill; its docstring is the description."""
    return strawberry.type(cls, description=cls.__doc__)


def mutation(resolver: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Make a mutation of a resolver; its docstring is the description."""
    return strawberry.mutation(resolver, description=getdoc(resolver))


def subscription(resolver: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Make a subscription of a resolver; its docstring is the description."""
    return strawberry.subscription(resolver, description=getdoc(resolver))


@input_type
class MutationInput:
    """Any mutation's input."""

    client_mutation_id: str | None = strawberry.field(
        default=None, description="Any text of the client's own; it comes back in the payload."
    )


@output_type
class MutationPayload:
    """Any mutation's payload."""

    client_mutation_id: str | None = strawberry.field(
        default=None, description="What the client sent as clientMutationId."
    )
