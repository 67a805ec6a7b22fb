"""The papers in miniature: all trials of `conf/experiment/mini` in two processes, the report, and a comparison."""
