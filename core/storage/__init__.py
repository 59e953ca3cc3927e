"""Where pictures are kept, and how they become bytes. No torch."""
