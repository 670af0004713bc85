"""Prints a model's sizes, memory and tokenizer: `python -m star_jax.inspect_model --help`."""

from star_jax.conversion.describe import main

if __name__ == "__main__":
    main()
