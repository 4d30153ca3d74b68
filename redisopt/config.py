"""What all config models share: frozen, strict about unknown fields, and loadable from a dict, TOML or the environment.

Durations are seconds as floats, with the unit in the description; Redis gets whole milliseconds.
"""

from __future__ import annotations

import builtins
import importlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_LIST_COMMA = re.compile(r"(?<!\d),|,(?!\d)")  # not that of 1,000


class Config(BaseModel):
    """The root of all config models."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    command_timeout: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="Seconds that one call to Redis may take, its retries included, before it counts as unavailable.",
    )

    @model_validator(mode="before")
    @classmethod
    def _none_as_text(cls, fields: Any) -> Any:
        """Of a field that may be None, the text "none" says so: neither TOML nor the environment has a None."""
        if not isinstance(fields, dict):
            return fields
        return {name: None if _is_none(value) and cls._may_be_none(name) else value for name, value in fields.items()}

    @classmethod
    def _may_be_none(cls, name: str) -> bool:
        field = cls.model_fields.get(name)
        kinds = get_args(field.annotation) if field is not None else ()
        return type(None) in kinds and str not in kinds

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The config of these fields.

        Raises:
            pydantic.ValidationError: a field is unknown, missing or out of range.
        """
        if not isinstance(fields, Mapping):
            raise ValueError(f"fields must be a dict, not {type(fields).__name__}")
        return cls.model_validate(dict(fields))

    @classmethod
    def given(cls, config: Any, fields: Mapping[str, Any]) -> Self:
        """The config that was given whole, or as fields.

        Raises:
            ValueError: it was given both ways, or is of another class.
            pydantic.ValidationError: a field is unknown, missing or out of range.
        """
        if config is None:
            return cls(**fields)
        if not isinstance(config, cls):
            raise ValueError(
                f"config must be a {cls.__name__}, not {type(config).__name__}: "
                "give fields as keywords, or a dict to from_dict()"
            )
        if fields:
            raise ValueError(
                f"config and the fields {', '.join(fields)} were both given: use config.model_copy(update=...) or one of them"
            )
        return config

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - it is frozen
        """The config with some fields changed, checked like any other (pydantic's own copy is not).

        Raises:
            pydantic.ValidationError: a field is unknown or out of range.
        """
        return type(self)(**dict(self) | dict(update or {}))

    @classmethod
    def from_toml(cls, path: str | Path, table: str = "") -> Self:
        """The config in a TOML file, of the table with this dotted name, such as ``"throttle.github"``; the whole file if "".

        TOML has no null: of a field that may be None, ``"none"`` says so.

        Raises:
            ValueError: the file is not TOML, or has no such table.
            pydantic.ValidationError: a field is unknown, missing or out of range.
        """
        try:
            fields: Any = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"path {str(path)!r} is not TOML: {error}") from error
        for part in table.split(".") if table else ():
            if not isinstance(fields, dict) or part not in fields:
                raise ValueError(f"table {table!r} is not in {str(path)!r}: there is no {part!r}")
            fields = fields[part]
        if not isinstance(fields, dict):
            raise ValueError(f"table {table!r} in {str(path)!r} is a value, not a table")
        return cls.from_dict(fields)

    @classmethod
    def from_env(cls, prefix: str, environ: Mapping[str, str] | None = None) -> Self:
        """The config of the environment variables that start with `prefix`, such as ``REDISOPT_GITHUB_``.

        ``REDISOPT_GITHUB_MAX_BURST_SIZE=50`` sets ``max_burst_size``; lists are separated by commas:
        ``REDISOPT_GITHUB_RATES=10/s,5000/h``; ``none`` is None.

        Raises:
            ValueError: `prefix` is empty, and would mean the whole environment.
            pydantic.ValidationError: a field is unknown, missing or out of range.
        """
        if not isinstance(prefix, str) or not prefix:
            raise ValueError(
                f'prefix is empty, or no text ({prefix!r}): name the variables that are meant, such as "REDISOPT_GITHUB_"'
            )
        found: dict[str, Any] = {}
        for variable, text in (os.environ if environ is None else environ).items():
            if variable.startswith(prefix):
                name = variable.removeprefix(prefix).lower()
                field = cls.model_fields.get(name)
                if field is None:
                    found[name] = "(not shown)"  # $REDISOPT_URL, or another secret that shares the prefix
                else:
                    found[name] = split_list(text) if get_origin(field.annotation) in (tuple, list) else text
        return cls.from_dict(found)


def _is_none(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() == "none"


def split_list(text: str) -> list[str]:
    """The parts of a list in one text, separated by commas."""
    return [part.strip() for part in _LIST_COMMA.split(text) if part.strip()]


def milliseconds(seconds: float) -> int:
    """Seconds as the whole milliseconds that Redis gets."""
    return round(seconds * 1000)


def _as_error_types(value: Any) -> Any:
    """Error types may be given by name, as a file has to: built-in ones, or dotted ``module.Name``."""
    if isinstance(value, str):
        value = split_list(value)
    if isinstance(value, type):
        value = (value,)
    if not isinstance(value, list | tuple):
        return value
    return tuple(_error_type(each) if isinstance(each, str) else each for each in value)


def _error_type(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module) if module else builtins, attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no error type {name!r}: {error}") from error


ErrorTypes = Annotated[tuple[type[BaseException], ...], BeforeValidator(_as_error_types)]
"""A field of error types: the classes, or their names, such as ``"ConnectionError"`` or ``"httpx.TransportError"``."""
