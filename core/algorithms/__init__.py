"""One technique, one file. They know models and pictures, and no storage or broker."""
