"""Grades completions, and stores the samples in the ledger.

grade.py, ledger.py, leak_scores.py, summary.py, statistics.py, auc.py and evaluation.py run on the
host and import no jax.
device.py and its parts (device_*.py) are the same rules as array operations, for the fused step.
"""
