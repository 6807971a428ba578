"""PostgreSQL and Valkey servers of a program's own, for tests, benchmarks and trials."""
