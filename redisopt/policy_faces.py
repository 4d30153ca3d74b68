"""What the classes have in common that are policies by themselves: a function is called under them, or decorated with them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from redisopt.commands import Plan, invoke
from redisopt.faces import AsyncClosing, Closing
from redisopt.functions import check_function
from redisopt.policies import Policy
from redisopt.runner import AsyncRunner, Runner

P = ParamSpec("P")
R = TypeVar("R")


class _Around:
    """What goes on around a call."""

    def policy(self) -> Policy:
        """What goes on around a call, for a pipeline."""
        raise NotImplementedError

    def _policy_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:  # noqa: ARG002 - most do not depend on them
        """What goes on around a call with these arguments."""
        return self.policy()

    def _plan(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan[Any]:
        inner = functools.partial(invoke, function, *args, **kwargs)
        return self._policy_for(args, kwargs).around(inner)


class PolicyFace(_Around, Closing):
    """One for threads."""

    _runner: Runner

    def execute(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function(*args, **kwargs)`` under this policy, and return its result.

        Raises:
            ValueError: it is no function, or a coroutine function, which needs the Async class.
            Whatever `function` raises, and what the policy does.
        """
        check_function(function, "function", awaited=False, instead=f"an Async{type(self).__name__}")
        result: R = self._runner.run(self._plan(function, args, kwargs))
        return result

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a function: each call of it goes as by `execute`."""
        check_function(function, "function", awaited=False, instead=f"an Async{type(self).__name__}")

        @functools.wraps(function)
        def under_policy(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = self._runner.run(self._plan(function, args, kwargs))
            return result

        return under_policy

    def close(self) -> None:
        """Close the client's idle links, unless another primitive uses them."""
        self._runner.close()


class AsyncPolicyFace(_Around, AsyncClosing):
    """One for asyncio: the twin of `PolicyFace`."""

    _runner: AsyncRunner

    async def execute(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `PolicyFace.execute`, awaited. A plain function is called in the event loop."""
        check_function(function, "function", awaited=None)
        result: R = await self._runner.run(self._plan(function, args, kwargs))
        return result

    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorate a coroutine function: each call of it goes as by `execute`."""
        check_function(function, "function", awaited=True, instead=f"a {type(self).__name__.removeprefix('Async')}")

        @functools.wraps(function)
        async def under_policy(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = await self._runner.run(self._plan(function, args, kwargs))
            return result

        return under_policy

    async def aclose(self) -> None:
        """Close the client's idle links, unless another primitive uses them."""
        await self._runner.aclose()
