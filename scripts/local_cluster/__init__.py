"""A cluster on this machine to try out: nodes, PostgreSQL, Valkey and a load balancer."""
