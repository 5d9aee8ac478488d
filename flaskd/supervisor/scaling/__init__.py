"""How many workers there are to be: from what the machine has, from the load, or as an operator says."""
