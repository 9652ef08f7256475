"""The report page: what it contains as plain data, its charts, and the HTML file that needs no network."""
