"""From prompts to rationales.

engine.py     rows, chunks and who gets a slot, on the host
newcomers.py  how the prompts of those who get one are packed
sizes.py      the static sizes that sampling is compiled for
decode.py     the loop on the device: prompts are read, then a token a step until rows have stopped
select.py     logits to a token: greedy, temperature, top-k, top-p
"""
