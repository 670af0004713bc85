"""Settings: what a config file and the command line can say. Imports no jax.

schema.py      every setting: default, meaning, allowed values
rules.py       which values cannot go together
validation.py  turns a ConfigDict into frozen dataclasses; names every problem
methods.py     published methods as settings
flags.py       what `python -m star_jax.main --help` prints and takes
"""
