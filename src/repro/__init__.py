"""repro: do published results on soft prompts hold? (Nothing heavy is imported here: torch loads with a trial.)"""

__version__ = "0.1.0"
