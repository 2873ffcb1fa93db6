"""Files of weights: their header, and single files that hold a whole model."""
