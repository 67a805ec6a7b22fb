"""Text to token ids and labels."""
