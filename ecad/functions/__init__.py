"""`ecad.search` and `ecad.evaluate`: what the two commands do, as functions of Python."""
