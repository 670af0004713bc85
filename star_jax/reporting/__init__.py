"""What a run shows: result.json, the plot, the terminal's tables, seconds by phase."""
