"""Which completions are right, and what is kept of them.

grade.py, ledger.py, summary.py, statistics.py run on the host and import no jax; device.py and its
parts (device_*.py) are the same rules as array operations, for the fused step.
"""
