"""The job record and its delivery: the one room of the domain that speaks to the broker."""
