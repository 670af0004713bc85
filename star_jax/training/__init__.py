"""Examples to weights: the state, one update, the loop around it.

state.py  weights and optimizer state as one pytree
step.py   loss, gradient accumulation, optimizer and schedule
spec.py   what an update is compiled for
loop.py   batches in, checkpoints and metrics out, resumable at any step
"""
