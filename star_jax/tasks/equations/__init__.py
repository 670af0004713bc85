"""Equations in the text of a rationale.

tokens.py       numbers, signs and words
expressions.py  sums and products, which are the sides of equations
values.py       exact values
units.py        words that change a value
verdict.py      whether two sides are equal
finding.py      the equations of a text
"""

from star_jax.tasks.equations.finding import Equation, annotations, find, steps, wrong

__all__ = ["Equation", "annotations", "find", "steps", "wrong"]
