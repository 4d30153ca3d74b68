"""What the headers of an API's response say of its limits: how long nobody should call, and what is left.

Understood, whatever the case of the names:

    Retry-After: 30                                    seconds, also 2.0, or an HTTP-date; retry-after-ms: milliseconds
    RateLimit: "default";r=50;t=30                     draft-ietf-httpapi-ratelimit-headers, 08 and later
    RateLimit-Policy: "default";q=100;w=60
    RateLimit: limit=100, remaining=50, reset=30       draft 07, with RateLimit-Policy: 100;w=60
    RateLimit-Limit: 100, 100;w=60                     older drafts, with RateLimit-Remaining and RateLimit-Reset
    X-RateLimit-Remaining: 0                           and -Limit, -Reset, -Reset-After; also written X-Rate-Limit-...
    x-ratelimit-remaining-tokens: 149984               any name before or after: a limit of its own
    anthropic-ratelimit-requests-remaining: 999

A reset is told from its looks: a number below 10^9 is seconds from now (that would be 31 years), from there on an epoch in
seconds, from 10^11 in milliseconds, from 10^14 in microseconds, from 10^17 in nanoseconds; else it is a duration (6m0s,
20ms), an RFC 3339 timestamp or an HTTP-date. Points in time are counted from the response's own Date, so that neither
clock has to be right.

What a server sends is data: what cannot be read is logged at debug level and ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Protocol

from redisopt.events import logger

MAX_PAUSE = 86400.0
"""Seconds; a server that asks for more is asked again after a day."""

MAX_RESET = 400 * 86400.0
"""Seconds; a little over a year. What lies further ahead counts as this, and a longer window as not told."""

MAX_COUNT = 10**15
"""The integers of structured fields end there. More than this counts as not told."""

MAX_VALUE = 8192
"""Characters of a header, all its lines together; what goes beyond is ignored."""

MAX_POLICIES = 64
"""Policies of one response; what goes beyond is ignored."""

_ASKED = {"retry-after-ms": "ms", "x-ms-retry-after-ms": "ms", "retry-after": "", "x-ratelimit-retry-after": ""}
"""Headers that ask for a pause, the finest first, and their unit as a duration has it."""

_EPOCHS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0))
"""Numbers from the first on are epochs, of which a second has the second."""

_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"([0-9]{1,19})(?:\.[0-9]*)?")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h|d))+")
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h|d)")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^",;]++|[,;]', re.DOTALL)
_LONGEST_ITEM = 100  # characters of a number, a date or a duration
_LONGEST_NAME = 256
_ASCTIME = 24  # characters, always


class HasItems(Protocol):
    """The headers of a library: of requests, httpx, aiohttp, urllib, and any dict."""

    def items(self) -> Iterable[tuple[str | bytes, str | bytes]]:
        """Names and values; a name may come more than once."""


Headers = HasItems | Iterable[tuple[str | bytes, str | bytes]]
"""What `read_headers` takes: an object with `items()`, or pairs such as those of ASGI."""


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """One limit, as far as the headers tell of it; None is what they do not tell.

    Attributes:
        name: the server's: ``"default"``, ``"requests"``, ``"input-tokens"``; ``""`` where it has none.
        limit: units per window.
        remaining: units left; what is less than a whole one is not.
        reset: seconds until they are back, from 0.0 to `MAX_RESET`: a quota may be one of months.
        window: seconds.
        unit: ``"requests"``, ``"tokens"``, or the `qu` of a RateLimit-Policy, such as ``"content-bytes"``.
    """

    name: str = ""
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    window: float | None = None
    unit: str = "requests"


@dataclass(frozen=True, slots=True)
class Advice:
    """What a response says of its limits.

    Attributes:
        pause: seconds that nobody should call; 0.0: none. At most `MAX_PAUSE`.
        limit: of the tightest policy: the one of those in requests (of all, where none is) with the least remaining.
        remaining: of the same policy.
        reset: of the same policy, in seconds.
        policies: every limit that the headers tell of, in their order. At most `MAX_POLICIES`.
    """

    pause: float
    limit: int | None
    remaining: int | None
    reset: float | None
    policies: tuple[QuotaPolicy, ...]


def read_headers(headers: Headers, status: int | None = None, *, now: datetime | None = None) -> Advice:
    """What a response says of its limits.

    The pause is what Retry-After asks for. Without it, it lasts until the last exhausted policy resets; where none is
    exhausted and yet the response is a 429, until that one resets which has the smallest share left. (Likewise a 503, but
    only by policies that do not say what is left: with something left, the limits are not what is wrong.)

    Give the status where there is one. With a status below 400 a Retry-After does not count: it says when to ask for the
    result of a 202, or comes with every response, as some frameworks send it.

    Args:
        headers: of the response, in any of the usual forms; names and values may be bytes.
        status: its status code, if known.
        now: when it came, with a time zone. Only used for points in time where the response has no Date. Default: now.

    Raises:
        ValueError: an argument is not what it should be. Never because of what the server sent.
    """
    if status is not None and (isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599):  # noqa: PLR2004
        raise ValueError(f"status must be a status code from 100 to 599, or None, not {status!r}")
    if now is not None and (not isinstance(now, datetime) or now.utcoffset() is None):
        raise ValueError(f"now must be a datetime with a time zone, or None, not {now!r}")
    lines = _lines(headers)
    age = _number(lines.get("age", [""])[0].strip()) or 0.0
    sent = _moment(lines.get("date", [""])[0].strip())
    clock = (sent or now or datetime.now(UTC)).timestamp() + (age if sent else 0.0)
    if age > 0:
        # Draft, 7.3: what a cache has kept says nothing about now.
        logger.debug("limits in a response that was %s s in a cache are ignored", age)
        policies: tuple[QuotaPolicy, ...] = ()
    else:
        policies = _policies(lines, clock)
    tightest = min(policies, key=_tightness, default=QuotaPolicy())
    pause = _pause(_asked(lines, clock), policies, status)
    return Advice(pause, tightest.limit, tightest.remaining, tightest.reset, policies)


# --- the advice


def _tightness(policy: QuotaPolicy) -> tuple[bool, bool, float]:
    told = policy.remaining is not None
    return (policy.unit != "requests", not told, policy.remaining if policy.remaining is not None else 0)


def _share_left(policy: QuotaPolicy) -> float:
    """Tokens and requests can only be compared by their shares."""
    return policy.remaining / policy.limit if policy.remaining is not None and policy.limit else 1.0


def _pause(asked: float | None, policies: tuple[QuotaPolicy, ...], status: int | None) -> float:
    refused = status is None or status >= HTTPStatus.BAD_REQUEST  # or may be
    with_reset = [policy for policy in policies if policy.reset is not None]
    if asked is not None and refused:
        pause = asked
    elif exhausted := [policy for policy in with_reset if policy.remaining == 0]:
        pause = max(policy.reset or 0.0 for policy in exhausted)
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        pause = min(with_reset, key=_share_left, default=QuotaPolicy()).reset or 0.0
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        pause = max((policy.reset or 0.0 for policy in with_reset if policy.remaining is None), default=0.0)
    else:
        pause = 0.0
    if pause > MAX_PAUSE:
        logger.warning("a response asks for a pause of %.0f s: taken as %.0f s", pause, MAX_PAUSE)
        return MAX_PAUSE
    return pause


def _asked(lines: dict[str, list[str]], clock: float) -> float | None:
    for name, unit in _ASKED.items():
        told = [_seconds(name, line.strip() + unit, clock, _seconds_asked) for line in lines.get(name, ())]
        if readable := [seconds for seconds in told if seconds is not None]:
            return max(readable)
    return None


# --- what was given


def _lines(headers: Any) -> dict[str, list[str]]:
    """The headers that may matter, by their names in lower case; each line of one that came more than once."""
    if hasattr(headers, "headers"):
        # Before anything is iterated: that would read the body.
        raise ValueError(f"headers must be headers, not a {type(headers).__name__}: give its .headers")
    if headers is None or isinstance(headers, str | bytes | bytearray):
        raise ValueError(f"headers must be a mapping or pairs of names and values, not {headers!r:.100}")
    try:
        pairs = iter(headers.items() if hasattr(headers, "items") else headers)
    except TypeError:
        raise ValueError(f"headers must be a mapping or pairs of names and values, not {headers!r:.100}") from None
    lines: dict[str, list[str]] = {}
    sizes: Counter[str] = Counter()
    for pair in pairs:
        if isinstance(pair, str | bytes) or not hasattr(pair, "__len__") or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise ValueError(f"headers must be pairs of names and values, not of {pair!r:.100}")
        name, value = (_text(part) for part in pair)
        if name is None or len(name) > _LONGEST_NAME:
            continue
        name = name.strip().lower()
        if name not in _ASKED and name not in {"date", "age"} and "ratelimit" not in name and "rate-limit" not in name:
            continue
        if value is None or sizes[name] + len(value) > MAX_VALUE:
            logger.debug("header %s is ignored: no text, or over %d characters", name, MAX_VALUE)
        elif value.strip():
            sizes[name] += len(value)
            lines.setdefault(name, []).append(value)
    return lines


def _text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, bytes):
        return part.decode("latin-1")  # as HTTP has it; every byte is a character
    is_short = isinstance(part, float) or (isinstance(part, int) and part.bit_length() <= 64)  # noqa: PLR2004
    return str(part) if is_short else None  # a dict written by hand


# --- policies


def _policies(lines: dict[str, list[str]], clock: float) -> tuple[QuotaPolicy, ...]:
    """Each limit that is told of. Headers with the same words around "ratelimit" tell of one."""
    families: dict[tuple[str, str], dict[str, str]] = {}
    for name, texts in lines.items():
        prefix, found, rest = name.replace("rate-limit", "ratelimit").partition("ratelimit")
        words = rest.strip("-").split("-")
        role = next((word for word in words if word in {"limit", "remaining", "reset", "policy", ""}), None)
        if not found or role is None:
            continue
        words.remove(role)
        text = ", ".join(texts)
        if role == "reset" and "ms" in words:
            words.remove("ms")
            text += "ms"
        elif role == "reset" and "after" in words:
            words.remove("after")
            role = "reset-after"
        families.setdefault((prefix, "-".join(words)), {})[role] = text
    policies = [policy for (_, family), texts in families.items() for policy in _of_family(family, texts, clock)]
    if len(policies) > MAX_POLICIES:
        logger.debug("of %d policies in one response all but %d are ignored", len(policies), MAX_POLICIES)
    return tuple(policies[:MAX_POLICIES])


def _of_family(family: str, texts: dict[str, str], clock: float) -> list[QuotaPolicy]:
    """What is left of each limit, with the quota that belongs to it; then the quotas of which nothing else is told."""
    quotas = [_quota(*item) for item in _items(texts.get("policy", ""))]
    # Of `100, 100;w=60` the first is the limit in force, and no policy.
    quotas += [_quota(*item) for item in _items(texts.get("limit", "")) if item[1]]
    known = [quota for quota in quotas if quota is not None]
    states: list[QuotaPolicy] = []
    combined: dict[str, str] = {}
    for name, parameters in _items(texts.get("", "")):
        if "r" in parameters:
            reset = _seconds("ratelimit", parameters["t"], clock, _seconds_to_reset) if "t" in parameters else None
            states.append(QuotaPolicy(name, remaining=_count("ratelimit", parameters["r"]), reset=reset))
        else:
            combined |= parameters  # limit=100, remaining=50, reset=30
    states.append(_state(family, combined | texts, clock))
    # The drafts tell policies apart by name, those up to 07 by limit.
    by_name = {quota.name: quota for quota in known if quota.name or len(known) == 1}
    by_limit = {quota.limit: quota for quota in known}
    rest = dict.fromkeys(known)  # without those that came in two headers
    policies: list[QuotaPolicy] = []
    for state in states:
        if state.limit is None and state.remaining is None and state.reset is None:
            continue
        quota = by_name.get(state.name) if state.limit is None else by_limit.get(state.limit)
        if quota is not None:
            rest.pop(quota, None)
            window = quota.window or state.window
            policies.append(replace(quota, remaining=state.remaining, reset=state.reset, window=window))
        else:
            policies.append(state)
    return [*policies, *rest]


def _state(family: str, texts: dict[str, str], clock: float) -> QuotaPolicy:
    """The limit that has a header for each of its numbers."""
    limit = remaining = reset = None
    if "limit" in texts:
        # Of a list, the one in force stands first. 0 stands for none, or for a rate of less than 1.
        limit = _count("limit", texts["limit"].split(",")[0].split(";")[0]) or None
    if "remaining" in texts:
        # Sent twice, by an API and its gateway, both hold.
        counts = [_count("remaining", part) for part in texts["remaining"].split(",")]
        remaining = min((count for count in counts if count is not None), default=None)
    for role in ("reset-after", "reset"):  # the first needs no clock
        if reset is None and role in texts:
            reset = _seconds(role, texts[role], clock, _seconds_to_reset)
    window = next((seconds for word, seconds in _WINDOWS.items() if word in family.split("-")), None)
    return QuotaPolicy(family, limit, remaining, reset, window, "tokens" if "token" in family else "requests")


def _quota(name: str, parameters: dict[str, str]) -> QuotaPolicy | None:
    """A quota policy: ``"default";q=100;w=60``, or in drafts up to 07 ``100;w=60``."""
    if "q" in parameters:
        limit = _count("q", parameters["q"])
    else:
        limit, name = _count("policy", name), parameters.get("name", "")
    if limit is None:
        return None
    window = _number(parameters.get("w", parameters.get("window", "")))
    if window is not None and not 0 < window <= MAX_RESET:
        window = None
    return QuotaPolicy(name, limit, window=window, unit=parameters.get("qu", "requests"))


# --- values


def _seconds(what: str, text: str, clock: float, of_number: Callable[[float, float], float]) -> float | None:
    """Seconds from `clock`, an epoch, to the time that a header tells."""
    times = [_time(text, clock, of_number)]
    if times == [None] and "," in text:
        # A header that was sent twice: both hold. (Not split at first, since a date has a comma.)
        times = [_time(part, clock, of_number) for part in text.split(",")]
    if None in times:
        logger.debug("%s is ignored, since it is no time: %.100r", what, text)
        return None
    return min(MAX_RESET, max(time for time in times if time is not None))


def _seconds_to_reset(number: float, clock: float) -> float:
    """By magnitude, a delta or an epoch."""
    scale = next((scale for least, scale in _EPOCHS if number >= least), None)
    return number if scale is None else max(0.0, number / scale - clock)


def _seconds_asked(number: float, clock: float) -> float:
    """A delta, as RFC 9110 has it; but an epoch where it is one of a day before or after."""
    is_epoch = number >= _EPOCHS[-1][0] and abs(number - clock) <= MAX_PAUSE
    return max(0.0, number - clock) if is_epoch else number


def _time(text: str, clock: float, of_number: Callable[[float, float], float]) -> float | None:
    text = text.strip(' \t"')
    if len(text) > _LONGEST_ITEM:
        return None
    number = _number(text)
    if number is not None:
        return of_number(number, clock)
    if _DURATION.fullmatch(text):
        return sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    moment = _moment(text)
    return None if moment is None else max(0.0, moment.timestamp() - clock)


def _moment(text: str) -> datetime | None:
    """The point in time that an RFC 3339 timestamp or an HTTP-date tells."""
    try:
        if text[:1].isalpha():
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None and len(text) != _ASCTIME:
                return None  # a zone that it does not know, and would be hours off without
        else:
            moment = datetime.fromisoformat(text.upper())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _count(what: str, text: str) -> int | None:
    found = _NUMBER.fullmatch(text.strip(' \t"'))
    if found is None or int(found[1]) > MAX_COUNT:
        logger.debug("%s is ignored, since it is no number from 0 to 10^15: %.100r", what, text)
        return None
    return int(found[1])


def _items(text: str) -> list[tuple[str, dict[str, str]]]:
    """The members of a list or a dictionary of structured fields (RFC 9651), each a name and its parameters.

    Only as much of them as the drafts use: no inner lists; values stay text. ``limit=100`` is a parameter without a name.
    """
    members = [[""]]
    for piece in _PIECE.findall(text):
        if piece == ",":
            members.append([""])
        elif piece == ";":
            members[-1].append("")
        else:
            members[-1][-1] += piece
    items = []
    for name, *parts in members:
        pairs = [name, *parts] if "=" in name and not name.lstrip().startswith('"') else parts
        parameters = {
            key.strip().lower(): _unquoted(value) for key, _, value in (pair.partition("=") for pair in pairs)
        }
        items.append(("" if pairs is not parts else _unquoted(name), parameters))
    return items if text.strip() else []


def _unquoted(text: str) -> str:
    text = text.strip()
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:].removesuffix('"'))
