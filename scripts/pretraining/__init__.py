"""Pre-training of the mini models from scratch: text in, checkpoints and their loss curves out."""
