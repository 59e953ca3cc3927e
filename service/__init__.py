"""The HTTP front end. It validates, records and shows jobs; it never loads a model."""
