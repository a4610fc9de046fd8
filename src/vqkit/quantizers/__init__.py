"""Features to codes and back."""
