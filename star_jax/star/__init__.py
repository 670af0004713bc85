"""The algorithm: rounds of generation, rationalization, filtering and fine-tuning.

rounds.py      the outer loop (Algorithm 1)
phases.py      the phases of a round
fused_step.py  a round's work as one pure function of a batch; fused_round.py: the loop around it
build.py       everything that a run works with, made from its settings
capacity.py    how many rows are decoded at a time
programs.py    the compiled programs
finite.py      NaN and infinities are refused
"""
