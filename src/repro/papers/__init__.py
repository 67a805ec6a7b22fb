"""What the papers report: `reported/*.yaml` holds the numbers, `registry` reads them. Nothing here imports torch."""
