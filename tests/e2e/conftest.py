"""A real house with the real engine, at work in a thread of this process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from casona import running, wiring
from casona.home import Home
from casona.house import House
from casona.settings import Settings
from casona.web.server import bind, url_of


@dataclass(frozen=True)
class Running:
    house: House
    url: str
    api_key: str
    background: running.Background

    def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        self.background.__exit__()


Open = Callable[..., Running]


@pytest.fixture
def open_house(tmp_path: Path) -> Iterator[Open]:
    """`open_house(models=[...], server={...})` opens one; keywords are groups of settings."""
    with ExitStack() as stack:

        def open_one(models: list[Path] | None = None, **groups: Any) -> Running:
            home = Home(tmp_path / "house")
            home.create()
            home.models_dir.mkdir(exist_ok=True)
            for model in models or []:
                (home.models_dir / model.name).symlink_to(model)
            settings = Settings.model_validate({"discovery": {"ollama": False}} | groups)
            house = stack.enter_context(wiring.opened(home, settings, "a test"))
            listening = bind("127.0.0.1", 0)
            background = running.Background(house, listening)
            stack.enter_context(background)
            return Running(house, url_of(listening), house.new_admin_key or "", background)

        yield open_one


@pytest.fixture(scope="session")
def slow_gguf(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as the tiny one, but large enough that an answer of some thousand tokens takes long."""
    tool = shared / "tools/make_tiny_gguf.py"
    spec = spec_from_file_location("make_slow_gguf", tool)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.WIDTH, module.LAYERS, module.HEADS, module.FEED_FORWARD = 512, 8, 8, 1024
    path = tmp_path_factory.mktemp("slow") / "slow.gguf"
    module.write(str(path))
    return path
