"""`ecad search`: learn a Pareto front of cache schedules. `run` is the main path; start reading there."""
