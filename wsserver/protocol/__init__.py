"""The contract as types: commands, pushes, targets, requests, close codes. No I/O, no state."""
