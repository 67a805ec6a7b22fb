"""Claims of the papers, tested on their numbers and on ours."""
