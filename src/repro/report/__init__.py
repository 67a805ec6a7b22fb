"""Our numbers beside the papers': `compare` decides whether two numbers may be compared, `tables` prints them."""
