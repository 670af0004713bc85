"""From prompts to rationales.

engine.py   rows, chunks and padding, on the host
decode.py   the loop on the device: prefill, then one token a step until every row has stopped
select.py   logits to a token: greedy, temperature, top-k, top-p
"""
