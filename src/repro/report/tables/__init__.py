"""Tables: the papers' exhibits with our runs in their places, and tables of our own."""
