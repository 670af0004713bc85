"""Settings: what a config file and the command line can say. Imports no jax.

schema.py      every setting: default, meaning, allowed values
validation.py  settings that no run can have; from a ConfigDict to frozen dataclasses
flags.py       what `python -m star_jax.main --help` prints and takes
"""
