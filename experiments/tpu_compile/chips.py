"""What each TPU can do at best, by its makers: the roofline's two slopes, memory and links.

Peak numbers: "System architecture" pages of Google's Cloud TPU documentation (bfloat16 peak, memory
and its bandwidth; links of v5e, v5p, v6e, TPU7x); links of v3: Norrie et al., "The Design Process
for Google's Training Chips: TPUv2 and TPUv3", IEEE Micro 2021 (656 Gbit/s); of v4: Jouppi et al.,
"TPU v4", ISCA 2023 (50 GB/s). A ring along one axis of the torus uses two links of a chip.

A chip of a TPU7x (Ironwood; 192 GiB, 7,380 GB/s, 2,307 TFLOP/s in bfloat16, 1,200 GB/s over six
links) is two devices, each with half of the memory and of the peak. A ring through both enters and
leaves the chip by the same two links, and crosses between them by a faster one.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
    """One device as jax counts them: a core of a v3 or a TPU7x, a chip of the others.

    Attributes:
        hbm_bytes: main memory.
        flops: bfloat16 operations a second.
        hbm_bandwidth: bytes a second of main memory.
        ring_bandwidth: bytes a second that a device sends in a ring, both ways together.
    """

    hbm_bytes: float
    flops: float
    hbm_bandwidth: float
    ring_bandwidth: float


GIB = 2.0**30
# By jax's `device_kind` and `num_cores`: a v4 whose two cores are not joined counts as two devices.
DEVICES: dict[tuple[str, int], Device] = {
    ("TPU v3", 1): Device(16 * GIB, 123e12 / 2, 900e9 / 2, 82e9),  # two cores share the chip's
    ("TPU v4", 2): Device(32 * GIB, 275e12, 1228e9, 100e9),
    ("TPU v5 lite", 1): Device(16 * GIB, 197e12, 819e9, 100e9),
    ("TPU v6 lite", 1): Device(32 * GIB, 918e12, 1640e9, 200e9),
    ("TPU v5", 2): Device(95 * GIB, 459e12, 2765e9, 200e9),
    ("TPU7x", 1): Device(192 * GIB / 2, 2307e12 / 2, 7380e9 / 2, 200e9),
}

# What to ask the compiler for besides the topology's name.
OPTIONS: dict[str, dict[str, str]] = {"v4": {"chip_config_name": "megacore"}}
