"""Reading and writing pictures and arrays."""
