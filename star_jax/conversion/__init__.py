"""Weights and configurations of other programs: read, written, described.

families.py      the table of model families; family.py: what a family is
config_fields.py, rope_fields.py, weight_map.py   the parts that families are put together from
safetensors.py, gguf.py, run_checkpoint.py        where the numbers come from
load.py, export.py, describe.py                   what the commands do with them
"""
