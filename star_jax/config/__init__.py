"""Settings: what a config file and the command line can say. Imports no jax.

schema.py      every setting: default, meaning, allowed values
validation.py  rules between settings; turns a ConfigDict into frozen dataclasses
flags.py       what `python -m star_jax.main --help` prints and takes
"""
