"""Other frameworks round the pipeline of the designs, to be measured beside them."""
