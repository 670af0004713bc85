"""Eight virtual CPU devices for every test. XLA reads this once, so it comes before jax is imported.

Set XLA_FLAGS (to anything) to run the tests on the devices there are; what needs eight is skipped.
"""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

_FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Tests compile for longer than they compute.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """What a module has compiled goes with it.

    Every program takes some mappings of memory, of which Linux gives a process 65,530
    (vm.max_map_count); without this a worker comes to its end with them, inside of the compiler.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The programs that several runs of a module share are compiled once."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("cache")), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
