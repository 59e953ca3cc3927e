"""What leaves this machine: requests to addresses that callers name, through a guard."""
