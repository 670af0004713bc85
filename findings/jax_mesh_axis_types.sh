#!/usr/bin/env bash
# The default type of a mesh's axes: three ways to make one mesh, two answers, and they change.
#
# What: `Mesh(devices, names)` has axes of type Auto in jax 0.10.2 and in 0.12.0.1 (the compiler lays
#   out what nobody has laid out). `jax.make_mesh(shape, names)` has Explicit ones in both (shardings
#   are a part of types). `AbstractMesh(shape, names)` has Auto in 0.10.2 and Explicit in 0.12.0.1.
# Why it surprises: the same sizes and names do not make equal meshes, and an abstract mesh, made to
#   stand for a real one, stands for another kind since some version between these two.
# What users meet: after an update, shapes with shardings that were made on an abstract mesh carry
#   explicit shardings: jax.eval_shape of a product of two matrices that are both split along what
#   they are summed over is an error, where it was a shape before.
# What to do: say `axis_types=(AxisType.Auto,) * n` for each mesh.
#
# Needs: Python 3.12 or 3.13 ($PYTHON), some 400 MB in a temporary folder.
# Ends with: 0, all as said here; 1, something is otherwise; 2, it could not be run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export JAX_PLATFORMS=cpu

cat > "$work/ask.py" <<'PYTHON'
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

made = {
    "Mesh": Mesh(np.array(jax.devices()), ("x",)),
    "make_mesh": jax.make_mesh((2,), ("x",)),
    "AbstractMesh": AbstractMesh((2,), ("x",)),
}
for name, mesh in made.items():
    print(f"{name} {mesh.axis_types[0].name}")
side = NamedSharding(made["AbstractMesh"], PartitionSpec(None, "x"))
other = NamedSharding(made["AbstractMesh"], PartitionSpec("x", None))
a = jax.ShapeDtypeStruct((4, 4), "float32", sharding=side)
b = jax.ShapeDtypeStruct((4, 4), "float32", sharding=other)
try:
    print("product", jax.eval_shape(lambda a, b: a @ b, a, b).shape)
except Exception as error:
    print("product", type(error).__name__)
PYTHON

ask() { # ask VERSION: what that jax answers
    "${PYTHON:-python3}" -m venv "$work/$1" && "$work/$1/bin/python" -m pip install --quiet \
        --disable-pip-version-check "jax==$1" "jaxlib==$1" "numpy==2.4.6" >&2 || exit 2
    "$work/$1/bin/python" "$work/ask.py"
}

wrong=0
expect() { # expect VERSION ANSWER
    local found
    found=$(ask "$1") || { echo "could not be run with jax $1" >&2; exit 2; }
    echo "jax $1:"
    sed 's/^/    /' <<< "$found"
    [ "$found" = "$2" ] || { echo "jax $1 was to answer:"; sed 's/^/    /' <<< "$2"; wrong=1; }
}

expect 0.10.2 'Mesh Auto
make_mesh Explicit
AbstractMesh Auto
product (4, 4)'
expect 0.12.0.1 'Mesh Auto
make_mesh Explicit
AbstractMesh Explicit
product ShardingTypeError'
exit $wrong
