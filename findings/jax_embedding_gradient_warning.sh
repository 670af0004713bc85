#!/usr/bin/env bash
# jaxlib 0.12 warns of an "involuntary full rematerialization" that 0.10 makes without a word.
#
# What: the gradient of an embedding's lookup, the table [vocabulary, width] split over ("tensor",
#   "fsdp"), tokens over ("data", "fsdp"), on a mesh whose axis "data" has one device. jaxlib
#   0.12.0.1 logs at every compilation, from C++ and to stderr, that its partitioner "cannot go from"
#   one sharding to another "efficiently". With 0.10.2 stderr is empty. Both compile it to the same
#   kinds of collectives: all-gather, all-reduce, collective-permute. With two devices along "data",
#   and as many in all, 0.12.0.1 is silent too.
# Why it surprises: an axis of one device splits nothing, so the two shardings that it cannot go
#   between are those of the silent case; and Python's warnings filters never see such a line.
# What users meet: lines of some 800 characters on the terminal at the start of training on several
#   devices, and tests that compare stderr fail, though what is computed is what it was.
# What to do: nothing; TF_CPP_MIN_LOG_LEVEL=2 hides such lines.
#
# Needs: Python 3.12 or 3.13 ($PYTHON), some 400 MB in a temporary folder.
# Ends with: 0, all as said here; 1, something is otherwise; 2, it could not be run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=8
unset TF_CPP_MIN_LOG_LEVEL

cat > "$work/compile.py" <<'PYTHON'
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

shape = tuple(int(size) for size in sys.argv[1:])
axes = ("data", "fsdp", "tensor")
mesh = Mesh(np.array(jax.devices()).reshape(shape), axes, axis_types=(AxisType.Auto,) * 3)
split = NamedSharding(mesh, PartitionSpec("tensor", "fsdp"))
table = jax.device_put(jnp.ones((288, 32)), split)
tokens = jax.device_put(
    jnp.zeros((8, 128), jnp.int32), NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
)


def loss(table, tokens):
    return (table[tokens] ** 2).sum()


program = jax.jit(jax.grad(loss), out_shardings=split).lower(table, tokens).compile()
kinds = r" (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)\("
print(*sorted(set(re.findall(kinds, program.as_text()))))
PYTHON

wrong=0
for version in 0.10.2 0.12.0.1; do
    "${PYTHON:-python3}" -m venv "$work/$version" && "$work/$version/bin/python" -m pip install \
        --quiet --disable-pip-version-check "jax==$version" "jaxlib==$version" "numpy==2.4.6" \
        >&2 || exit 2
    for sizes in "1 2 4" "2 2 2"; do
        # shellcheck disable=SC2086
        found=$("$work/$version/bin/python" "$work/compile.py" $sizes 2> "$work/said") || {
            cat "$work/said"; exit 2; }
        count=$(grep -c "Involuntary full rematerialization" "$work/said" || true)
        echo "jax $version, mesh $sizes: $count warning(s); collectives: $found"
        cut -c1-300 "$work/said"
        expected=0
        [ "$version $sizes" != "0.12.0.1 1 2 4" ] || expected=1
        if [ "$sizes" = "1 2 4" ] && [ "$found" != "all-gather all-reduce collective-permute" ]; then
            echo "other collectives than all-gather, all-reduce, collective-permute"
            wrong=1
        fi
        [ "$((count > 0))" = "$expected" ] || { echo "warnings were to be: $expected"; wrong=1; }
    done
done
exit $wrong
