"""Products in the APIs of other packages; each needs that package, and nothing else imports it."""
