"""The weights of models: which files they are, and how they come here from the hub."""
