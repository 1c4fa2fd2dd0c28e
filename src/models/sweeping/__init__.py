"""Many runs under one name: folds, rates, shares of the data, variants, searches."""
