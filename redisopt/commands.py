"""What a decision is made of: steps, and plans that yield them.

A *command* is frozen data: which script, which keys and arguments, how to read the reply. A *plan* is a generator that
yields steps and returns a result. Every decision of every primitive is a plan; it never touches a socket, and no clock but
the monotonic one of its process, to bound its own waiting, so it is tested by feeding it replies. A runner (see `runner`) performs the steps, in a thread or in an event loop.

A plan is sequential: it waits for one step before it yields the next. Cancellation, Ctrl-C and errors arrive inside the
plan, at the step that was under way, so that its `except BaseException` can give back what it holds. When the coroutine
that awaits a plan is closed, nothing can be performed any more: the plan ends at the step that it is at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

R = TypeVar("R")

Arg = str | int | bytes


class Command(NamedTuple, Generic[R]):
    """One call of a script: the unit of input and output. A tuple, since one is built for every decision.

    Attributes:
        script: file name in `lua/`, without its ending.
        keys: the KEYS, all in one hash slot.
        args: the ARGV that this call has for itself.
        constants: the ARGV behind those, which all calls alike have; packed only once.
        parse: turns the reply (bytes, int, list) into what the plan gets.
        once: whether the script must take effect once even when the call is sent again: the runner then puts a lane and
            the call's number in it before `args`, and the script answers a number that it knows from memory.
        undo: for such a command: the script that takes it back, called with the same keys and arguments when the caller
            is interrupted while the reply is under way, and so will never know what it was granted.
        replicas: how many replicas have to have what was written, before the plan goes on; else `Unavailable` is raised, and what was
            written stays. 0 asks none.
    """

    script: str
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], R]
    constants: tuple[Arg, ...] = ()
    once: bool = False
    undo: str | None = None
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let `seconds` pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let `seconds` pass, or less: until there is word for a permit, or for all on a channel. The answer is the message, or None.

    Attributes:
        permit: the id that messages name; whoever waits under it is woken, and of a permit, a window or a worker that may
            be several.
        seconds: at most so long.
        channel: of the limiter, whose messages wake all that wait for it.
        heard: whether messages come from Redis; else only from this process.
        attentive: whether messages on `channel` that come between two such waits under one id are kept for the next one:
            for who does something else meanwhile, as a worker does. Then the answer may be several messages, parted by
            spaces. A wait that is not attentive ends that.
    """

    permit: str
    seconds: float
    channel: str | None = None
    heard: bool = True
    attentive: bool = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Have messages arrive, those on `channel` too: before a call after which there may be word for us at once."""

    channel: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call a function, the user's above all; the async runner awaits what it returns.

    Attributes:
        final: whether it gives back what the plan holds, and so is called also where nobody waits for the plan any more.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """Perform a plan of its own, and wait for it no longer than `seconds`.

    A task's plan is cancelled then, and gives back what it holds. A thread cannot be interrupted: the plan goes on in the thread
    that it got for itself; where it would wait or call a function next, it learns that nobody waits any more.

    Raises (inside the plan that yields it):
        OperationTimeout: it is not over.
    """

    plan: Callable[[], Plan[Any]]
    seconds: float


class Abandoned(BaseException):
    """Nobody waits for the plan any more: it is to give back what it holds, and to end."""


class Stopped(Exception):
    """A StopIteration, or in threads a GeneratorExit, that the user's function raised, on its way through the plans.

    No generator can raise a StopIteration: it would end as a RuntimeError in the first `yield from`. And a GeneratorExit would tell
    the plans that they are closed, and may give nothing back any more. So they see this in its place, and the runner raises
    `error` itself outside of them all.
    """

    def __init__(self, error: StopIteration | GeneratorExit) -> None:
        super().__init__(error)
        self.error = error


Step = Command[Any] | Sleep | Wait | Listen | Invoke | Within
Plan = Generator[Step, Any, R]


def call(command: Command[R]) -> Plan[R]:
    """Yield one command and return its parsed reply, whose type a bare ``yield`` would lose."""
    return cast("R", (yield command))


def sleep(seconds: float) -> Plan[None]:
    """Let `seconds` pass."""
    yield Sleep(seconds)


def invoke(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan[Any]:
    """Call the user's function and return its result."""
    return (yield Invoke(function, args, kwargs))
