"""What an API's response headers say, dialect by dialect; and what a decision says to users of one's own API."""

from __future__ import annotations

import http.client
import io
import logging
import math
import time
from collections import UserDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redisopt import Decision, LimitState, Rate
from redisopt.headers import (
    MAX_COUNT,
    MAX_PAUSE,
    MAX_POLICIES,
    MAX_RESET,
    MAX_VALUE,
    Advice,
    QuotaPolicy,
    read_headers,
)
from redisopt.throttle.rate import MAX_LIMIT

NOW = datetime(2026, 3, 26, 16, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
DATE = "Thu, 26 Mar 2026 16:00:00 GMT"

Told = dict[str, str]


# --- dialects: what each API sends, with the status, and what it means

NOTHING = QuotaPolicy()

SAMPLES: dict[str, tuple[int, Told, float, list[QuotaPolicy]]] = {
    "GitHub, some left": (
        200,
        {
            "Date": DATE,
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "4987",
            "X-RateLimit-Reset": f"{EPOCH + 1350}",
            "X-RateLimit-Used": "13",
            "X-RateLimit-Resource": "core",
        },
        0.0,
        [QuotaPolicy(limit=5000, remaining=4987, reset=1350.0)],
    ),
    "GitHub, none left": (
        403,
        {
            "date": DATE,
            "x-ratelimit-limit": "60",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": f"{EPOCH + 1350}",
            "x-ratelimit-used": "60",
        },
        1350.0,
        [QuotaPolicy(limit=60, remaining=0, reset=1350.0)],
    ),
    "GitHub, secondary limit": (
        403,
        {"Date": DATE, "Retry-After": "60", "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "14"},
        60.0,
        [QuotaPolicy(limit=30, remaining=14)],
    ),
    "GitHub, secondary limit without Retry-After": (
        429,
        {
            "Date": DATE,
            "X-RateLimit-Limit": "30",
            "X-RateLimit-Remaining": "14",
            "X-RateLimit-Reset": f"{EPOCH + 31}",
        },
        31.0,
        [QuotaPolicy(limit=30, remaining=14, reset=31.0)],
    ),
    "GitHub, out of order": (
        503,
        {"Date": DATE, "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4987", "X-RateLimit-Reset": f"{EPOCH + 9}"},
        0.0,
        [QuotaPolicy(limit=5000, remaining=4987, reset=9.0)],
    ),
    "OpenAI": (
        200,
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        0.0,
        [QuotaPolicy("requests", 60, 59, 1.0), QuotaPolicy("tokens", 150_000, 149_984, 360.0, None, "tokens")],
    ),
    "OpenAI, refused": (
        429,
        {
            "retry-after": "1",
            "retry-after-ms": "20",
            "x-ratelimit-limit-requests": "5000",
            "x-ratelimit-remaining-requests": "4999",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-limit-tokens": "160000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "1m26.4s",
        },
        0.02,
        [QuotaPolicy("requests", 5000, 4999, 0.012), QuotaPolicy("tokens", 160_000, 0, 86.4, None, "tokens")],
    ),
    "OpenAI, refused for its tokens, without Retry-After": (
        429,
        {
            "x-ratelimit-limit-requests": "5000",
            "x-ratelimit-remaining-requests": "100",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-limit-tokens": "160000",
            "x-ratelimit-remaining-tokens": "840",
            "x-ratelimit-reset-tokens": "59.7s",
        },
        59.7,
        [QuotaPolicy("requests", 5000, 100, 0.012), QuotaPolicy("tokens", 160_000, 840, 59.7, None, "tokens")],
    ),
    "Azure OpenAI, which does not know": (
        200,
        {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"},
        0.0,
        [QuotaPolicy("tokens", None, None, 0.0, None, "tokens")],
    ),
    "Azure Cosmos DB": (429, {"x-ms-retry-after-ms": "450"}, 0.45, []),
    "Azure, a long operation": (202, {"Date": DATE, "Retry-After": "15"}, 0.0, []),
    "Cerebras": (
        200,
        {
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "14399",
            "x-ratelimit-reset-requests-day": "33011.382867",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "0",
            "x-ratelimit-reset-tokens-minute": "11.382867",
        },
        11.382867,
        [
            QuotaPolicy("requests-day", 14400, 14399, 33011.382867, 86400.0),
            QuotaPolicy("tokens-minute", 60000, 0, 11.382867, 60.0, "tokens"),
        ],
    ),
    "Anthropic": (
        200,
        {
            "date": DATE,
            "anthropic-ratelimit-input-tokens-limit": "80000",
            "anthropic-ratelimit-input-tokens-remaining": "80000",
            "anthropic-ratelimit-input-tokens-reset": "2026-03-26T15:59:59Z",
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": "2026-03-26T16:00:01Z",
        },
        0.0,
        [QuotaPolicy("input-tokens", 80000, 80000, 0.0, None, "tokens"), QuotaPolicy("requests", 1000, 999, 1.0)],
    ),
    "Anthropic, refused": (
        429,
        {
            "date": DATE,
            "retry-after": "7",
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-03-26T16:00:12Z",
        },
        7.0,
        [QuotaPolicy("requests", 50, 0, 12.0)],
    ),
    "Stripe, which does not say for how long": (429, {"Stripe-Rate-Limited-Reason": "global-rate"}, 0.0, []),
    "Shopify": (429, {"Retry-After": "2.0", "X-Shopify-Shop-Api-Call-Limit": "40/40"}, 2.0, []),
    "Cloudflare": (
        200,
        {"Ratelimit": '"default";r=1199;t=1', "Ratelimit-Policy": '"default";q=1200;w=300'},
        0.0,
        [QuotaPolicy("default", 1200, 1199, 1.0, 300.0)],
    ),
    "Cloudflare, refused": (
        429,
        {"Ratelimit": '"default";r=0;t=42', "Ratelimit-Policy": '"default";q=1200;w=300', "Retry-After": "42"},
        42.0,
        [QuotaPolicy("default", 1200, 0, 42.0, 300.0)],
    ),
    "Discord": (
        429,
        {
            "Retry-After": "65",
            "X-RateLimit-Limit": "10",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "1470173023.123",
            "X-RateLimit-Reset-After": "64.57",
            "X-RateLimit-Bucket": "abcd1234",
            "X-RateLimit-Scope": "user",
        },
        65.0,
        [QuotaPolicy(limit=10, remaining=0, reset=64.57)],
    ),
    "GitLab": (
        429,
        {
            "Date": DATE,
            "RateLimit-Limit": "60",
            "RateLimit-Name": "throttle_authenticated_web",
            "RateLimit-Observed": "67",
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": f"{EPOCH + 30}",
            "RateLimit-ResetTime": "Thu, 26 Mar 2026 16:00:30 GMT",
        },
        30.0,
        [QuotaPolicy(limit=60, remaining=0, reset=30.0)],
    ),
    "Jira": (429, {"Date": DATE, "X-RateLimit-Reset": "2026-03-26T16:02Z"}, 120.0, [QuotaPolicy(reset=120.0)]),
    "Jira, by points": (
        200,
        {
            "Beta-Ratelimit-Policy": '"tenant-app-quota";q=100100;w=3600',
            "Beta-Ratelimit": '"tenant-app-quota";r=0;t=2788',
            "X-Beta-Ratelimit-Nearlimit": "true",
            "X-Ratelimit-Limit": "400",
            "X-Ratelimit-Remaining": "399",
        },
        2788.0,
        [QuotaPolicy("tenant-app-quota", 100_100, 0, 2788.0, 3600.0), QuotaPolicy(limit=400, remaining=399)],
    ),
    "Kong": (
        200,
        {
            "RateLimit-Limit": "10",
            "RateLimit-Remaining": "9",
            "RateLimit-Reset": "57",
            "X-RateLimit-Limit-Minute": "10",
            "X-RateLimit-Remaining-Minute": "9",
            "X-RateLimit-Limit-Hour": "5000",
            "X-RateLimit-Remaining-Hour": "4000",
        },
        0.0,
        [
            QuotaPolicy(limit=10, remaining=9, reset=57.0),
            QuotaPolicy("minute", 10, 9, window=60.0),
            QuotaPolicy("hour", 5000, 4000, window=3600.0),
        ],
    ),
    "Envoy": (
        429,
        {
            "x-ratelimit-limit": '10, 10;w=1;name="per-ip", 1000;w=3600',
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "1",
        },
        1.0,
        [QuotaPolicy("per-ip", 10, 0, 1.0, 1.0), QuotaPolicy(limit=1000, window=3600.0)],
    ),
    "WHOOP": (
        200,
        {
            "X-RateLimit-Limit": "100, 100;window=60, 10000;window=86400",
            "X-RateLimit-Remaining": "98",
            "X-RateLimit-Reset": "3",
        },
        0.0,
        [QuotaPolicy(limit=100, remaining=98, reset=3.0, window=60.0), QuotaPolicy(limit=10_000, window=86400.0)],
    ),
    "Reddit": (
        200,
        {"X-Ratelimit-Remaining": "599.0", "X-Ratelimit-Reset": "258", "X-Ratelimit-Used": "1"},
        0.0,
        [QuotaPolicy(remaining=599, reset=258.0)],
    ),
    "Okta, and X before it was Twitter": (
        429,
        {
            "Date": DATE,
            "X-Rate-Limit-Limit": "600",
            "X-Rate-Limit-Remaining": "0",
            "X-Rate-Limit-Reset": f"{EPOCH + 900}",
        },
        900.0,
        [QuotaPolicy(limit=600, remaining=0, reset=900.0)],
    ),
    "Amazon's Selling Partners, by rates": (
        200,
        {"x-amzn-RateLimit-Limit": "0.5"},
        0.0,
        [],
    ),
    "MailerLite": (429, {"X-RateLimit-Retry-After": "59"}, 59.0, []),
    "milliseconds, by their name": (
        429,
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-Ms": "1500"},
        1.5,
        [QuotaPolicy(remaining=0, reset=1.5)],
    ),
    "Flask-Limiter, with every response": (
        200,
        {
            "Date": DATE,
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "4",
            "X-RateLimit-Reset": f"{EPOCH + 60}",
            "Retry-After": "59",
        },
        0.0,
        [QuotaPolicy(limit=5, remaining=4, reset=60.0)],
    ),
    "a date of JavaScript, whose zone cannot be told": (
        429,
        {"X-RateLimit-Reset": "Tue Feb 16 2027 09:02:42 GMT+0100 (Central European Standard Time)"},
        0.0,
        [],
    ),
    "draft 11: one policy": (200, {"RateLimit": '"default";r=50;t=30'}, 0.0, [QuotaPolicy("default", None, 50, 30.0)]),
    "draft 11: policies alone": (
        200,
        {"RateLimit-Policy": '"burst";q=100;w=60,"daily";q=1000;w=86400'},
        0.0,
        [QuotaPolicy("burst", 100, window=60.0), QuotaPolicy("daily", 1000, window=86400.0)],
    ),
    "draft 11: a unit and a partition key": (
        200,
        {
            "RateLimit-Policy": '"peruser";q=65535;qu="content-bytes";w=10;pk=:sdfjLJUOUH==:',
            "RateLimit": '"peruser";r=0;t=4;pk=:sdfjLJUOUH==:',
        },
        4.0,
        [QuotaPolicy("peruser", 65535, 0, 4.0, 10.0, "content-bytes")],
    ),
    "draft 11: no window": (
        200,
        {"RateLimit": '"default";r=0;pk=:dHJpYWwxMjEzMjM=:'},
        0.0,
        [QuotaPolicy("default", None, 0)],
    ),
    "draft 11: two partitions of one policy": (
        200,
        {"RateLimit-Policy": '"p";q=9;w=60', "RateLimit": '"p";r=0;t=5;pk=:YQ==:, "p";r=8;t=50;pk=:Yg==:'},
        5.0,
        [QuotaPolicy("p", 9, 0, 5.0, 60.0), QuotaPolicy("p", 9, 8, 50.0, 60.0)],
    ),
    "draft 11: Retry-After goes first": (
        503,
        {"RateLimit": '"default";r=0;t=100', "Retry-After": "20"},
        20.0,
        [QuotaPolicy("default", None, 0, 100.0)],
    ),
    "draft 11: less capacity for a while": (
        503,
        {"RateLimit": '"hourly";r=0;t=100', "RateLimit-Policy": '"hourly";q=10;w=3600'},
        100.0,
        [QuotaPolicy("hourly", 10, 0, 100.0, 3600.0)],
    ),
    "draft 11: as a redirection": (301, {"RateLimit": '"problemPolicy";r=0;t=10'}, 10.0, [QuotaPolicy("problemPolicy", None, 0, 10.0)]),
    "draft 07": (
        200,
        {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10"},
        0.0,
        [QuotaPolicy(limit=100, remaining=50, reset=5.0, window=10.0)],
    ),
    "draft 07: several policies": (
        429,
        {"RateLimit": "limit=50, remaining=0, reset=7", "RateLimit-Policy": '10;w=1, 50;w=60;comment="a, b;c", 1000;w=3600'},
        7.0,
        [
            QuotaPolicy(limit=50, remaining=0, reset=7.0, window=60.0),
            QuotaPolicy(limit=10, window=1.0),
            QuotaPolicy(limit=1000, window=3600.0),
        ],
    ),
    "draft 03": (
        200,
        {
            "RateLimit-Limit": "100, 100;w=60",
            "RateLimit-Policy": "100;w=60",
            "RateLimit-Remaining": "50",
            "RateLimit-Reset": "30",
        },
        0.0,
        [QuotaPolicy(limit=100, remaining=50, reset=30.0, window=60.0)],
    ),
    "draft 03: nothing but the state": (
        200,
        {"RateLimit-Policy": "100;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"},
        30.0,
        [QuotaPolicy(limit=100, remaining=0, reset=30.0, window=60.0)],
    ),
    "no limits": (200, {"Date": DATE, "Content-Type": "application/json", "ETag": '"a"'}, 0.0, []),
}  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_dialect_is_understood(sample: str) -> None:
    """Pause and policies."""
    status, headers, pause, policies = SAMPLES[sample]
    advice = read_headers(headers, status, now=NOW)

    assert advice.pause == pytest.approx(pause)
    assert [_rounded(policy) for policy in advice.policies] == policies


def _rounded(policy: QuotaPolicy) -> QuotaPolicy:
    reset = None if policy.reset is None else round(policy.reset, 6)
    return QuotaPolicy(policy.name, policy.limit, policy.remaining, reset, policy.window, policy.unit)


# --- which policy is the tightest


def test_the_tightest_policy_is_that_with_the_least_remaining() -> None:
    """Of those in one header, in whatever order."""
    headers = {
        "RateLimit": '"day";r=70;t=9000, "minute";r=3;t=20, "hour";r=4;t=700',
        "RateLimit-Policy": '"minute";q=10;w=60, "hour";q=50;w=3600, "day";q=100;w=86400',
    }
    advice = read_headers(headers)

    assert (advice.limit, advice.remaining, advice.reset) == (10, 3, 20.0)
    assert [policy.name for policy in advice.policies] == ["day", "minute", "hour"]


def test_requests_are_not_compared_with_tokens() -> None:
    """Three tokens are less than four requests, but not by their number."""
    advice = read_headers({"x-ratelimit-remaining-tokens": "3", "x-ratelimit-remaining-requests": "4"})

    assert advice.remaining == 4
    assert read_headers({"x-ratelimit-remaining-tokens": "3"}).remaining == 3


def test_a_policy_that_says_what_is_left_goes_before_one_that_does_not() -> None:
    advice = read_headers({"RateLimit-Policy": '"a";q=5;w=1', "X-RateLimit-Remaining": "9"})

    assert (advice.limit, advice.remaining) == (None, 9)


def test_all_exhausted_limits_must_reset_before_a_call_can_succeed() -> None:
    """Those with something left need not."""
    assert read_headers({"RateLimit": '"a";r=0;t=3, "b";r=0;t=40, "c";r=1;t=500'}).pause == 40.0


def test_nothing_is_said_where_nothing_is_told() -> None:
    assert read_headers({}) == Advice(0.0, None, None, None, ())


# --- status


@pytest.mark.parametrize(
    ("status", "pause"),
    [(None, 9.0), (200, 0.0), (202, 0.0), (304, 0.0), (400, 9.0), (403, 9.0), (429, 9.0), (503, 9.0)],
)
def test_retry_after_counts_unless_the_call_went_well(status: int | None, pause: float) -> None:
    """With a 202 it says when to ask for the result; some frameworks send it with every response."""
    assert read_headers({"Retry-After": "9"}, status).pause == pause


@pytest.mark.parametrize(("status", "pause"), [(None, 0.0), (200, 0.0), (403, 0.0), (429, 9.0), (500, 0.0), (503, 9.0)])
def test_a_reset_alone_counts_for_those_who_were_refused(status: int | None, pause: float) -> None:
    assert read_headers({"X-RateLimit-Reset": "9"}, status).pause == pause


def test_a_status_may_be_of_the_enum() -> None:
    assert read_headers({"Retry-After": "9"}, HTTPStatus.OK).pause == 0.0


# --- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ('"30"', 30.0),
        ("1.", 1.0),
        ("0.25", 0.25),
        ("999999999", MAX_RESET),
        ("1000000000", 0.0),
        (f"{EPOCH + 60}", 60.0),
        (f"{EPOCH + 60}.5", 60.5),
        (f"{EPOCH - 60}", 0.0),
        (f"{EPOCH + 60}000", 60.0),
        (f"{EPOCH + 60}000000", 60.0),
        (f"{EPOCH + 60}000000000", 60.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h30m0s", 5400.0),
        ("2m59.56s", 179.56),
        ("1d2h", 93600.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("9ns", 9e-9),
        ("2026-03-26T16:01:00Z", 60.0),
        ("2026-03-26t16:01:00z", 60.0),
        ("2026-03-26T16:01Z", 60.0),
        ("2026-03-26T18:01:00.25+02:00", 60.25),
        ("2026-03-26 16:01:00", 60.0),
        ("2026-03-26T15:00:00Z", 0.0),
        ("Thu, 26 Mar 2026 16:01:00 GMT", 60.0),
        ("Thursday, 26-Mar-26 16:01:00 GMT", 60.0),
        ("Thu Mar 26 16:01:00 2026", 60.0),
        ("Thu, 26 Mar 2026 12:01:00 -0400", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("9999-12-31T23:59:59Z", MAX_RESET),
        ("7, 30", 30.0),
    ],
)
def test_a_time_is_told_from_its_looks(text: str, seconds: float) -> None:
    """Seconds, an epoch by its magnitude, a duration or a date; sent twice, the later."""
    policy = read_headers({"X-RateLimit-Reset": text}, now=NOW).policies[0]

    assert policy.reset == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "-1", "+5", "1e3", "0x10", "NaN", "inf", "soon", "½", "٣", "1 s", "5 bananas", "s", "1m 2s", "12345678901234567890",
        "9" * 5000, "1s" * 4000, "2026-13-45T99:00:00Z", "2026-03-26T16:01:00+99:00", "Thu, 99 Foo 2026 16:01:00 GMT",
        "Thu, 26 Mar 2026 16:01:00 CEST", "Tue, 05 Jan 2027 11:00:00 +9999", "7, soon", ",", "1;2", "\x00", "T",
    ],
)  # fmt: skip
def test_what_is_no_time_is_ignored(text: str) -> None:
    """Rather than taken for another: a pause that nobody asked for halts the fleet."""
    assert read_headers({"Retry-After": text, "X-RateLimit-Reset": text}, 429, now=NOW) == read_headers({})


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(hours=5), timedelta(days=-900)])
def test_a_point_in_time_is_counted_from_the_response_s_own_date(skew: timedelta) -> None:
    """So that a local clock that is wrong changes nothing."""
    sent = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    retry = format_datetime(sent + timedelta(seconds=90), usegmt=True)
    headers = {"Date": format_datetime(sent, usegmt=True), "Retry-After": retry}

    assert read_headers(headers, 503, now=sent + skew).pause == 90.0


@pytest.mark.parametrize("date", [None, "30", "yesterday", ""])
def test_without_a_date_a_point_in_time_is_counted_from_now(date: str | None) -> None:
    headers = {"Retry-After": "Thu, 26 Mar 2026 16:01:30 GMT"} | ({} if date is None else {"Date": date})

    assert read_headers(headers, 503, now=NOW).pause == 90.0
    assert read_headers(headers, 503, now=NOW.astimezone(timezone(timedelta(hours=9)))).pause == 90.0


def test_now_is_now_by_default() -> None:
    headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)}

    assert 90 < read_headers(headers, 503).pause <= 100


def test_what_a_cache_has_kept_says_nothing_of_limits() -> None:
    """The draft has it so. A date still means what it meant when the response was made."""
    headers = {
        "Age": "30",
        "Date": DATE,
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "60",
        "Retry-After": "Thu, 26 Mar 2026 16:01:30 GMT",
    }

    assert read_headers(headers, 200, now=NOW) == read_headers({})
    assert read_headers(headers, 503, now=NOW).pause == 60.0
    assert read_headers(headers | {"Age": "0"}, 200, now=NOW).pause == 60.0


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "86400"}, 86400.0),
        ({"Retry-After": "86401"}, 86400.0),
        ({"Retry-After": "999999999999"}, 86400.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86400.0),
        ({"retry-after-ms": "999999999999"}, 86400.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2592000"}, 86400.0),
    ],
)
def test_a_pause_is_at_most_a_day(headers: Told, pause: float, caplog: pytest.LogCaptureFixture) -> None:
    """Loudly: a fleet that halts for a day wants to be noticed."""
    caplog.set_level(logging.WARNING, "redisopt")

    assert read_headers(headers, 429, now=NOW).pause == pause == MAX_PAUSE
    assert len(caplog.records) == ("86400" not in headers.values())


def test_a_reset_may_be_further_away_than_a_pause() -> None:
    """Of a quota of a month."""
    assert read_headers({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "2592000"}).reset == 2_592_000.0


@pytest.mark.parametrize(("seconds", "pause"), [(-86400, 0.0), (-1, 0.0), (60, 60.0), (86400, 86400.0)])
def test_a_retry_after_may_be_an_epoch_by_mistake(seconds: int, pause: float) -> None:
    """Of about now: any other number is the seconds that it should be."""
    assert read_headers({"Retry-After": f"{EPOCH + seconds}"}, 429, now=NOW).pause == pause


def test_a_server_that_has_not_set_its_clock_is_understood() -> None:
    """What it counts from 1970 is no epoch."""
    assert read_headers({"Date": "Thu, 01 Jan 1970 00:01:00 GMT", "Retry-After": "90"}, 503).pause == 90.0


# --- counts


@pytest.mark.parametrize(
    ("text", "remaining"),
    [("0", 0), ("7", 7), (" 7 ", 7), ("7.9", 7), ("0.9", 0), ("98, 9", 9), (f"{MAX_COUNT}", MAX_COUNT)],
)
def test_what_is_left_is_whole(text: str, remaining: int) -> None:
    """And the least, where several count."""
    assert read_headers({"X-RateLimit-Remaining": text}).remaining == remaining


@pytest.mark.parametrize("text", ["-1", "many", "", f"{MAX_COUNT + 1}", "9" * 400, "1e3", "50%", "unlimited", "½"])
def test_what_is_no_count_is_ignored(text: str) -> None:
    """In all places; below zero is how some write that they do not know."""
    assert read_headers({"X-RateLimit-Limit": text, "X-RateLimit-Remaining": text}) == read_headers({})
    assert read_headers({"RateLimit": f'"a";r={text}', "RateLimit-Policy": f'"a";q={text}'}) == read_headers({})


@pytest.mark.parametrize("window", ["0", "-1", "", "x", "99999999999"])
def test_what_is_no_window_is_ignored(window: str) -> None:
    assert read_headers({"RateLimit-Policy": f'"a";q=5;w={window}'}).policies == (QuotaPolicy("a", 5),)


# --- structured fields


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ('"a";r=1', ["a"]),
        ('"a"; r=1 ;t=2 , "b";r=1', ["a", "b"]),
        ("a;r=1", ["a"]),
        ('"";r=1', [""]),
        ('"a, b;r=9";r=1', ["a, b;r=9"]),
        ('"a=b";r=1', ["a=b"]),
        (r'"say \"hi\" \\";r=1', [r'say "hi" \ '.strip()]),
        ('"a";R=1', ["a"]),
        ('"a";r=1;acme-note="x, y";acme', ["a"]),
        ('"a";r="1"', ["a"]),
        (',,"a";r=1,', ["a"]),
        ('"a", "b";r=1', ["b"]),
        ('"a";r=x, "b";r=1', ["b"]),
        ('("a" "b");x=1, "c";r=1', ["c"]),
        ('"a";r=1, "b', ["a"]),
        ('"a";r=1, "b\\', ["a"]),
        ("100", []),
        ('"', []),
        ("\\", []),
        (";;;", []),
        ("===", []),
    ],
)
def test_structured_fields_are_read_as_far_as_they_are_used(value: str, names: list[str]) -> None:
    """What is amiss with one item costs only that item."""
    assert [policy.name for policy in read_headers({"RateLimit": value}).policies] == names


def test_lists_may_be_split_over_lines() -> None:
    lines = [("RateLimit", '"a";r=2'), ("RateLimit", '"b";r=1'), ("ratelimit-policy", '"b";q=9'), ("X-A", "1")]

    assert read_headers(lines).policies == (QuotaPolicy("a", None, 2), QuotaPolicy("b", 9, 1))


def test_of_two_lines_that_ask_for_a_pause_the_longer_holds() -> None:
    """Dates have commas, which must not keep them from being read."""
    date = "Thu, 26 Mar 2026 16:01:00 GMT"

    assert read_headers([("Retry-After", "5"), ("Retry-After", date)], 503, now=NOW).pause == 60.0


# --- what the headers come in

LINES = [("Retry-After", "2.0"), ("RateLimit", '"a";r=0;t=5'), ("RateLimit", '"b";r=7;t=50'), ("Via", "1.1 x")]


class Multi:
    """As httpx, aiohttp, urllib3, Starlette and Werkzeug have it: `items` tells a name as often as it came."""

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(LINES)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in LINES)


FORMS: dict[str, Any] = {
    "pairs": LINES,
    "pairs that come one by one": iter(LINES),
    "pairs as lists": [list(line) for line in LINES],
    "ASGI": [(name.lower().encode(), value.encode()) for name, value in LINES],
    "ASGI's dict": {b"retry-after": b"2.0", b"ratelimit": b'"a";r=0;t=5, "b";r=7;t=50'},
    "http.client and urllib": http.client.parse_headers(
        io.BytesIO("".join(f"{name}: {value}\r\n" for name, value in LINES).encode() + b"\r\n")
    ),
    "a multidict": Multi(),
    "requests, which joins lines": UserDict({"RETRY-AFTER": "2.0", "rAtElImIt": '"a";r=0;t=5, "b";r=7;t=50'}),
    "numbers, by hand": {"Retry-After": 2, "RateLimit": '"a";r=0;t=5, "b";r=7;t=50'},
    "with what is no text": [*LINES, ("RateLimit", None), (7, 8), (None, "x"), ("Age", [1]), ("Age", 10**5000)],
}


@pytest.mark.parametrize("form", FORMS)
def test_headers_come_in_many_forms(form: str) -> None:
    assert read_headers(FORMS[form], 429) == read_headers(LINES, 429)


class Response:
    """What one would rather give, by mistake."""

    headers: ClassVar[Told] = {}

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("the body was read")


@pytest.mark.parametrize(
    "headers", [None, "Retry-After: 5", b"", 5, ["Retry-After: 5"], [b"ab"], [("a", "b", "c")], [5]]
)
def test_wrong_headers_are_refused(headers: Any) -> None:
    with pytest.raises(ValueError, match=r"^headers must be "):
        read_headers(headers)


def test_a_response_is_not_its_headers() -> None:
    """And is not read."""
    with pytest.raises(ValueError, match=r"^headers must be headers, not a Response: give its \.headers$"):
        read_headers(Response())  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["429", 429.0, True, b"429", (429,), 0, 99, 600])
def test_a_wrong_status_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match=r"^status must be a status code"):
        read_headers({}, status)


@pytest.mark.parametrize("now", [datetime(2026, 3, 26), 5, "now"])
def test_a_wrong_now_is_refused(now: Any) -> None:
    """One without a zone could mean anything."""
    with pytest.raises(ValueError, match=r"^now must be a datetime with a time zone"):
        read_headers({}, now=now)


# --- what a server may send

NAMES = [
    "Retry-After", "retry-after-ms", "Date", "Age", "RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining",
    "RateLimit-Reset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Reset-After",
    "x-ratelimit-reset-ms", "x-ratelimit-remaining-tokens", "anthropic-ratelimit-requests-reset",
]  # fmt: skip
BITS = [
    '"', "\\", ";", ",", "=", ":", " ", "-", ".", "0", "1", "60", "9" * 19, "a", "q=", "r=", "t=", "w=", "limit=", "reset=",
    "GMT", "Thu, ", "26 Mar 2026", "16:00:00", "2026-03-26T16:00:00Z", "m", "s", "ms", "\x00", "é", "(", "+0100", str(EPOCH),
]  # fmt: skip
names = st.sampled_from(NAMES) | st.text(max_size=20).map(lambda text: f"x-ratelimit-{text}") | st.text()
values = st.lists(st.sampled_from(BITS)).map("".join) | st.text() | st.datetimes().map(format_datetime)
statuses = st.none() | st.sampled_from([200, 301, 403, 429, 503]) | st.integers(100, 599)
anything = st.none() | st.integers() | st.floats() | st.binary() | st.text()


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(names | names.map(lambda text: text.encode()) | anything, values | anything)), statuses)
@example([("RateLimit", '"')], 429)
def test_nothing_that_a_server_sends_raises(lines: list[tuple[Any, Any]], status: int | None) -> None:
    """And whatever it sends, what is made of it is harmless."""
    advice = read_headers(lines, status)

    assert 0 <= advice.pause <= MAX_PAUSE
    assert len(advice.policies) <= MAX_POLICIES
    for policy in advice.policies:
        assert policy.limit is None or 0 <= policy.limit <= MAX_COUNT
        assert policy.remaining is None or 0 <= policy.remaining <= MAX_COUNT
        assert policy.reset is None or 0 <= policy.reset <= MAX_RESET
        assert policy.window is None or 0 < policy.window <= MAX_RESET


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bit",
    ['"', "\\", '"\\', '"\\"', ",", ";", "=", "1,", "1;", "9", "1s", "a;", '"a";r=1,', "1;w=1,", "Thu, ", "1:", " "],
)
def test_the_work_is_bounded(name: str, bit: str) -> None:
    """A value of the greatest length takes milliseconds, whatever is in it."""
    started = time.process_time()
    read_headers({name: bit * (MAX_VALUE // len(bit))}, 429)

    assert time.process_time() - started < 1


def test_too_long_a_value_is_ignored() -> None:
    """Its lines count together; the other headers are read."""
    policy = '"a";q=5,'.ljust(MAX_VALUE // 2)
    line = ("RateLimit-Policy", policy)

    assert read_headers([line, line]).limit == 5
    assert read_headers([line, line, ("RateLimit-Policy", '"b";q=1'), ("RateLimit", '"b";r=3')]).policies == (
        QuotaPolicy("b", None, 3),
        QuotaPolicy("a", 5),
    )
    assert read_headers({"RateLimit-Policy": policy + policy + " ", "Retry-After": "5"}) == read_headers(
        {"retry-after": "5"}
    )


def test_there_are_so_many_policies_at_most() -> None:
    assert len(read_headers({"RateLimit": '"a";r=1,' * 1000}).policies) == MAX_POLICIES
    assert (
        len(read_headers({f"X-RateLimit-Remaining-{number}": "1" for number in range(1000)}).policies) == MAX_POLICIES
    )


def test_what_is_ignored_is_logged_in_short(caplog: pytest.LogCaptureFixture) -> None:
    """At debug level, since the caller can do nothing about it."""
    caplog.set_level(logging.DEBUG, "redisopt")
    read_headers(
        {"Retry-After": "soon" * 1000, "X-RateLimit-Remaining": "many", "RateLimit": " " * 9000, "X-Other": "soon"}
    )

    assert [record.levelno for record in caplog.records] == [logging.DEBUG] * 3
    assert all(len(record.getMessage()) < 200 for record in caplog.records)


# --- the other direction: what a decision tells users of one's own API


def decision(*limits: LimitState, retry_after: float = 0.0, allowed: bool = True) -> Decision[None]:
    return Decision(allowed, 0, 0, retry_after, 0.0, None if allowed else "10/s", 0, None, limits)


def test_a_grant_tells_its_policy_and_what_is_left() -> None:
    assert decision(LimitState("10/s", 10, 9, 0.901)).headers() == {
        "RateLimit-Policy": '"default";q=10;w=1',
        "RateLimit": '"default";r=9;t=1',
    }


def test_several_limits_are_told_apart_by_their_names() -> None:
    """A burst is of one second. A window that is not of whole seconds cannot be told."""
    limits = (LimitState("10/s", 10, 9, 1.0), LimitState("3/500ms", 3, 2, 0.3), LimitState("burst", 5, 4, 0.9))

    assert decision(*limits).headers("api") == {
        "RateLimit-Policy": '"api:10/s";q=10;w=1, "api:3/500ms";q=3, "api:burst";q=5;w=1',
        "RateLimit": '"api:10/s";r=9;t=1, "api:3/500ms";r=2;t=1, "api:burst";r=4;t=1',
    }


@pytest.mark.parametrize(
    ("retry_after", "text"), [(0.0, "1"), (0.001, "1"), (1.0, "1"), (1.001, "2"), (3600.5, "3601")]
)
def test_a_refusal_tells_when_to_come_back_in_whole_seconds(retry_after: float, text: str) -> None:
    """Rounded up, and never at once."""
    headers = decision(LimitState("10/s", 10, 0, 1.0), retry_after=retry_after, allowed=False).headers()

    assert headers["Retry-After"] == text


def test_retry_after_does_not_come_before_a_window_ends() -> None:
    """The draft asks that; what is in use comes back little by little, before the window is over."""
    limits = (LimitState("10/min", 10, 0, 59.2), LimitState("100/h", 100, 60, 3000.0))
    headers = decision(*limits, retry_after=2.5, allowed=False).headers()

    assert headers["RateLimit"] == '"default:10/min";r=0;t=3, "default:100/h";r=60;t=3'
    assert headers["Retry-After"] == "3"


@pytest.mark.parametrize("name", ["", "é", "a\n", "a\x7f", None, 5])
def test_a_policy_s_name_is_printable_ascii(name: Any) -> None:
    """A line break would start another header."""
    with pytest.raises(ValueError, match=r"^name must be printable ASCII"):
        decision(LimitState("10/s", 10, 9, 1.0)).headers(name)


rates = st.builds(Rate, st.integers(1, MAX_LIMIT), st.integers(1, 10**8).map(lambda period_ms: period_ms / 1000))
states = rates.flatmap(
    lambda rate: st.builds(
        LimitState, st.just(str(rate)), st.just(rate.limit), st.integers(0, rate.limit), st.floats(0, rate.period)
    )
)


@settings(deadline=None)
@given(
    st.lists(states, min_size=1, max_size=17, unique_by=lambda state: state.name),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20),
    st.none() | st.floats(0.001, 1e6),
)
def test_what_a_decision_tells_is_read_as_it_was_meant(
    limits: list[LimitState], name: str, retry_after: float | None
) -> None:
    """Times in whole seconds, rounded up."""
    made = decision(*limits, retry_after=retry_after or 0.0, allowed=retry_after is None)
    advice = read_headers(made.headers(name), 200 if made else 429)

    assert len(advice.policies) == len(limits)
    for policy, limit in zip(advice.policies, limits, strict=True):
        period = Rate.parse(limit.name).period
        assert policy.name == (f"{name}:{limit.name}" if len(limits) > 1 else name)
        assert (policy.limit, policy.remaining) == (limit.limit, limit.remaining)
        assert policy.window == (period if period.is_integer() else None)
        assert policy.reset == math.ceil(min(limit.reset_after, retry_after or math.inf))
    if retry_after is not None:
        assert advice.pause == min(MAX_PAUSE, math.ceil(retry_after))
    assert advice.remaining == min(limit.remaining for limit in limits)
