"""The command line: it puts service, worker and broker together."""
