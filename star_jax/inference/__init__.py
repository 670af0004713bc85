"""Prompts to completions.

scheduler.py       which row is decoded when, on the host
slot_batch.py      the rows that are on the devices
prefill_packing.py how prompts of different lengths are read together
buckets.py         the static sizes that programs are compiled for
decode.py          the loop on the device: prompts are read, then one token a step
sampling.py        logits to a token: greedy, temperature, top-k, top-p
programs.py        the compiled programs of the above
"""
