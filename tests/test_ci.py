"""In CI nothing is skipped: what a developer's machine may lack fails there."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPPING = {
    "test_whole_module.py": "import pytest\n\npytest.skip('lazy', allow_module_level=True)\n",
    "test_one_by_one.py": """\
import pytest

def test_inside(): pytest.skip("lazy")

@pytest.mark.skipif(True, reason="lazy")
def test_by_a_mark(): ...

def test_without_its_program(require): require("no-such-program")

def test_without_its_material(shared): ...
""",
}


def _run(folder: Path, ci: str) -> tuple[int, str]:
    """The exit code and the closing line of tests that all skip."""
    for name, text in {"conftest.py": CONFTEST.read_text(encoding="utf-8"), **SKIPPING}.items():
        (folder / name).write_text(text, encoding="utf-8")
    words = ["-p", "no:cacheprovider", "--continue-on-collection-errors", "-q", "-c", os.devnull, str(folder)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "CI": ci, "CASONA_SHARED": str(folder / "nowhere")},
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stdout.splitlines()[-1].partition(" in ")[0]


def test_a_skip_is_a_failure_in_ci(tmp_path):
    assert _run(tmp_path, "true") == (1, "2 failed, 3 errors")


def test_a_skip_is_a_skip_elsewhere(tmp_path):
    assert _run(tmp_path, "") == (0, "5 skipped")
