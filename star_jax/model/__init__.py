"""The decoder: one definition, model families as settings."""
