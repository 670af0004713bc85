"""Reads, writes and describes weights and configurations in other programs' formats.

families.py      the table of model families; family.py: the class of its entries
config_fields.py, rope_fields.py, weight_map.py   the parts of a family
safetensors.py, gguf.py, run_checkpoint.py        the sources of weights
gguf_families.py                                  the table of GGUF architectures
load.py, export.py, describe.py                   the code behind the commands
"""
