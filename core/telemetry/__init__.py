"""What the processes tell of themselves: lines in a log, traces, and counts of jobs."""
