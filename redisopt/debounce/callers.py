"""The callers of one process that wait for windows with a function: which of them speaks for a window, and who leaves last."""

from __future__ import annotations

import itertools
import threading

from redisopt.debounce.layout import Place
from redisopt.identity import next_permit_id, process_id

_numbers = itertools.count(1)


class Holder:
    """Callers of one key, of this process, that wait together: in Redis they are one.

    Where the last of them that waits for a window gives up, the next caller is of another holder: so what the last one says
    cannot be taken for that of a caller that came meanwhile.

    Attributes:
        id: under which they wait.
        joining: how many of them do not know their window yet.
        waiting: those of each window, in order of calling.
        unanswered: attempts to take each window whose answer never came.
    """

    __slots__ = ("id", "joining", "unanswered", "waiting")

    def __init__(self, holder: str) -> None:
        self.id = holder
        self.joining = 0
        self.waiting: dict[str, list[Caller]] = {}
        self.unanswered: dict[str, list[str]] = {}


class Caller:
    """One call.

    Attributes:
        holder: with whom it waits.
        joining: the id of its call.
        window: that it waits for, "" until it is known.
    """

    __slots__ = ("holder", "joining", "window")

    def __init__(self, holder: Holder, joining: str) -> None:
        self.holder = holder
        self.joining = joining
        self.window = ""


class Callers:
    """Those of one debouncer in this process. Thread-safe; a forked child begins without any."""

    def __init__(self) -> None:
        self._number = next(_numbers)
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._open: dict[str, Holder] = {}  # whom the next caller of each key joins

    def enter(self, place: Place) -> Caller:
        """Somebody calls for a key. Who does so waits with those of the same key, under one id."""
        if self._process != process_id():
            self._begin()  # a forked child: its parent's callers are not here
        with self._lock:
            holder = self._open.get(place.window)
            if holder is None:
                holder = self._open[place.window] = Holder(f"{process_id()}.{self._number}.{next(_numbers)}")
            holder.joining += 1
        return Caller(holder, next_permit_id())

    def wait(self, caller: Caller, window: str) -> None:
        """A caller is in its window."""
        with self._lock:
            caller.window = window
            caller.holder.joining -= 1
            caller.holder.waiting.setdefault(window, []).append(caller)

    def is_newest(self, caller: Caller) -> bool:
        """Whether it was the last one to call for its window: it speaks for it."""
        with self._lock:
            return caller.holder.waiting[caller.window][-1] is caller

    def leave(self, place: Place, caller: Caller) -> tuple[str, list[str]] | None:
        """A caller waits no more. Where it was the last one, which window nobody waits for, and attempts that were not answered."""
        holder = caller.holder
        with self._lock:
            if not caller.window:
                holder.joining -= 1
            else:
                holder.waiting[caller.window].remove(caller)
                if holder.waiting[caller.window]:
                    return None
                del holder.waiting[caller.window]
            attempts = holder.unanswered.pop(caller.window, []) if caller.window else [caller.joining]
            if holder.joining and caller.window:
                return "-", attempts  # who joins may wait for the same window
            which = caller.window or "-"
            if not holder.waiting and not holder.joining:
                which = ""
            if which != "-" and self._open.get(place.window) is holder:
                del self._open[place.window]  # who comes now is another holder, and is not told to leave with this one
            return which, attempts or [""]  # "": nothing is to be given back

    def attempt(self, holder: Holder, window: str) -> str:
        """The id under which a window is to be taken: that of an attempt that was not answered, if there is one."""
        with self._lock:
            unanswered = holder.unanswered.get(window)
            return unanswered.pop() if unanswered else next_permit_id()

    def unanswered(self, holder: Holder, window: str, attempt: str) -> None:
        """An attempt was not answered: it may have taken the window."""
        with self._lock:
            holder.unanswered.setdefault(window, []).append(attempt)
