"""HTTP client of the REST API, with one deadline and a size limit; may import ``config``."""
