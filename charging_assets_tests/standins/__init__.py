"""What stands in for remote systems: each names what it cannot prove."""
