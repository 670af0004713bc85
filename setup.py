"""Installs star_jax: `pip install -e .`, with `[test]` to work on it."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "star_jax" / "__init__.py").read_text())
README = HERE / "README.md"
PYTHONS = ("3.11", "3.12", "3.13")

# Lower bounds are what the code needs, upper bounds the next release that may break it: jax and
# flax change with every minor version, the others with a major one.
DEPENDENCIES = [
    "absl-py>=2.1,<3",
    "etils[epath]>=1.9,<2",
    "flax>=0.12,<0.13; python_version < '3.12'",
    "flax>=0.12.9,<0.13; python_version >= '3.12'",  # 0.12.8 breaks with jax 0.11.1
    "fsspec>=2024.6",  # what epath opens gs:// with; numbered by years
    "huggingface-hub>=1.0,<3",
    "importlib-resources>=6.0,<8",  # tensorflow-datasets imports it and does not say so
    "jax>=0.10,<0.13",  # 0.11 and later need Python 3.12
    "jinja2>=3.1,<4",  # chat templates
    "matplotlib>=3.9,<4",
    "ml-collections>=1.0,<2",
    "ml-dtypes>=0.5,<1",
    "numpy>=2.0,<3",
    "optax>=0.2.5,<0.3",
    "orbax-checkpoint>=0.11.20,<0.13",
    "pyarrow>=15",  # Parquet, and what datasets reads
    "rich>=13.7,<16",
    "safetensors>=0.5,<1",
    "tensorflow-datasets>=4.9.7,<5",
    "tokenizers>=0.22,<1",
    "transformers>=5.0,<6",
]

GGUF = "gguf>=0.17,<1"
HUB = "datasets>=3,<6"  # task.data="hf:OWNER/NAME"

# What a second environment has, of another Python (make test).
SECOND = [
    GGUF,
    "hypothesis>=6.100,<7",
    # The compiler for TPUs, which needs none of them; it is made for no other platform.
    "jax[tpu]; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "pytest>=8.3,<10",
    "pytest-timeout>=2.3,<3",
    "pytest-xdist>=3.8,<4",
    "regex>=2024.9",  # as tokenizers cut words; numbered by dates
    "transformers>=5.24,<6",  # what benchmarks ask of it
]

# jax's own extras bring the library that each version of it asks for.
EXTRAS = {
    "gguf": [GGUF],
    "hub": [HUB],
    "tpu": ["jax[tpu]"],
    "gpu": ["jax[cuda12]"],
    "gpu13": ["jax[cuda13]"],
    "second": SECOND,
    "test": [
        *SECOND,
        HUB,
        "accelerate>=1.1,<2",  # transformers opens no GGUF file without
        "pyright[nodejs]>=1.1.400,<2",  # with its own node, where the machine has none
        "ruff>=0.12,<0.18",  # its formatting changes with minor versions
        "torch>=2.6,<3",  # transformers' own models, to be compared with
    ],
}

setup(
    name="star-jax",
    version=VERSION[1] if VERSION else None,
    description="STaR, the Self-Taught Reasoner, in JAX",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: {version}" for version in PYTHONS],
    packages=find_packages(include=["star_jax", "star_jax.*"]),
    package_data={"star_jax": ["shipped/*/*"]},
    python_requires=">=3.11",
    install_requires=DEPENDENCIES,
    extras_require=EXTRAS,
)
