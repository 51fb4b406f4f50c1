"""Walking a plan: one attempt at a target, what its outcome means, what comes next."""
