"""Writes a model for other programs: `python -m star_jax.export --help`."""

from star_jax.conversion.export import main

if __name__ == "__main__":
    main()
