"""What a machine has and lacks for every task, model and metric, and what mends it: `repro doctor`."""
