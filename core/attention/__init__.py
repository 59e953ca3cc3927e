"""The engine: attention in which some rows of a batch read the keys and values of others."""
