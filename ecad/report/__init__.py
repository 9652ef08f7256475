"""Tables, figures and panels of runs and schedules. Returns objects; only ecad.cli prints."""
