"""The procedural world, and the training of the built-in model `models/tiny-world` on it."""
