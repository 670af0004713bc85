"""Eight virtual CPU devices for every test. XLA reads this once, so it comes before jax is imported.

Set XLA_FLAGS (to anything) to run the tests on the devices there are; what needs eight is skipped.
"""

import os

_FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Tests compile for longer than they compute.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
