"""What can be done with prompts once they are trained: predict, vote, look at them, carry them elsewhere."""
