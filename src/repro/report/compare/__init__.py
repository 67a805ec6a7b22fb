"""Which of our runs may stand beside a paper's number, and how they compare."""
