"""What everything stands on: atomic files, processes, memory, arithmetic and random draws."""
