"""repro: do published results on soft prompts hold?  (Nothing heavy is imported here: torch loads when a trial starts.)"""

__version__ = "0.1.0"
