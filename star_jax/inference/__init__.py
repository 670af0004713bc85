"""Sampling: from prompts to completions.

scheduler.py       decides on the host which request gets a slot when
slot_batch.py      the slots of a bucket on the devices
prefill_packing.py packs prompts of different lengths into prefill batches
buckets.py         the static shapes that programs are compiled for
admission.py       new rows on the devices: prompts are read once, rows of them get slots
decode.py          the decoding loop on the devices: one token a step
sampling.py        logits to a token: greedy, temperature, top-k, top-p
draw_cpu.py        the same tokens on a CPU, faster; noise.py and ranks.py are its parts
stop_rule.py       when a row ends
spec.py            the shapes and rules that sampling is compiled for
abstract.py        shapes and shardings of what the programs take and return
programs.py        the compiled programs of sampling
"""
