"""Which model fills in best? Every model, trained with the same budget and several seeds, and compared on one page."""
