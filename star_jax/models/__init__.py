"""The decoder: one transformer for every family, as pure functions of its weights.

config.py          the architecture of a decoder and how it is computed
transformer.py     embedding, blocks and head, as NNX modules
attention.py       chooses the attention kernel of a device
attention_reference.py  attention by the plain formula, and its gradient
kv_cache.py        keys and values of prompts, of new tokens and of a shared prefix
prefix_tokens.py   the tokens of the few-shot prompt, on the devices
stacking.py        the layers as one stack, run by a scan
rope.py, matmul.py, head.py, loss.py  parts of the forward pass, and the loss
params.py          the weights as a pytree
abstract_params.py the weights' shapes and shardings
memory.py          bytes that a model takes on each device
"""
