"""The checks of the data audit, each a function of the tables of a data set."""
