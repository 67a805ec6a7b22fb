"""Tasks: text in, text or labels out. No model, no tensor, except in collate.py."""
