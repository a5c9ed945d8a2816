"""Which engine, and which device, for which machine and settings."""

from pathlib import Path
from typing import Any

from casona.engine.backend import Backend, Device, Program, choose
from casona.engine.machine import Gpu, Machine
from casona.settings import Engine as Settings

METAL = Device(name="Metal", backend="metal", description="Apple M4", memory_bytes=12 * 2**30)
CUDA = Device(name="CUDA0", backend="cuda", description="RTX", memory_bytes=24 * 2**30)
VULKAN = Device(name="Vulkan0", backend="vulkan", description="RTX", memory_bytes=24 * 2**30)
BARE = Machine(usable_bytes=16 * 2**30, cores=8)
WITH_GPU = Machine(usable_bytes=16 * 2**30, cores=8, gpus=(Gpu(kind="cuda", name="RTX"),))
UNUSED = "a GPU is not used: RTX. Put a llama-server built for cuda on PATH, or name it in engine.program"


def program(*devices: Device) -> Program:
    return Program(path=Path("/bin/llama-server"), devices=devices)


def chosen(machine: Machine, *builtin: Device, found: Program | None = None, **settings: Any) -> Backend:
    return choose(Settings(**settings), machine, builtin, found)


def test_without_a_gpu_models_run_on_the_processor() -> None:
    assert chosen(BARE) == Backend()
    assert Backend().name == "cpu"


def test_the_built_in_engine_uses_metal() -> None:
    assert chosen(BARE, METAL) == Backend(devices=(METAL,))


def test_a_gpu_that_nothing_can_use_is_told() -> None:
    assert chosen(WITH_GPU) == Backend(warnings=(UNUSED,))
    assert chosen(WITH_GPU, found=program()) == Backend(warnings=(UNUSED,))


def test_a_program_on_path_is_taken_for_a_gpu_that_it_can_use() -> None:
    found = program(CUDA)
    assert chosen(WITH_GPU, found=found) == Backend(devices=(CUDA,), program=found)


def test_the_processor_is_taken_when_asked_for() -> None:
    assert chosen(WITH_GPU, METAL, device="cpu") == Backend()
    found = program(CUDA)
    assert chosen(WITH_GPU, device="cpu", program="x", found=found) == Backend(program=found)


def test_one_kind_of_device_is_taken_from_a_program_that_has_two() -> None:
    found = program(CUDA, VULKAN)
    assert chosen(WITH_GPU, device="vulkan", found=found).devices == (VULKAN,)
    assert chosen(WITH_GPU, found=found).devices == (CUDA,)


def test_a_device_that_is_not_there_is_told() -> None:
    assert chosen(BARE, device="rocm") == Backend(
        warnings=("engine.device is rocm, which no engine here can use; models run on cpu",)
    )
