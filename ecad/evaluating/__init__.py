"""`ecad evaluate`: schedules and others against the uncached model. `run` is the main path; start reading there."""
