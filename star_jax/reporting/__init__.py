"""Reports of a run: result.json, metrics.jsonl, the plot, the terminal, seconds by phase."""
