"""What the classes that users make have in common: a name, a config, and an end."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Self, TypeVar

C = TypeVar("C")


class Named(Generic[C]):
    """Something that processes share by its name."""

    _plans: Any

    @property
    def name(self) -> str:
        """What is shared: by all processes that use the same Redis and the same name."""
        name: str = self._plans.name
        return name

    @property
    def config(self) -> C:
        """What it goes by."""
        config: C = self._plans.config
        return config

    def __reduce__(self) -> Any:
        """Refuse to be pickled: connections cannot go to another process."""
        raise TypeError(f"{self!r} cannot be pickled: make one in each process, they share what they do by the name")

    def __repr__(self) -> str:
        """The name and the config."""
        return f"{type(self).__name__}({self.name!r}, {self.config!r})"


class Closing:
    """A context manager for threads, closed at the end of its block."""

    def close(self) -> None:
        """End what goes on in the background."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class AsyncClosing:
    """A context manager for asyncio, closed at the end of its block."""

    async def aclose(self) -> None:
        """End what goes on in the background."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()


class Face(Closing, Named[C]):
    """One for threads."""


class AsyncFace(AsyncClosing, Named[C]):
    """One for asyncio."""
