"""Bad configs and arguments: an error that names the field, before Redis is touched (there is none here)."""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pydantic
import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.cache.config import CacheConfig
from redisopt.cache.terms import key_of_call
from tests.cache_faces import CacheFace, Computation

NOBODY = "unix:///nonexistent"
INF, NAN = math.inf, math.nan


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[CacheFace]:
    """A cache whose Redis cannot be reached."""
    face = CacheFace(request.param, NOBODY, on_unavailable="raise", command_timeout=0.2)
    yield face
    face.close()


def test_redis_cannot_be_reached_in_these_tests(face: CacheFace) -> None:
    with pytest.raises(redisopt.Unavailable):
        face.get("k")


BAD: list[tuple[str, Any]] = [
    ("ttl", 0), ("ttl", -1), ("ttl", INF), ("ttl", 31 * 86_400), ("ttl", "soon"), ("ttl_jitter", 1), ("ttl_jitter", -0.1),
    ("stale_for", -1), ("stale_if_error", NAN), ("early_refresh", -1), ("early_refresh", 101), ("negative_ttl", -1),
    ("negative_errors", (1,)), ("negative_errors", BaseException), ("failure_ttl", -1), ("max_value_bytes", 0), ("codec", "pickle"),
    ("lease_ttl", 0), ("wait_timeout", -1), ("max_refreshes", 0), ("on_unavailable", "allow"), ("local_ttl", -1), ("local_size", 0), ("local_bytes", 0), ("compute_timeout", 0),
    ("command_timeout", 0), ("unknown", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match=field):
        CacheConfig(**{field: value} | ({"negative_ttl": 1} if field == "negative_errors" else {}))


def test_exceptions_are_not_kept_for_no_time() -> None:
    one: Any = KeyError
    for ttl in (None, 0):
        with pytest.raises(pydantic.ValidationError, match="negative_errors are kept for negative_ttl"):
            CacheConfig(negative_errors=one, negative_ttl=ttl)
    assert CacheConfig(negative_errors=one, negative_ttl=1).negative_errors == (KeyError,)


def test_negative_errors_are_named_in_a_file_or_the_environment() -> None:
    for fields in ({"negative_errors": ["LookupError", "redis.ResponseError"]}, {"negative_errors": "LookupError"}):
        assert LookupError in CacheConfig.from_dict(fields | {"negative_ttl": 5}).negative_errors
    environment = {"GEO_NEGATIVE_ERRORS": "LookupError,redis.ResponseError", "GEO_NEGATIVE_TTL": "5"}
    assert CacheConfig.from_env("GEO_", environment).negative_errors == (LookupError, redis.ResponseError)
    with pytest.raises(pydantic.ValidationError, match="there is no error type 'NoError'"):
        CacheConfig.from_dict({"negative_errors": ["NoError"], "negative_ttl": 5})


def test_a_config_comes_from_the_environment_too() -> None:
    config = CacheConfig.from_env("GEO_", {"GEO_TTL": "60", "GEO_STALE_FOR": "3600", "GEO_ON_UNAVAILABLE": "raise"})
    assert (config.ttl, config.stale_for, config.on_unavailable) == (60, 3600, "raise")


ARGUMENTS: list[tuple[str, Callable[[CacheFace], Any]]] = [
    ("key must be a str", lambda face: face.compute(7, Computation())),  # type: ignore[arg-type]
    ("key must be a str", lambda face: face.get([])),
    ("key is empty", lambda face: face.get("")),
    ("key .* 1,025 bytes", lambda face: face.set("k" * 1025, 1)),
    ("key .* surrogate", lambda face: face.delete("\ud800")),
    ("key must be a str", lambda face: face.peek(None)),
    ("ttl must be", lambda face: face.compute("k", Computation(), ttl=0)),
    ("ttl must be", lambda face: face.set("k", 1, ttl="1")),
    ("ttl must be", lambda face: face.set("k", 1, ttl=True)),
    ("ttl must be", lambda face: face.compute("k", Computation(), ttl=NAN)),
    ("timeout must be", lambda face: face.compute("k", Computation(), timeout=-1)),
    ("timeout must be", lambda face: face.compute("k", Computation(), timeout=INF)),
    ("tags must be a list", lambda face: face.compute("k", Computation(), tags="tag")),
    ("tags must be a list", lambda face: face.set("k", 1, tags=7)),
    ("tags has 17 tags", lambda face: face.set("k", 1, tags=[str(each) for each in range(17)])),
    ("tag is empty", lambda face: face.set("k", 1, tags=[""])),
    ("tag must be a str", lambda face: face.invalidate(7)),
    ("tag is empty", lambda face: face.invalidate("")),
    ("value is a set", lambda face: face.set("k", {1})),
    ("value has .* bytes", lambda face: face.set("k", "x" * 2_000_000)),
    ("key must be a str", lambda face: face.real(key=7)(face.of_kind(Computation().__call__))),
    ("key is empty", lambda face: face.real(key="")(face.of_kind(Computation().__call__))),
    ("ttl must be", lambda face: face.real(ttl=-1)(face.of_kind(Computation().__call__))),
    ("tags must be", lambda face: face.real(tags="t")(face.of_kind(Computation().__call__))),
    ("timeout must be", lambda face: face.real.policy("k", timeout="1")),
    ("key is empty", lambda face: face.real.policy("")),
    ("function must be a function", lambda face: face.do(face.real.get_or_compute, "k", 7)),
]


@pytest.mark.parametrize(("message", "act"), ARGUMENTS)
def test_a_bad_argument_is_named(face: CacheFace, message: str, act: Callable[[CacheFace], Any]) -> None:
    with pytest.raises(ValueError, match=message):
        act(face)


def test_functions_of_the_other_kind_are_refused() -> None:
    async def later() -> int:
        return 1

    def at_once() -> int:
        return 1

    cache, twin = redisopt.Cache(redis.from_url(NOBODY), "x"), redisopt.AsyncCache(redis.asyncio.from_url(NOBODY), "x")
    for call in (lambda: cache.get_or_compute("k", later), lambda: cache(later), lambda: twin(at_once)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="coroutine function"):
            call()


@pytest.mark.parametrize("name", ["", "a{b", "a\n", 7, "x" * 1025])
def test_a_bad_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        redisopt.Cache(redis.from_url(NOBODY), name)


def test_a_client_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="client"):
        redisopt.Cache(redis.asyncio.from_url(NOBODY), "x")  # type: ignore[arg-type]


def test_a_cache_cannot_be_pickled_and_its_error_can() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(redisopt.Cache(redis.from_url(NOBODY), "x"))
    error = pickle.loads(pickle.dumps(redisopt.ComputeFailed("m", error="E: e", retry_after=1.5)))
    assert (str(error), error.error, error.retry_after) == ("m", "E: e", 1.5)


def by_name(city: str) -> str:
    """A function of a module, and so of a name of its own."""
    return city


class Locate:
    """An object that is called."""

    def __call__(self, city: str) -> str:
        """A name of its own it has not."""
        return city


def test_a_function_without_a_name_of_its_own_needs_a_key() -> None:
    def inner(city: str) -> str:
        return city

    program = FunctionType(by_name.__code__, {})
    program.__module__ = "__main__"
    cache = redisopt.Cache(redis.from_url(NOBODY), "x")
    functions: list[Any] = [lambda city: city, inner, Locate(), functools.partial(by_name, "Ulm"), program]
    for function in functions:
        with pytest.raises(ValueError, match=r"no key can be made of it, give one, such as @cache\(key="):
            cache(function)
        assert callable(cache(key=lambda city: city)(function))
    assert callable(cache(by_name))


def test_a_key_of_a_call_tells_calls_apart() -> None:
    def city(name: Any, country: str = "de", *rest: Any, **more: Any) -> None: ...

    keys = [
        key_of_call(city, args, kwargs)
        for args, kwargs in [
            (("Ulm",), {}),
            (("Ulm", "at"), {}),
            ((1,), {}),
            ((1.0,), {}),
            ((True,), {}),
            (("1",), {}),
            ((b"1",), {}),
            ((None,), {}),
            (("Ulm", "de", 1), {}),
            (("Ulm", "de", 1, 2), {}),
            (("Ulm",), {"a": 1}),
            (("Ulm',country='at",), {}),
            (([1, 2],), {}),
            (((1, 2),), {}),
            (({"b": 1, "a": [2]},), {}),
            (("x" * 500,), {}),
            (("x" * 500 + "y",), {}),
        ]
    ]
    assert len(set(keys)) == len(keys)
    assert key_of_call(city, ({"a": [2], "b": 1},), {}) == keys[14]
    assert keys[0].endswith(".city(name='Ulm',country='de',rest=(),more={})")
    assert all(len(key) <= 300 for key in keys)


def test_a_key_of_a_call_is_made_of_dicts_with_any_plain_keys() -> None:
    """In whatever order they are."""

    def city(where: Any) -> None: ...

    key = key_of_call(city, ({"a": 1, 2: "b", None: 3, b"c": 4, (5, "d"): 6},), {})
    assert key == key_of_call(city, ({(5, "d"): 6, None: 3, b"c": 4, 2: "b", "a": 1},), {})
    assert key_of_call(city, ({1: "a"},), {}) != key_of_call(city, ({"1": "a"},), {})


@pytest.mark.parametrize("value", [object(), {object(): 1}, {(1, object()): 1}, {1: object()}, [{1}], 1 + 2j])
def test_what_is_no_plain_value_makes_no_key(value: Any) -> None:
    """Its text may hold an address: then the key would be another one in each process."""

    def city(where: Any) -> None: ...

    with pytest.raises(
        ValueError, match=r"argument where of .*city is a \w+, which makes no key: give one, such as @cache"
    ):
        key_of_call(city, (value,), {})
