"""The algorithm: rounds of generation, rationalization, filtering and fine-tuning.

rounds.py          the outer loop (Algorithm 1); phase.py: the phases in which a round samples
generate.py        sampling and grading of problems; finetune.py: training; weights.py: the models
fused_step.py      a round's work as one pure function of a batch
fused_programs.py  the compiled programs of that function; fused_round.py: the loop around it
run.py             everything that a run works with; build.py: makes it from the settings
leak_score.py      how much more likely the hint makes a rationalization
capacity.py        the number of rows that are decoded at a time
evaluation.py      a run without rounds, which only evaluates
verifier.py        a verifier by DPO; verifier_run.py: what its training works with
past_run.py        a run as it is read by others; ranking.py: completions ranked by a verifier
finite.py          errors for NaN and infinities
"""
