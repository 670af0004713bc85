"""The decoder: one transformer for every family, as pure functions of its weights.

config.py          what a decoder is built from
transformer.py     embedding, blocks and head, as NNX modules
attention.py       which attention runs where; attention_reference.py: by the plain formula
kv_cache.py        keys and values of prompts, of new tokens and of a shared prefix
stacking.py        the layers in one stack
abstract_params.py the weights' shapes and shardings; memory.py: what they take
"""
