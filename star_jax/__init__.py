"""STaR in JAX: a language model that teaches itself to reason.

Zelikman, Wu, Mu, Goodman, "STaR: Bootstrapping Reasoning With Reasoning", NeurIPS 2022.
"""

__version__ = "0.1.0"
