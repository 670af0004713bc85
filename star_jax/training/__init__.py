"""Training: the state, one update, and the loop around it.

state.py      weights and optimizer state as one pytree
optimizer.py  AdamW, learning-rate schedules, and the number of steps of a round
step.py       loss, gradient accumulation, one optimizer step
spec.py       the optimizer and the shapes that an update is compiled for
programs.py   the compiled programs of training
loop.py       the training loop on the host, resumable at any step
dpo.py        the DPO update on preference pairs, and its programs
scoring.py    log-probabilities of the target tokens of examples
"""
