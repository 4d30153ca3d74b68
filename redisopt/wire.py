"""Script calls as bytes, and server errors as ours.

A call is packed here and not by redis-py: all of ours are flat lists of text and numbers, which takes a third of the time.
What an error means for the caller is decided here for both runners: send it again, send the script along, or give up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeGuard

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's name for it
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's name for it
    TryAgainError,
)

from redisopt.commands import Arg, Command
from redisopt.deadlines import TooManyOverdue
from redisopt.errors import RedisOptError, StateLost, Unavailable
from redisopt.scripts import Script

# All that redis-py raises when a call fails. (Its Cluster client's own error is no RedisError.)
FAILURES = (RedisError, RedisClusterException, OSError)

# Worth another try within the command's time: the server is away, restarting, or handing over to another.
_TRANSIENT = (
    ConnectionError,
    TimeoutError,
    OSError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    RedisClusterException,
)
# These are ConnectionErrors to redis-py, but no try will go better.
_FINAL = (AuthenticationError, AuthorizationError, MaxConnectionsError)

_REFUSED_LOGINS = (
    "invalid username-password pair",
    "Authentication required",
    "NOAUTH",
    "WRONGPASS",
    "unauthenticated",
)
_FORBIDDEN = ("NOPERM", "has no permissions to run", "can't run this command")


_HAVE_RESET = ("throttle", "breaker")  # scripts of what has a reset()


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed when it is sent again."""
    return (isinstance(error, _TRANSIENT) and not _is_final(error)) or _is_read_only(error)


def is_silence(error: BaseException) -> bool:
    """Whether nobody is there to serve calls: the server is out of reach, silent, loading, down or a replica; not: it refuses."""
    if isinstance(error, TooManyOverdue):
        return True
    return is_transient(error) and not isinstance(error, TryAgainError)


def is_sent_on(error: BaseException) -> TypeGuard[AskError]:
    """Whether a node of a Cluster says which other one to ask (MOVED or ASK): then the script has not run."""
    return isinstance(error, AskError)


def is_no_script(error: BaseException) -> bool:
    """Whether the server says that it does not know the script: then it has not run, and EVAL runs it."""
    return isinstance(error, NoScriptError)


def is_refusal(error: BaseException) -> bool:
    """Whether the script has surely not run, or changed nothing: the server says so, or nothing was sent.

    Our scripts that add something begin with a write that a full server, or a replica, refuses.
    """
    refusals = (
        TooManyOverdue,
        NoScriptError,
        AskError,
        ClusterDownError,
        MasterDownError,
        TryAgainError,
    )
    return (
        isinstance(error, refusals)
        or is_full(error)
        or _is_forbidden(error)
        or _is_final(error)
        or _is_read_only(error)
    )


def leaves_connection_usable(error: BaseException) -> bool:
    """Whether the connection is in step after `error`: an error reply was read whole; a demoted primary is not worth keeping."""
    return (
        isinstance(error, RedisError)
        and not isinstance(error, ConnectionError | TimeoutError)
        and not _is_read_only(error)
    )


def parts(script: Script, command: Command[Any], lane: tuple[Arg, ...], *, whole: bool) -> tuple[Arg, ...]:
    """The call as redis-py's ``execute_command`` takes it: by the script's SHA1, or with the script whole."""
    verb, body = ("EVAL", script.source) if whole else ("EVALSHA", script.sha)
    return (verb, body, len(command.keys), *command.keys, *lane, *command.args, *command.constants)


def packed(script: Script, command: Command[Any], lane: tuple[Arg, ...], *, whole: bool) -> bytes:
    """The call as bytes."""
    verb, body = ("EVAL", script.source) if whole else ("EVALSHA", script.sha)
    keys, args, constants = command.keys, lane + command.args, command.constants
    count = 3 + len(keys) + len(args) + len(constants)
    if bytes in map(type, args):
        packed_args = b"".join(map(_bulk, args))
    else:
        # Text and numbers alone, as in most calls: one string costs half of what many bytes do.
        text = "".join([f"${len(part)}\r\n{part}\r\n" for part in map(str, args)])
        packed_args = text.encode() if text.isascii() else b"".join(map(_bulk, args))
    return b"*%d\r\n%b%b%b" % (count, _head(verb, body, keys), packed_args, _bulks(constants))


def unavailable(error: BaseException, command: Command[Any]) -> RedisOptError:
    """The error to raise for a call of `command` that failed for good with `error`."""
    text, script = str(error), command.script
    if is_full(error):
        return Unavailable(
            f"Redis is full and refused {script} whole, nothing was changed: raise maxmemory or free memory ({text})"
        )
    if isinstance(error, TooManyOverdue):
        return Unavailable(f"Redis does not answer, and {script} was not sent: {text}")
    if _is_forbidden(error):
        return Unavailable(
            f"the Redis user may not run {script}: docs/security.md has the least-privilege ACL ({text})"
        )
    if _is_final(error):
        return Unavailable(f"Redis refused the connection: check the user and password in the URL ({text})")
    if _is_read_only(error):
        return Unavailable(f"Redis is a read-only replica and cannot run {script}: connect to the primary ({text})")
    if isinstance(error, MovedError) or "hash to the same slot" in text:
        return Unavailable(
            f"the server is part of a Cluster: pass a redis.RedisCluster instead of a redis.Redis ({text})"
        )
    if "WRONGTYPE" in text or "attempt to " in text or "bad argument" in text:
        keys = f"{command.keys[0].rpartition(':')[0]}:*"
        mend = "reset() deletes it" if script.startswith(_HAVE_RESET) else "look at it, and delete it"
        return StateLost(f"one of the keys {keys} holds something that redisopt did not write: {mend} ({text})")
    if isinstance(error, TimeoutError):
        return Unavailable(f"Redis did not answer {script} within command_timeout ({text})")
    if is_transient(error):
        return Unavailable(f"Redis could not be reached for {script} within command_timeout ({text})")
    return Unavailable(f"Redis refused {script}: {text}")


def is_full(error: BaseException) -> bool:
    """Whether the server is full, and refused a call that would add something."""
    return isinstance(error, OutOfMemoryError) or "OOM" in str(error)


def is_telling(error: BaseException, seconds: float, timeout: float) -> bool:
    """Whether the error of a try that had so many `seconds` says what is wrong: silence of a moment says nothing."""
    return not isinstance(error, TimeoutError) or seconds >= timeout / 2


@lru_cache(maxsize=4096)
def _head(verb: str, body: str, keys: tuple[str, ...]) -> bytes:
    """All that calls of one script on one limiter have in common."""
    items: tuple[Arg, ...] = (verb, body, len(keys), *keys)
    return b"".join(map(_bulk, items))


@lru_cache(maxsize=4096)
def _bulks(items: tuple[Arg, ...]) -> bytes:
    return b"".join(map(_bulk, items))


def _bulk(item: Arg) -> bytes:
    data = item.encode() if isinstance(item, str) else item if isinstance(item, bytes) else b"%d" % item
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _is_read_only(error: BaseException) -> bool:
    # Up to 6.2 the server wraps what a script's command said into a plain error of its own.
    return isinstance(error, ReadOnlyError) or (isinstance(error, RedisError) and "READONLY" in str(error))


def _is_final(error: BaseException) -> bool:
    # redis-py's asyncio wraps what the server said to AUTH into a plain ConnectionError.
    text = str(error)
    return isinstance(error, _FINAL) or any(said in text for said in _REFUSED_LOGINS)


def _is_forbidden(error: BaseException) -> bool:
    # A command refused inside a script comes as a plain error, worded by each server in its own way.
    text = str(error)
    return isinstance(error, NoPermissionError) or any(said in text for said in _FORBIDDEN)


def packed_words(*words: str) -> bytes:
    """A command as bytes."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


WAIT_SLACK = 0.5
"""Seconds that a server may take longer to say that replicas were too late: it looks at its clients' times in a slow beat."""


def packed_wait(replicas: int, seconds: float) -> bytes:
    """WAIT for so many replicas, for so long."""
    return packed_words("WAIT", str(replicas), str(max(1, round(seconds * 1000))))


def unconfirmed(replicas: int, had: int | None) -> Unavailable:
    """The error of a write that not enough replicas have: it stands, but a failover may lose it."""
    found = "how many do is not known" if had is None else f"{had} do"
    return Unavailable(
        f"{replicas} replicas were to have what was written, and {found}: a failover may lose it", sent=True
    )
