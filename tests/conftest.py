"""What every test may ask for: the shared test material, real models made from it, programs of the system.

On a developer's machine a test whose material is missing is skipped and says what to do. In CI (`CI=true`)
nothing is skipped: a skip is a failure.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(autouse=True, scope="session")
def _house_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """No test may see, or write into, the house of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CASONA_") and name != "CASONA_SHARED"]:
            patch.delenv(name)
        patch.setenv("CASONA_HOME", str(tmp_path_factory.mktemp("house-of-nobody")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test material: documents, questions, clients' requests, tools."""
    folder = Path(os.environ.get("CASONA_SHARED") or CHECKOUT.parent / "shared")
    if not (folder / "tools").is_dir():
        _lacks(f"test material is missing: put it at {folder}, or name its folder in CASONA_SHARED")
    return folder.resolve()


@pytest.fixture(scope="session")
def tiny_gguf(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model of 0.5 MB with random weights: the real engine runs it, its words mean nothing."""
    return _made_by(shared / "tools/make_tiny_gguf.py", tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def minilm_gguf(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 as a GGUF: a real embedding model with 384 dimensions."""
    return _made_by(shared / "tools/make_minilm_gguf.py", tmp_path_factory.mktemp("minilm") / "minilm.gguf")


@pytest.fixture(scope="session")
def require() -> Callable[[str], Path]:
    """`require("nginx")` gives the program's path, or skips the test and says what to install."""

    def find(program: str) -> Path:
        found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        if found is None:
            _lacks(f"{program} is not installed: install it with apt-get or brew, or put it on PATH")
        return Path(found)

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed_if_skipped(report)


def _failed_if_skipped(report: Report) -> Report:
    """A skip hides a test from everyone, so CI has none; expected failures are skips of pytest's too."""
    if IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI skips nothing: {report.longrepr}"
    return report


def _made_by(tool: Path, gguf: Path) -> Path:
    made = subprocess.run([sys.executable, tool, gguf], capture_output=True, text=True)
    if made.returncode:
        _lacks(f"{tool.name} made no model; `make test` installs what it needs. It said:\n{made.stderr}")
    return gguf


def _lacks(what: str) -> NoReturn:
    if IN_CI:
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
